"""Registration: planted displacements come back, a change of look moves nothing."""

import numpy as np
import pytest

from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks, shifted
from factory.measures.registration import registered
from support.drawn_eyes import drawn_eyes


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    return drawn_eyes()


def test_equal_pictures_do_not_move(eyes):
    displacements = registered(eyes, eyes)
    assert displacements.distance_px == pytest.approx(0, abs=0.05)
    assert displacements.match_N == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size_px", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_a_planted_shift_comes_back_in_another_look(eyes, size_px):
    angle = np.linspace(0, 2 * np.pi, len(eyes), endpoint=False)
    shift = size_px * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moved = shifted(looks(eyes, np.random.default_rng(2))[DEGRADED_LOOK], shift)
    error = np.hypot(*(registered(eyes, moved).shift_N2 - shift).T)
    assert np.median(error) < 0.35 and error.max() < 1.0


def test_a_flat_picture_is_not_measured(eyes):
    assert np.isnan(registered(eyes, np.full_like(eyes, 80)).distance_px).all()


def test_pictures_too_small_to_slide_are_refused():
    with pytest.raises(ValueError, match="too small"):
        registered(np.zeros((1, 12, 40), np.uint8), np.zeros((1, 12, 40), np.uint8))
