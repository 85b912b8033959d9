"""Affine registration: what was planted comes back at its size, whatever the look."""

import cv2
import numpy as np
import pytest

from factory.dataset.loading import load_images
from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks
from factory.measures.affine import AffineMotion, motion_and_apart

CENTRE = np.array([27.0, 17.0])


@pytest.fixture(scope="module")
def eyes(synthetic) -> np.ndarray:
    """(24, 35, 55) built-in renders."""
    return load_images(synthetic)


@pytest.fixture(scope="module")
def other_look(eyes) -> np.ndarray:
    return looks(eyes, np.random.default_rng(2))[DEGRADED_LOOK]


def affine_motion(before, after) -> AffineMotion:
    """The movement of whole pictures; that of a region without pixels is not measured."""
    return motion_and_apart(before, after, np.zeros(before.shape, bool))[0]


def mapped(images, map_22, shift=(0.0, 0.0)):
    """Content at x moved to centre + shift + map (x - centre)."""
    offset = CENTRE + shift - np.asarray(map_22) @ CENTRE
    return np.stack(
        [
            cv2.warpAffine(
                image,
                np.column_stack([map_22, offset]),
                (55, 35),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for image in images
        ]
    )


def turning(deg):
    c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    return np.array([[c, -s], [s, c]])


def test_equal_pictures_did_not_move(eyes):
    motion = affine_motion(eyes, eyes)
    assert np.abs(motion.turn_deg_N).max() < 0.1
    assert np.abs(motion.stretch_percent_N2).max() < 0.5
    assert np.abs(motion.shear_deg_N).max() < 0.2
    assert np.abs(motion.shift_px_N2).max() < 0.02


@pytest.mark.slow
def test_a_change_of_look_moves_next_to_nothing(eyes):
    for name, changed in looks(eyes, np.random.default_rng(1)).items():
        motion = affine_motion(eyes, changed)
        assert np.median(np.abs(motion.turn_deg_N)) < 0.5, name
        assert np.median(np.abs(motion.stretch_percent_N2), axis=0).max() < 1.5, name
        assert np.median(np.abs(motion.shear_deg_N)) < 0.7, name
        assert np.median(np.abs(motion.shift_px_N2), axis=0).max() < 0.1, name


@pytest.mark.parametrize("deg", [-5, -2, 2, 5])
def test_a_turn_comes_back(eyes, other_look, deg):
    for images, within in ((eyes, 0.15), (other_look, 0.5)):
        motion = affine_motion(eyes, mapped(images, turning(deg)))
        assert np.median(motion.turn_deg_N) == pytest.approx(deg, abs=within)
    assert np.abs(motion.turn_deg_N - deg).max() < 2.5


@pytest.mark.parametrize("percent", [(6, 0), (-6, 0), (3, 0), (0, 5), (4, -3)])
def test_a_stretch_comes_back(eyes, other_look, percent):
    factors = 1 + np.array(percent) / 100
    for images, within in ((eyes, 0.4), (other_look, 1.0)):
        stretch_percent_N2 = affine_motion(
            eyes, mapped(images, np.diag(factors))
        ).stretch_percent_N2
        assert np.median(stretch_percent_N2, axis=0) == pytest.approx(percent, abs=within)


def test_a_shear_turns_by_half_of_it(eyes, other_look):
    for images, within in ((eyes, 0.3), (other_look, 1.5)):
        motion = affine_motion(eyes, mapped(images, [[1, np.radians(3)], [0, 1]]))
        assert np.median(motion.shear_deg_N) == pytest.approx(3, abs=within)
        assert np.median(motion.turn_deg_N) == pytest.approx(-1.5, abs=within / 2)


@pytest.mark.parametrize("shift", [(0.0, 1.0), (0.5, -0.5), (-2.0, 1.0)])
def test_a_shift_comes_back_beside_a_turn(eyes, other_look, shift):
    motion = affine_motion(eyes, mapped(other_look, turning(3), shift))
    assert np.median(motion.shift_px_N2, axis=0) == pytest.approx(shift, abs=0.15)
    assert np.median(motion.turn_deg_N) == pytest.approx(3, abs=0.5)


def test_inverted_grey_values_are_only_another_look(eyes):
    motion = affine_motion(eyes, mapped(255 - eyes, turning(4)))
    assert np.median(motion.turn_deg_N) == pytest.approx(4, abs=0.3)


def test_pictures_without_edges_are_not_measured(eyes):
    flat = np.full_like(eyes, 80)
    ramp = np.broadcast_to(np.linspace(60, 61, 55).astype(np.uint8), eyes.shape).copy()
    regions = np.ones(eyes.shape, bool)
    for before, after in ((flat, eyes), (eyes, flat), (eyes, ramp)):
        motion, apart = motion_and_apart(before, after, regions)
        for values in (*motion, apart):
            assert np.isnan(values).all()


def test_a_region_of_few_pixels_is_not_measured(eyes):
    few = np.zeros(eyes.shape, bool)
    few[:, 15:20, 20:30] = True
    motion, apart = motion_and_apart(eyes, eyes, few)
    assert np.isnan(apart).all() and np.isfinite(motion.turn_deg_N).all()


def test_one_pair_is_measured_as_among_others(eyes, other_look):
    together = affine_motion(eyes, other_look)
    alone = affine_motion(eyes[2:3], other_look[2:3])
    assert alone.turn_deg_N[0] == together.turn_deg_N[2]
    assert affine_motion(eyes[:0], eyes[:0]).shift_px_N2.shape == (0, 2)


def test_pictures_too_small_are_refused():
    with pytest.raises(ValueError, match="too small"):
        affine_motion(np.zeros((1, 12, 40), np.uint8), np.zeros((1, 12, 40), np.uint8))
