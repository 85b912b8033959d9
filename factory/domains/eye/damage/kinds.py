"""Every kind of damage of eyes, in the sizes that their validation is tried with."""

from collections.abc import Mapping
from functools import partial

import cv2
import numpy as np

from factory.domains.eye.damage.iris import gazes_turned, irises_shifted
from factory.domains.eye.damage.lids import lids_closed
from factory.domains.eye.damage.pairs import Pairs, Values
from factory.domains.eye.damage.whole import stretched, turned
from factory.domains.eye.pupil.calibration import (
    as_grey,
    compressed,
    random_directions,
    shifted,
)
from factory.validation.power.damages import (
    Change,
    Damage,
    Damaged,
    in_sizes,
    swapped_rows,
    unsized,
)

LEAST_SWAP_DEG = 10.0
"""between the gazes of two samples whose labels are swapped; those of nearer ones are hardly
wrong"""

# --- what moves ---------------------------------------------------------------------------------


def _shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = size_px * random_directions(len(pairs), rng)
    return Damaged.with_own_labels(shifted(pairs.refined_NHW, shift_N2))


def _vertical_shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = np.stack([np.zeros(len(pairs)), size_px * _signs(len(pairs), rng)], axis=1)
    return Damaged.with_own_labels(shifted(pairs.refined_NHW, shift_N2))


