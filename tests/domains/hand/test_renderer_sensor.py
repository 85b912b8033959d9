"""The stand-in for a depth camera: each of its effects alone, on a scene that we chose."""

from typing import Any

import numpy as np
import pytest

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX
from factory.domains.hand.renderer.depth import Array
from factory.domains.hand.renderer.sensor import Sensor, cosine_of_incidence

STEPS_MM = NYU_CAMERA.fx_px * 75 * 8
"""depth times disparity in steps"""


def sensor(**effects: Any) -> Sensor:
    """Perfect but for the steps of disparity and the given effects."""
    perfect = {
        "shadow": False, "noise_steps": 0.0, "outline_px": 0.0, "hole_share": 0.0,
        "grazing_share": 0.0,
    }  # fmt: skip
    return Sensor(**{**perfect, **effects})


def observed(seen: Sensor, clean: Array, seed: int = 0) -> Array:
    return seen.observe(clean, np.random.default_rng(seed)).astype(float)


def card(left: int, right: int, depth_mm: float = 700.0) -> Array:
    """A flat card, 200 px high, whose first and last columns are given."""
    clean = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), np.inf)
    clean[140:340, left : right + 1] = depth_mm
    return clean


def test_behind_the_hand_there_is_a_wall_at_one_and_a_half_to_two_metres() -> None:
    nothing = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), np.inf)
    walls = [observed(sensor(), nothing, seed) for seed in range(8)]
    assert min(wall.min() for wall in walls) > 1500
    assert max(wall.max() for wall in walls) < 2000
    assert np.ptp([wall[240, 320] for wall in walls]) > 50


def test_depth_comes_in_steps_that_grow_with_its_square() -> None:
    slope = np.broadcast_to(np.linspace(500.0, 1100, NYU_WIDTH_PX), (NYU_HEIGHT_PX, NYU_WIDTH_PX))
    levels = np.unique(observed(sensor(), slope))
    assert set(levels) <= {np.rint(STEPS_MM / step) for step in range(300, 800)}
    for at_mm in (700, 1000):
        near = levels[np.abs(levels - at_mm) < 60]
        assert np.diff(near).mean() == pytest.approx(2.85e-6 * at_mm**2, rel=0.03)


def test_noise_is_half_a_step() -> None:
    flat = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), STEPS_MM / 400)
    steps = STEPS_MM / observed(Sensor(shadow=False, hole_share=0, grazing_share=0), flat)
    spread = np.std(steps)
    # Rounding to steps adds a variance of 1/12, rounding to mm about as much again here.
    assert spread == pytest.approx(np.sqrt(0.5**2 + 1 / 12), rel=0.15)


def test_the_projector_casts_a_shadow_to_the_right() -> None:
    seen = observed(sensor(shadow=True), card(200, 320))
    wall_mm = seen[240, 600]
    width_px = NYU_CAMERA.fx_px * 75 * (1 / 700 - 1 / wall_mm)
    assert width_px > 30
    dark = np.flatnonzero(seen[240] == 0)
    assert dark[0] in (320 + 1, 320 + 2)
    assert len(dark) == dark[-1] - dark[0] + 1 == pytest.approx(width_px, abs=2.5)
    assert (seen[:139] > 0).all()
    assert (seen[:, :320] > 0).all()


def test_light_passes_a_thin_card_on_both_sides() -> None:
    seen = observed(sensor(shadow=True), card(300, 307))
    dark = np.flatnonzero(seen[240] == 0)
    assert len(dark) == pytest.approx(8, abs=3)
    assert dark[0] > 307 + 15, "wall is seen between the card and its shadow"


def test_a_card_shadows_another_behind_it() -> None:
    clean = np.minimum(card(200, 260, 600.0), card(200, 400, 750.0))
    seen = observed(sensor(shadow=True), clean)
    dark = np.flatnonzero(seen[240, 261:380] == 0)
    assert len(dark) == pytest.approx(NYU_CAMERA.fx_px * 75 * (1 / 600 - 1 / 750), abs=2.5)


def test_without_displacement_an_outline_is_straight() -> None:
    is_card = observed(sensor(), card(200, 320)) < 1000
    assert np.array_equal(is_card, np.isfinite(card(200, 320)))


def test_outlines_are_ragged_and_neighbouring_rows_much_alike() -> None:
    is_card = observed(sensor(outline_px=1.5, outline_correlation_px=2.0), card(200, 420)) < 1000
    ends = np.array([np.flatnonzero(row)[[0, -1]] for row in is_card[160:320]], float)
    for side, straight in zip(ends.T, (200, 420), strict=True):
        away = side - straight
        assert 0.5 < away.std() < 2.5
        assert np.abs(away).max() <= 8
        assert np.corrcoef(away[1:], away[:-1])[0, 1] > 0.4
    assert np.abs(np.corrcoef(*ends.T)[0, 1]) < 0.4, "the two sides have outlines of their own"


def test_holes_are_as_frequent_as_asked_and_grow_where_light_grazes() -> None:
    facing = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), 700.0)
    share = (observed(sensor(hole_share=0.05), facing) == 0).mean()
    assert share == pytest.approx(0.05, rel=0.25)
    # The edge of a card is as steep as can be: its own pixels and the wall's beside it.
    seen = observed(sensor(grazing_share=0.8), card(200, 420))
    edge = np.r_[199, 200, 420, 421]
    assert (seen[150:330, edge] == 0).mean() > 0.4
    assert (seen[150:330, 210:410] > 0).all()


def test_holes_are_patches_rather_than_single_pixels() -> None:
    facing = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), 700.0)
    holes = observed(sensor(hole_share=0.05), facing) == 0
    beside = (holes[:, 1:] & holes[:, :-1]).sum() / holes[:, 1:].sum()
    assert beside > 0.4


def test_incidence_is_that_of_the_plane() -> None:
    x = (np.arange(NYU_WIDTH_PX) - 320.0) / NYU_CAMERA.fx_px
    for tilt_deg in (0, 30, 70):
        # z = 700 + tan(tilt) X with X = x z
        depth = 700 / (1 - np.tan(np.radians(tilt_deg)) * x[250:390])
        frame = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), 700.0)
        frame[:, 250:390] = depth
        cosine = cosine_of_incidence(frame.astype(np.float32), np.s_[200:300, 200:440])[40, 120]
        assert np.degrees(np.arccos(cosine)) == pytest.approx(tilt_deg, abs=0.5)


def test_a_frame_depends_on_its_generator_alone() -> None:
    clean = card(200, 320)
    first = observed(Sensor(), clean, 1)
    assert np.array_equal(first, observed(Sensor(), clean, 1))
    assert not np.array_equal(first, observed(Sensor(), clean, 2))
