"""The iris against the lids: it is told when it moves alone, and not when all moves together."""

import numpy as np
import pytest

from factory.dataset.loading import load_images, load_index
from factory.domains.eye.damage.iris import irises_shifted
from factory.domains.eye.damage.pairs import Pairs
from factory.domains.eye.damage.whole import turned
from factory.domains.eye.pair_measures import geometry_of
from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks, shifted
from factory.domains.eye.pupil.iris_region import iris_regions


@pytest.fixture(scope="module")
def pairs(synthetic) -> Pairs:
    """24 built-in eyes, and as refined images the same in another look."""
    images = load_images(synthetic)
    changed = looks(images, np.random.default_rng(2))[DEGRADED_LOOK]
    return Pairs(images, changed, load_index(synthetic))


def apart_px(pairs: Pairs, refined: np.ndarray) -> np.ndarray:
    return geometry_of(pairs.labels, pairs.parent_NHW, refined)["iris_in_lids_px"]


def test_the_region_is_open_and_around_the_iris():
    turn = 2 * np.pi * np.arange(8)[:, None] / 8
    iris = np.array([27.0, 17.0]) + 7 * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
    lids = np.array([[7, 10], [47, 10], [47, 24], [7, 24]], float)
    (region,) = iris_regions((35, 55), iris[None], lids[None])
    y, x = np.nonzero(region)
    assert (y.min(), y.max()) == (11, 23)
    assert np.hypot(x - 27, y - 17).max() <= 1.25 * 7
    assert region[17, 19] and not region[17, 17]


def test_an_iris_that_moved_alone_is_told(pairs):
    still = apart_px(pairs, pairs.refined_NHW)
    for size_px in (2.0, 3.0):
        moved = irises_shifted(pairs, np.tile([size_px, 0.0], (len(pairs), 1)))
        drift_px = apart_px(pairs, moved)
        assert np.nanmedian(drift_px) > 0.35 * size_px > 4 * np.nanmedian(still)
        assert np.nanmax(drift_px) < 1.3 * size_px


@pytest.mark.parametrize("how", ["equal", "shifted", "turned"])
def test_what_moves_together_does_not_count(pairs, how):
    num = len(pairs)
    moved = {
        "equal": pairs.parent_NHW,
        "shifted": shifted(pairs.parent_NHW, np.tile([0.6, -0.8], (num, 1))),
        "turned": turned(pairs.parent_NHW, np.full(num, np.radians(4))),
    }[how]
    drift_px = apart_px(pairs, moved)
    assert np.nanmedian(drift_px) < 0.05 and np.nanmax(drift_px) < 0.4


def test_an_eye_without_its_iris_in_the_picture_is_not_measured():
    away = np.full((1, 8, 2), -30.0)
    lids = np.array([[[7, 10], [47, 10], [47, 24], [7, 24]]], float)
    assert not iris_regions((35, 55), away, lids).any()
