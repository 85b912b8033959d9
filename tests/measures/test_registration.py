"""Registration: planted displacements come back, a change of look moves nothing."""

import numpy as np
import pytest

from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks, shifted
from factory.measures.registration import registered, registered_iris
from support.drawn_eyes import CENTERS, drawn_eye

WIDTH_PX = 40.0


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    return np.stack([drawn_eye(center, seed=n) for n, center in enumerate(CENTERS)])


def test_equal_pictures_do_not_move(eyes):
    whole = registered(eyes, eyes)
    assert whole.distance_px == pytest.approx(0, abs=0.05)
    assert whole.match_N == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size_px", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_a_planted_shift_comes_back_in_another_look(eyes, size_px):
    angle = np.linspace(0, 2 * np.pi, len(eyes), endpoint=False)
    shift = size_px * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    other = looks(eyes, np.random.default_rng(2))[DEGRADED_LOOK]
    moved = shifted(other, shift)
    iris = registered_iris(eyes, moved, np.array(CENTERS), np.full(len(eyes), WIDTH_PX))
    for found in (registered(eyes, moved), iris):
        error = np.hypot(*(found.shift_N2 - shift).T)
        assert np.median(error) < 0.35 and error.max() < 1.0


def test_what_lies_beside_the_iris_does_not_move_it(eyes):
    moved = eyes.copy()
    moved[:, :, -8:] = np.roll(eyes[:, :, -8:], 2, axis=1)
    iris = registered_iris(eyes, moved, np.array(CENTERS), np.full(len(eyes), WIDTH_PX))
    assert np.median(iris.distance_px) < 0.1


def test_a_flat_picture_and_an_iris_outside_are_not_measured(eyes):
    flat = np.full_like(eyes, 80)
    assert np.isnan(registered(eyes, flat).distance_px).all()
    outside = np.full((len(eyes), 2), (-30.0, 17.0))
    found = registered_iris(eyes, eyes, outside, np.full(len(eyes), WIDTH_PX))
    assert np.isnan(found.distance_px).all() and np.isnan(found.match_N).all()


def test_pictures_too_small_to_slide_are_refused():
    with pytest.raises(ValueError, match="too small"):
        registered(np.zeros((1, 12, 40), np.uint8), np.zeros((1, 12, 40), np.uint8))
