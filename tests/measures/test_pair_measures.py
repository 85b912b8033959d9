"""Numbers of a look: each answers to the harm it is for, and to nothing that refining may do."""

import numpy as np
import pytest

from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks
from factory.measures.looks.pairs import (
    alike_ratio,
    checkerboard,
    contrast,
    likeness,
    mean_abs_change,
    mirror_gain,
    sharpness_ratio,
)
from support.drawn_eyes import drawn_eyes


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    return drawn_eyes()


@pytest.fixture(scope="module")
def other_look(eyes) -> np.ndarray:
    return looks(eyes, np.random.default_rng(3))[DEGRADED_LOOK]


def test_the_change_of_an_image_is_its_mean_on_minus_one_to_one():
    before = np.zeros((2, 35, 55), np.uint8)
    after = before.copy()
    after[1] = 255
    assert mean_abs_change(before, after).tolist() == [0, 2]
    assert mean_abs_change(before[:0], after[:0]).shape == (0,)


def test_likeness_is_a_correlation_that_light_and_contrast_leave_alone(eyes):
    assert likeness(eyes, eyes) == pytest.approx(1, abs=1e-5)
    assert likeness(eyes, 255 - eyes) == pytest.approx(-1, abs=1e-5)
    assert likeness(eyes, (eyes // 2 + 40).astype(np.uint8)) == pytest.approx(1, abs=1e-3)
    assert (likeness(eyes, np.full_like(eyes, 90)) == 0).all()


def test_only_a_mirrored_image_gains_from_being_mirrored(eyes, other_look):
    assert (mirror_gain(eyes, other_look[:, :, ::-1]) > 0).all()
    assert (mirror_gain(eyes, other_look) < 0).all()


def test_contrast_of_a_constant_and_of_stripes():
    images = np.zeros((2, 8, 8), np.uint8)
    images[1, :, ::2] = 255
    assert contrast(images) == pytest.approx([0, 1])


def test_blur_lowers_the_detail_and_noise_raises_it(eyes):
    changed = looks(eyes, np.random.default_rng(0))
    assert (sharpness_ratio(eyes, changed["blur"]) < 0.8).all()
    assert (sharpness_ratio(eyes, changed["noise"]) > 1.1).all()
    assert sharpness_ratio(eyes, eyes) == pytest.approx(1)
    flat = np.full((1, 35, 55), 7, np.uint8)
    assert np.isnan(sharpness_ratio(flat, eyes[:1])).all()


@pytest.mark.parametrize("phase", [(0, 1), (1, 0), (1, 1)])
def test_a_pattern_of_period_two_is_found_at_its_strength(eyes, phase):
    y, x = np.mgrid[:35, :55]
    sign = 1 - 2 * ((phase[0] * y + phase[1] * x) % 2)
    mild = (eyes // 2 + 60).astype(int)
    patterned = (mild + 10 * sign).astype(np.uint8)
    assert checkerboard(patterned) == pytest.approx(10, abs=1.5)
    assert (checkerboard(mild.astype(np.uint8)) < 3).all()


def test_a_pattern_whose_phase_changes_is_found_as_well(eyes):
    y, x = np.mgrid[:35, :55]
    sign = (1 - 2 * ((x + y) % 2)) * np.where(x // 8 % 2, 1, -1)
    patterned = (eyes // 2 + 60 + 10 * sign).astype(np.uint8)
    assert checkerboard(patterned) == pytest.approx(10, abs=1.5)


def test_one_image_for_several_scenes_is_told_from_several_images(eyes, other_look):
    rng = np.random.default_rng(1)
    noise = rng.integers(-1, 2, eyes.shape)
    collapsed = np.clip(other_look[0].astype(int) + noise, 0, 255).astype(np.uint8)
    assert (alike_ratio(eyes, collapsed) < 0.1).all()
    assert np.median(alike_ratio(eyes, other_look)) > 0.5


def test_two_renders_of_one_scene_may_become_one_image(eyes):
    twice = np.concatenate([eyes[:1], eyes[:1]])
    assert np.isnan(alike_ratio(twice, twice)).all()
    assert np.isnan(alike_ratio(eyes[:1], eyes[:1])).all()
    assert alike_ratio(eyes[:0], eyes[:0]).shape == (0,)


def test_images_smaller_than_a_block_are_refused():
    with pytest.raises(ValueError, match="smaller than a block"):
        checkerboard(np.zeros((1, 6, 55), np.uint8))