def _turn(pairs: Pairs, size_deg: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(
        turned(pairs.refined_NHW, np.radians(size_deg) * _signs(len(pairs), rng))
    )


def _stretch(pairs: Pairs, size_percent: float, rng: np.random.Generator) -> Damaged:
    factor_N = 1 + size_percent / 100 * _signs(len(pairs), rng)
    return Damaged.with_own_labels(stretched(pairs.refined_NHW, factor_N))


def _iris_shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = size_px * random_directions(len(pairs), rng)
    return Damaged.with_own_labels(irises_shifted(pairs, shift_N2))


def _gaze(pairs: Pairs, size_deg: float, rng: np.random.Generator) -> Damaged:
    images_NHW, _ = gazes_turned(pairs, np.radians(size_deg), rng)
    return Damaged.with_own_labels(images_NHW)


def _mirrored(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(pairs.refined_NHW[:, :, ::-1].copy())


def _lids_closed(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(lids_closed(pairs, rng))


def _signs(count: int, rng: np.random.Generator) -> Values:
    """(count,) 1 or -1 at random."""
    return np.asarray(2.0 * rng.integers(2, size=count) - 1, np.float64)


# --- what belongs to another sample -------------------------------------------------------------


def _labels_swapped(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    """Labels change places within random pairs; of an odd number one row keeps its own."""
    rows_N = swapped_rows(len(pairs), rng)
    gaze_N3 = pairs.numbers("gaze")
    gaze_N3 /= np.linalg.norm(gaze_N3, axis=1, keepdims=True)
    cosine_N = np.clip((gaze_N3 * gaze_N3[rows_N]).sum(axis=1), -1, 1)
    change_N = np.where(rows_N == np.arange(len(pairs)), 0.0, np.degrees(np.arccos(cosine_N)))
    return Damaged(pairs.refined_NHW.copy(), rows_N, change_N >= LEAST_SWAP_DEG)


def _copied_parent(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(pairs.parent_NHW.copy())


def _collapse(pairs: Pairs, size_grey: float, rng: np.random.Generator) -> Damaged:
    one_HW = pairs.refined_NHW[rng.integers(len(pairs))]
    noise_NHW = rng.integers(
        -int(size_grey), int(size_grey), pairs.refined_NHW.shape, endpoint=True
    )
    return Damaged.with_own_labels(as_grey(one_HW + noise_NHW))


# --- what changes grey values -------------------------------------------------------------------


def _blur(pairs: Pairs, sigma_px: float, rng: np.random.Generator) -> Damaged:
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma_px) for image in pairs.refined_NHW]
    return Damaged.with_own_labels(np.asarray(blurred, np.uint8))


def _constant(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    mean_N11 = pairs.refined_NHW.mean(axis=(1, 2), keepdims=True)
    return Damaged.with_own_labels(as_grey(np.broadcast_to(mean_N11, pairs.refined_NHW.shape)))


def _inverted(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(255 - pairs.refined_NHW)


def _checkerboard(
    pairs: Pairs, size_grey: float, rng: np.random.Generator, *, square_px: int = 1
) -> Damaged:
    """Squares of this side, brighter and darker by turns."""
    y_HW, x_HW = np.indices(pairs.refined_NHW.shape[1:]) // square_px
    squares_HW = size_grey * (1.0 - 2 * ((x_HW + y_HW) % 2))
    return Damaged.with_own_labels(as_grey(pairs.refined_NHW + squares_HW))


def _jpeg(pairs: Pairs, quality: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(compressed(pairs.refined_NHW, int(quality)))


# --- all of them --------------------------------------------------------------------------------

CHANGES: Mapping[str, Change] = {
    "shift": _shift,
    "vertical_shift": _vertical_shift,
    "turn": _turn,
    "stretch": _stretch,
    "iris_shift": _iris_shift,
    "gaze": _gaze,
    "mirrored": _mirrored,
    "lids_closed": _lids_closed,
    "labels_swapped": _labels_swapped,
    "copied_parent": _copied_parent,
    "collapse": _collapse,
    "blur": _blur,
    "constant": _constant,
    "inverted": _inverted,
    "checkerboard": _checkerboard,
    "checkerboard_wide": partial(_checkerboard, square_px=2),
    "jpeg": _jpeg,
}

DAMAGES: tuple[Damage, ...] = (
    *in_sizes(
        "shift",
        "px",
        {0.5: False, 1: False, 2: False, 3: True},
        "padding or resampling that is off moves all content",
    ),
    *in_sizes(
        "vertical_shift",
        "px",
        {1: True},
        "rows that are counted from the other end, or from 1, move all content by one",
    ),
    *in_sizes(
        "turn",
        "deg",
        {2: False, 5: True},
        "pictures are levelled by other eye corners than their labels",
    ),
    *in_sizes(
        "stretch",
        "percent",
        {3: False, 6: True},
        "pictures are resized to a width that is not theirs",
    ),
    *in_sizes(
        "iris_shift",
        "px",
        {1: False, 2: False, 3: True},
        "the refiner redraws the iris beside its place; lids and skin stay",
    ),
    *in_sizes(
        "gaze",
        "deg",
        {2: False, 5: False, 10: True},
        "the refiner turns eyes towards the directions that the real images prefer",
    ),
    unsized("mirrored", "a flip applied to images and not to labels", must_catch=True),
    unsized("lids_closed", "the refiner draws skin where the real images have it", must_catch=True),
    unsized("labels_swapped", "images and labels paired in different orders", must_catch=False),
    unsized("copied_parent", "the refiner does nothing, or its output is lost", must_catch=True),
    Damage(
        "collapse",
        1,
        "grey",
        False,
        "the refiner ignores its input and draws one image",
    ),
    *in_sizes(
        "blur",
        "px",
        {0.7: False, 1: False, 1.5: False, 2.5: False},
        "the refiner averages over what it cannot decide",
    ),
    unsized(
        "constant", "the refiner's output saturates, or only its bias is left", must_catch=True
    ),
    unsized("inverted", "a wrong sign between network and file", must_catch=True),
    *in_sizes(
        "checkerboard",
        "grey",
        {4: False, 8: True, 16: True},
        "transposed convolutions leave a pattern of period 2 px",
    ),
    *in_sizes(
        "checkerboard_wide",
        "grey",
        {4: False, 8: False, 16: False},
        "two of them in a row leave one of period 4 px",
    ),
    *in_sizes(
        "jpeg",
        "quality",
        {20: False, 8: True},
        "pictures are passed on as JPEG files",
    ),
)
"""all damage of eyes, smaller sizes first, and higher qualities"""
