"""From a damaged dataset to a verdict: measured, judged, and the bad shard named."""

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.measures import EyeWitnesses
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.validation.sample_checks import check_samples, verdicts_of
from factory.validation.shard_measures import ShardMeasurer, read_measures
from schemas.gate import SampleLimit
from support import fakes
from support.spoiled import damage_named, spoil

pytestmark = pytest.mark.slow

WITNESSES = EyeWitnesses(finder=PupilFinder())
LIMITS = tuple(
    SampleLimit.model_validate(
        {
            "measure": name,
            side: bound,
            "why": "in these tests",
            "max_share": 0.001,
            "shard_share": 0.01,
        }
    )
    for name, side, bound in (
        ("registration_px", "at_most", 1.5),
        ("iris_registration_px", "at_most", 2.2),
        ("mean_abs_change", "at_least", 0.01),
        ("likeness", "at_least", 0.5),
        ("mirror_gain", "at_most", 0.0),
        ("contrast", "at_least", 0.1),
        ("sharpness_ratio", "at_least", 0.3),
        ("checkerboard", "at_most", 7.5),
        ("turn_deg", "at_most", 2.5),
        ("stretch_x_percent", "at_most", 4.0),
        ("affine_shift_y_px", "at_most", 0.6),
        ("iris_in_lids_px", "at_most", 1.0),
        ("block_trace", "at_most", 0.12),
        ("alike_ratio", "at_least", 0.2),
    )
)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Dataset:
    """60 renders in three shards."""
    folder = tmp_path_factory.mktemp("spoil")
    write_renders(folder / "in", EyeRenderer(height=240, width=320, seed=8).render(range(60)))
    return fakes.ingest_here(folder / "in", folder / "eyes", UnityEyesOptions(), shard_size=20)


@pytest.fixture(scope="module")
def good(parent, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("good")
    refiner = fakes.save_mild_refiner(folder / "refiner")
    return fakes.refine_here(parent, refiner, folder / "refined")


def judged(refined: Dataset, parent: Dataset):
    """Every sample's measurements without the slow ellipse, and what the limits say."""
    measurer = WITNESSES.measurer()
    measurer.with_pupil = False
    for shard in refined.committed():
        ShardMeasurer(refined, parent, measurer)(shard)
    measures = read_measures(refined, refined.committed(), WITNESSES)
    return measures, check_samples(measures, LIMITS)


def test_a_good_dataset_keeps_every_limit(good, parent) -> None:
    measures, checks = judged(good, parent)
    assert len(measures) == 60 and all(line.passed for line in checks)
    assert all(verdicts_of(measures, LIMITS)["keep"].to_pylist())


@pytest.mark.parametrize(
    "name",
    ["shift 3 px", "mirrored", "lids_closed", "constant", "inverted", "copied_parent",
     "checkerboard 16 grey", "collapse 1 grey", "blur 2.5 px", "vertical_shift 1 px", "turn 5 deg",
     "stretch 6 percent", "jpeg 8 quality"],
)  # fmt: skip
def test_one_bad_shard_stops_the_dataset_and_its_samples_are_dropped(
    good, parent, tmp_path, name
) -> None:
    bad = spoil(good, parent, str(tmp_path / "bad"), damage_named(name), 1.0, shards={1})
    measures, checks = judged(bad, parent)
    named = {shard.shard for line in checks for shard in line.bad_shards}
    assert named == {1}
    verdicts = verdicts_of(measures, LIMITS)
    dropped = [key for key, keep, _ in zip(*verdicts.to_pydict().values(), strict=True) if not keep]
    assert {key.split("-")[0] for key in dropped} == {"000001"} and len(dropped) >= 14


def test_spoiling_changes_no_other_sample(good, parent, tmp_path) -> None:
    bad = spoil(good, parent, str(tmp_path / "bad"), damage_named("inverted"), 0.25)
    for shard in good.committed():
        changed = (good.images(shard) != bad.images(shard)).any(axis=(1, 2))
        assert changed.sum() == 5
        assert np.array_equal(255 - good.images(shard)[changed], bad.images(shard)[changed])
        assert bad.index(shard)["gaze"].equals(good.index(shard)["gaze"])
