"""Matched degradation of depth: what was planted is found, and nothing else is changed."""

import numpy as np
import pytest

from factory.domains.hand import degradation
from factory.domains.hand.degradation import DepthDegradation, fit
from support.hand_pairs import drawn_hands

PLANTED = DepthDegradation(ragged_px=1.2, hole_share=0.03, noise_mm=2.0, step_mm=3.0)


def halved(num: int, seed: int) -> np.ndarray:
    """Hands of half the usual size, which are measured faster."""
    return drawn_hands(num, seed)[1][:, ::2, ::2].copy()


@pytest.mark.slow
def test_what_was_planted_is_found() -> None:
    """On other hands than those that it was planted in."""
    renders, frames = halved(12, 0), PLANTED.apply(halved(12, 500), seed=9)
    fitted = fit(renders, frames)
    assert fitted.ragged_px == pytest.approx(1.2, abs=0.3)
    assert fitted.hole_share == pytest.approx(0.03, abs=0.01)
    assert fitted.noise_mm == pytest.approx(2.0, abs=0.5)
    assert fitted.step_mm == pytest.approx(3.0, abs=0.1)
    assert DepthDegradation.from_json(fitted.to_json(), where="test") == fitted


@pytest.mark.parametrize("step_mm", [1, 1.7, 4])
def test_steps_are_the_distances_of_the_depths_that_occur(step_mm) -> None:
    slope = np.linspace(60, 220, 112 * 112).reshape(1, 112, 112)
    frame = np.rint(step_mm * np.rint(slope / step_mm)).astype(np.uint16)
    frame[0, :40] = 0
    assert degradation._step_mm(frame) == pytest.approx(step_mm, abs=0.05)


def test_each_image_has_draws_of_its_own_that_the_seed_gives() -> None:
    images = np.repeat(halved(1, 0), 3, axis=0)
    degraded = PLANTED.apply(images, seed=0)
    assert degraded.dtype == np.uint16
    assert not np.array_equal(degraded[0], degraded[1])
    assert np.array_equal(degraded[:2], PLANTED.apply(images[:2], seed=0))
    assert not np.array_equal(degraded, PLANTED.apply(images, seed=1))
    assert set(np.unique(degraded[degraded > 1]) % 3) == {0}, "depths come in steps of 3 mm"


def test_a_degradation_of_nothing_changes_nothing() -> None:
    none = DepthDegradation(ragged_px=0, hole_share=0, noise_mm=0, step_mm=1)
    images = halved(2, 0)
    changed = none.apply(images, seed=0) != images
    assert changed.mean() < 1e-3, "the highest number of the noise of holes is a hole"


def test_frames_as_clean_as_renders_ask_for_next_to_nothing() -> None:
    fitted = fit(halved(4, 0), halved(4, 0))
    assert fitted.ragged_px < 0.01 and fitted.noise_mm < 0.01 and fitted.hole_share < 1e-5


@pytest.mark.parametrize("empty", ["renders", "camera frames"])
def test_sets_without_a_hand_are_refused_by_name(empty) -> None:
    hands, nothing = halved(2, 0), np.zeros((2, 112, 112), np.uint16)
    given = (nothing, hands) if empty == "renders" else (hands, nothing)
    with pytest.raises(ValueError, match=f"2 {empty} show no hand of which raggedness"):
        fit(*given)
