"""`joint_data.mat` damaged at random: each row is read or refused, and other folders arrive."""

import resource
import time

import numpy as np
import pytest

from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.domains.hand.sources.nyu_joints import JointsError, JointTable
from factory.sources.base import BadRender
from support import hands
from support.matlab import mat5, mat73
from support.mutated import damaged_bytes

pytestmark = pytest.mark.slow

MAX_MB = 400
JOINTS = hands.all_joints(2)
VARIABLES = {"joint_uvd": JOINTS, "joint_xyz": JOINTS, "joint_names": np.array(["a"], object)}
KINDS = {
    "version 5": lambda: mat5(VARIABLES),
    "version 5, packed": lambda: mat5(VARIABLES, do_compression=True),
    "version 7.3": lambda: mat73({"joint_uvd": JOINTS, "joint_xyz": JOINTS}, compression="gzip"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "seeds", [range(300), pytest.param(range(300, 5300), marks=pytest.mark.long)], ids=len
)
def test_damaged_joints_are_read_or_refused(kind, seeds) -> None:
    good = KINDS[kind]()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, num_refused = time.process_time(), 0
    for seed in seeds:
        try:
            table = JointTable.read(damaged_bytes(good, np.random.default_rng(seed)))
            assert table.uvd.shape == table.xyz.shape and table.uvd.dtype == np.float32
            table.xyz_mm(1, 1)
        except JointsError as error:
            assert str(error)
            num_refused += 1
    assert num_refused > len(seeds) / 4, "most damage is noticed"
    assert time.process_time() - started < 5 + 0.1 * len(seeds)
    taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert taken_kb < MAX_MB * 1024


def test_frames_beside_damaged_joints_do_not_arrive_and_other_folders_do(
    tmp_path,
) -> None:
    hands.write_frames(tmp_path / "good")
    good = (tmp_path / "good" / hands.JOINT_DATA).read_bytes()
    for seed in range(8):
        hands.write_frames(tmp_path / f"bad{seed}")
        damaged = damaged_bytes(good[:-40], np.random.default_rng(seed))
        (tmp_path / f"bad{seed}" / hands.JOINT_DATA).write_bytes(damaged)
    source = NyuSource(tmp_path, NyuOptions())
    ids = [facts.id for facts in source.listing()]
    good_ids = {source_id for source_id in ids if source_id.startswith("good/")}
    assert len(good_ids) == 6 and len(ids) % 6 == 0
    arrived = set()
    for source_id in ids:
        try:
            source.load(source_id)
            arrived.add(source_id)
        except BadRender as bad:
            assert "joint" in bad.reason
    assert good_ids <= arrived
