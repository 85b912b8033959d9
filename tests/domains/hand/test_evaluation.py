"""An evaluation on hands as a user runs it: 16-bit depth through every arm, and its test set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.domains.hand import degradation
from factory.domains.hand.quantities import JOINTS
from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.hand.test_sets import LabelledJoints
from factory.evaluation.comparison.config import EvaluationConfig
from factory.evaluation.comparison.run import compared_by, evaluate
from factory.evaluation.comparison.setup import Compared
from factory.networks.refiner import Refiner
from schemas.refiner import RefinerConfig
from support import fakes, hands
from support.hand_pairs import SIZE_PX, save_hand_refiner

REFINER = Refiner(RefinerConfig(maps=2, blocks=1), seed=0)
SPLITS = {"train": 0.5, "test": 0.5}
SETUP = """
renders = "{renders}"
real = "{camera}"
num_held_out = 20
seeds = [0]
control = "degraded"

[arms.constant]
kind = "constant"
[arms.renders]
kind = "renders"
[arms.degraded]
kind = "degraded"
[arms.refined]
kind = "refined"
refiners = ["{refiner}"]
[arms."camera-like"]
kind = "real"
test = "frames"
sizes = [6]

[models.small]
kind = "joint_network"
steps = 6
batch_size = 4
maps = 2
reduce = 4
validate_every = 3

[tests.frames]
kind = "labelled_joints"
dataset = "{camera}"
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Dataset, Dataset, Path]:
    """Renders, labelled camera frames and an untrained refiner of depth."""
    folder = tmp_path_factory.mktemp("hands")
    hands.write_frames(folder / "in", 12, cameras=(1, 2))
    hands.write_frames(folder / "camera", 12, cameras=(1, 2), prefixes={"depth": 2000})
    renders = fakes.ingest_here(
        folder / "in", folder / "r", NyuOptions(size_px=SIZE_PX), shard_size=8, splits=SPLITS
    )
    frames = NyuOptions(kind="real", mask="cube", labelled=True, size_px=SIZE_PX)
    camera = fakes.ingest_here(folder / "camera", folder / "c", frames, shard_size=8, splits=SPLITS)
    save_hand_refiner(folder / "refiner", REFINER)
    return renders, camera, folder / "refiner"


def config(places: tuple[Dataset, Dataset, Path], folder: Path, *changes) -> EvaluationConfig:
    renders, camera, refiner = places
    text = SETUP.format(renders=renders.location, camera=camera.location, refiner=refiner)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "setup.toml").write_text(text)
    return EvaluationConfig(setup=folder / "setup.toml", output=str(folder / "out"))


@pytest.mark.slow
def test_every_arm_takes_depth_of_16_bits(places, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(degradation, "_FITTED_ON", 3)
    monkeypatch.setattr(degradation, "_ROUNDS", 2)
    asked = config(places, tmp_path)
    report = evaluate(asked, compared_by(asked), fakes.call_here)
    by_arm = {result.arm: result for result in report.arms}
    assert list(by_arm) == ["constant", "renders", "degraded", "refined", "camera-like"]
    assert all(result.unit == "px" for result in report.arms) and report.num_trials == 5
    assert by_arm["camera-like"].size == 6 and "5" in by_arm["constant"].within
    assert report.domain == "hand" and len(report.verdicts) == 1
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "stand-ins" in page and "69.7 %" in page and "MPIIGaze" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('kind = "degraded"\nblur_px = 1.0', r"\[arms.degraded\]: blur_px and equalise are for"),
        ('kind = "amplitudes"', r"\[arms.degraded\]: amplitudes are swapped in images of 8 bits"),
    ],
)
def test_controls_of_grey_images_are_refused_for_depth(places, tmp_path, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        Compared.load(config(places, tmp_path, ('kind = "degraded"', change)).setup)


def test_a_refiner_of_other_images_is_refused(places, tmp_path) -> None:
    save_hand_refiner(tmp_path / "eyes", REFINER, bits=8)
    other = (str(places[2]), str(tmp_path / "eyes"))
    with pytest.raises(ValueError, match=r"\[arms.refined\]: .*eyes refines images of .* 8 bits"):
        Compared.load(config(places, tmp_path, other).setup)


# The test set


def test_a_unit_is_a_joint_of_a_frame(places) -> None:
    camera = places[1]
    test = LabelledJoints(dataset=camera.location).load()
    truth = JOINTS.read(load_index(camera, ["joints14_uvd"], camera.committed_in("test")))
    same = test.score(truth)
    assert len(same.values_M) == len(truth) * 14 and not same.values_M.any()
    moved = truth.copy()
    moved[:, 4] += 3
    moved[:, 5] += 4
    errors = test.score(moved)
    assert errors.values_M.reshape(-1, 14)[:, 2] == pytest.approx(5)
    assert errors.values_M.sum() == pytest.approx(5 * len(truth))
    assert len(set(errors.groups_M)) == len(truth) / 2, "two cameras saw each frame"
    assert (errors.values_M <= 4.9).mean() == pytest.approx(13 / 14)
    assert test.learnable is not None
    assert not set(test.learnable.groups) & set(errors.groups_M)


def test_joints_outside_the_picture_are_not_scored(places, monkeypatch) -> None:
    read = JOINTS.read

    def with_one_outside(rows):
        joints = read(rows)
        joints[0, 0] = -7.0
        return joints

    camera = places[1]
    outside = replace(JOINTS, read=with_one_outside)
    monkeypatch.setattr("factory.domains.hand.test_sets.JOINTS", outside)
    test = LabelledJoints(dataset=camera.location).load()
    scored = test.score(np.zeros((len(test.images), 28)))
    assert len(scored.values_M) == len(scored.groups_M) == len(test.images) * 14 - 1
    assert any("1 joints lie outside" in note for note in test.notes)


def test_notes_say_what_the_images_are(places) -> None:
    renders, camera, _ = places
    (_, stand_ins) = LabelledJoints(dataset=camera.location).load().notes
    assert "are stand-ins" in stand_ins and "were not measured" in stand_ins
    assert len(LabelledJoints(dataset=camera.location, frames="camera").load().notes) == 1
    (_, drawn) = LabelledJoints(dataset=renders.location).load().notes
    assert "without the look of a camera" in drawn


def test_hands_without_labels_are_refused(tmp_path) -> None:
    hands.write_frames(tmp_path / "in", 1, cameras=(1,), prefixes={"depth": 2000})
    options = NyuOptions(kind="real", mask="cube", size_px=SIZE_PX)
    unlabelled = fakes.ingest_here(tmp_path / "in", tmp_path / "d", options)
    with pytest.raises(ValueError, match=r"not labelled.*--nyu\.labelled True"):
        LabelledJoints(dataset=unlabelled.location, score="train").load()
