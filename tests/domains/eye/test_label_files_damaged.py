"""Label files of eyes, damaged at random: each is read or named, and its neighbours arrive."""

import json
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from factory.dataset.kinds import parse_label
from factory.dataset.records import to_json
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions, MpiiGazeSource
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.ingestion.shards import record_of
from factory.sources.base import BadRender, Loaded, load_all
from factory.sources.files import NOTHING_SEEN
from factory.sources.input_table import InputTable
from schemas.eye.kind import EYE
from support.fakes import unityeyes_label, write_pair
from support.matlab import mat5, mat73
from support.mutated import damaged_bytes, damaged_text

pytestmark = pytest.mark.slow

MAX_MB = 400
"""how much more memory than before may be taken, whatever files declare"""
MAX_SECONDS_EACH = 0.2
NUM_GOOD = 3
SHORT_AND_LONG = pytest.mark.parametrize(
    "seeds", [range(300), pytest.param(range(300, 5300), marks=pytest.mark.long)], ids=len
)


@contextmanager
def within_bounds(num_files: int) -> Iterator[None]:
    """Checks the time and memory that a block takes."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    yield
    assert time.process_time() - started < 5 + MAX_SECONDS_EACH * num_files
    taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert taken_kb < MAX_MB * 1024


def check_record(source_id: str, loaded: Loaded) -> None:
    """A sample that is made of a damaged file still fits its model."""
    record = record_of(
        loaded,
        key="000000-000000",
        schema=EYE.schema,
        source="unityeyes",
        source_id=source_id,
        split="train",
        made={"config": "0" * 64, "writer": "test"},
    )
    parse_label(EYE, to_json(record), labelled=True, where=source_id)


@SHORT_AND_LONG
def test_damaged_unityeyes_labels_are_read_or_set_aside(tmp_path, seeds) -> None:
    good = json.dumps(unityeyes_label(), indent=2).encode()
    for seed in seeds:
        write_pair(tmp_path, str(seed), label=damaged_text(good, np.random.default_rng(seed)))
    for number in range(NUM_GOOD):
        write_pair(tmp_path, f"{seeds[len(seeds) * number // NUM_GOOD]} good")
    source = UnityEyesSource(tmp_path, UnityEyesOptions())
    ids = [facts.id for facts in source.listing()]
    assert len(ids) == len(seeds) + NUM_GOOD
    num_rejected = 0
    with within_bounds(len(ids)):
        for source_id, loaded in zip(ids, load_all(source, ids), strict=True):
            if isinstance(loaded, Loaded):
                check_record(source_id, loaded)
            else:
                assert loaded.reason and "good" not in source_id
                num_rejected += 1
    assert num_rejected > len(seeds) / 3, "most damage is noticed"


def a_day() -> dict:
    rng = np.random.default_rng(0)
    side = {
        "image": rng.integers(0, 255, (3, 36, 60)).astype(np.uint8),
        "gaze": np.tile([0.0, 0.0, -1.0], (3, 1)),
        "pose": np.zeros((3, 3)),
    }
    return {"data": {"left": side, "right": side}}


DAYS = {
    "version 5": lambda: mat5(a_day()),
    "version 5, packed": lambda: mat5(a_day(), do_compression=True),
    "version 7.3": lambda: mat73(a_day(), compression="gzip"),
}


@SHORT_AND_LONG
@pytest.mark.parametrize("kind", DAYS)
def test_every_eye_of_a_damaged_day_is_read_or_its_file_named(
    tmp_path, kind, seeds, caplog
) -> None:
    good = DAYS[kind]()
    people = {f"p{seed:06d}": damaged_bytes(good, np.random.default_rng(seed)) for seed in seeds}
    people |= {f"good{number}": good for number in range(NUM_GOOD)}
    for person, raw in people.items():
        (tmp_path / f"{person}.mat").write_bytes(raw)
    with within_bounds(len(people)):
        ids, named, rejected = outcome(tmp_path)
    listed = dict.fromkeys(people, 0)
    for source_id in ids:
        listed[source_id.partition(".mat:")[0]] += 1
    incomplete = [person for person in people if listed[person] != 6 and person not in named]
    # A name of a side that is damaged leaves a file of the other side, which MPIIGaze allows.
    assert all(listed[person] == 3 for person in incomplete)
    assert num_one_sided(caplog.messages) == len(incomplete)
    assert all(listed[f"good{n}"] == 6 and f"good{n}" not in named for n in range(NUM_GOOD))
    assert not any(source_id.startswith("good") for source_id in rejected)
    assert len(named) > len(seeds) / 10, "some damage is noticed"


def num_one_sided(messages: list[str]) -> int:
    """Number of files that the warning about eyes of one side speaks of."""
    warnings = [message for message in messages if "eyes of one side alone: " in message]
    if not warnings:
        return 0
    (warning,) = warnings
    *shown, last = warning.partition("alone: ")[2].split("; ")
    more = re.fullmatch(r"and (\d+) more", last)
    return len(shown) + (int(more[1]) if more else 1)


def outcome(folder: Path) -> tuple[list[str], set[str], list[str]]:
    """Ids of the inputs, names of unreadable files, and ids that are rejected."""
    source = MpiiGazeSource(folder, MpiiGazeOptions())
    with InputTable(source.scan(NOTHING_SEEN)) as inputs:
        ids = inputs.in_natural_order()["id"].to_pylist()
        problems = {c.name: c.problem for c in inputs.containers if c.problem is not None}
    assert all(problem.startswith(f"{name}: ") for name, problem in problems.items())
    rejected = []
    for source_id, loaded in zip(ids, load_all(source, ids), strict=True):
        if isinstance(loaded, BadRender):
            rejected.append(source_id)
        else:
            check_record(source_id, loaded)
    return ids, {name.removesuffix(".mat") for name in problems}, rejected
