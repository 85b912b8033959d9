"""Registration around the iris: a planted shift comes back; what lies beside it does not count."""

import numpy as np
import pytest

from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks, shifted
from factory.domains.eye.pupil.iris_registration import registered_iris
from support.drawn_eyes import CENTERS, drawn_eyes

CENTERS_N2 = np.array(CENTERS)
WIDTH_PX = np.full(len(CENTERS), 40.0)


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    return drawn_eyes()


@pytest.mark.parametrize("size_px", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_a_planted_shift_comes_back_in_another_look(eyes, size_px):
    angle = np.linspace(0, 2 * np.pi, len(eyes), endpoint=False)
    shift = size_px * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moved = shifted(looks(eyes, np.random.default_rng(2))[DEGRADED_LOOK], shift)
    iris = registered_iris(eyes, moved, CENTERS_N2, WIDTH_PX)
    error = np.hypot(*(iris.shift_N2 - shift).T)
    assert np.median(error) < 0.35 and error.max() < 1.0


def test_what_lies_beside_the_iris_does_not_move_it(eyes):
    moved = eyes.copy()
    moved[:, :, -8:] = np.roll(eyes[:, :, -8:], 2, axis=1)
    iris = registered_iris(eyes, moved, CENTERS_N2, WIDTH_PX)
    assert np.median(iris.distance_px) < 0.1


def test_an_iris_outside_the_picture_is_not_measured(eyes):
    outside = np.full((len(eyes), 2), (-30.0, 17.0))
    iris = registered_iris(eyes, eyes, outside, WIDTH_PX)
    assert np.isnan(iris.distance_px).all() and np.isnan(iris.match_N).all()
