"""Every kind of damage of eyes, in the sizes that their validation is tried with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.damage.iris import gazes_turned, irises_shifted
from factory.domains.eye.damage.lids import lids_closed
from factory.domains.eye.damage.pairs import Images, Pairs, Values
from factory.domains.eye.damage.whole import compressed, stretched, turned
from factory.domains.eye.pupil.calibration import NUM_DIRECTIONS, shifted
from factory.validation.power.damages import Damage, changed, in_sizes, swapped_rows, unsized


@dataclass(frozen=True)
class Damaged:
    """Damaged images, and by how much exactly each was changed."""

    refined_NHW: Images  # noqa: N815
    label_rows_N: NDArray[np.intp]  # noqa: N815
    """the row of the labels that now belongs to each image: its own, unless labels were swapped"""
    iris_moved_px_N2: Values | None = None  # noqa: N815
    """(x, y) by which the iris centre moved, where the damage moves it by a known amount"""
    gaze_change_deg_N: Values | None = None  # noqa: N815
    """angle between the eye's gaze and the label's, where the damage changes it by a known
    amount"""


def damaged(damage: Damage, pairs: Pairs, rng: np.random.Generator) -> Damaged:
    """The refined images of some pairs, all damaged; equal generators damage them equally.

    Raises:
        ValueError: the kind is unknown or needs a size, or the labels lack what it needs.
    """
    return changed(damage, _CHANGES, pairs, rng, sized=_SIZED)


# --- what moves ---------------------------------------------------------------------------------


def _shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = size_px * _directions(len(pairs), rng)
    return _own_labels(shifted(pairs.refined_NHW, shift_N2), moved_px_N2=shift_N2)


def _vertical_shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = np.stack([np.zeros(len(pairs)), size_px * _signs(len(pairs), rng)], axis=1)
    return _own_labels(shifted(pairs.refined_NHW, shift_N2), moved_px_N2=shift_N2)


def _turn(pairs: Pairs, size_deg: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(turned(pairs.refined_NHW, np.radians(size_deg) * _signs(len(pairs), rng)))


def _stretch(pairs: Pairs, size_percent: float, rng: np.random.Generator) -> Damaged:
    factor_N = 1 + size_percent / 100 * _signs(len(pairs), rng)
    return _own_labels(stretched(pairs.refined_NHW, factor_N))


def _iris_shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    shift_N2 = size_px * _directions(len(pairs), rng)
    return _own_labels(irises_shifted(pairs, shift_N2), moved_px_N2=shift_N2)


def _gaze(pairs: Pairs, size_deg: float, rng: np.random.Generator) -> Damaged:
    images_NHW, moved_N2 = gazes_turned(pairs, np.radians(size_deg), rng)
    change_N = np.full(len(pairs), size_deg)
    return _own_labels(images_NHW, moved_px_N2=moved_N2, gaze_change_deg_N=change_N)


def _mirrored(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(pairs.refined_NHW[:, :, ::-1].copy())


def _lids_closed(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(lids_closed(pairs, rng))


def _directions(count: int, rng: np.random.Generator) -> Values:
    """(count, 2) unit vectors, each one of `NUM_DIRECTIONS`."""
    angle_N = rng.integers(NUM_DIRECTIONS, size=count) * (2 * np.pi / NUM_DIRECTIONS)
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)


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
    return Damaged(pairs.refined_NHW.copy(), rows_N, gaze_change_deg_N=change_N)


def _copied_parent(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(pairs.parent_NHW.copy())


def _collapse(pairs: Pairs, size_grey: float, rng: np.random.Generator) -> Damaged:
    one_HW = pairs.refined_NHW[rng.integers(len(pairs))]
    noise_NHW = rng.integers(
        -int(size_grey), int(size_grey), pairs.refined_NHW.shape, endpoint=True
    )
    return _own_labels(_grey(one_HW + noise_NHW))


# --- what changes grey values -------------------------------------------------------------------


def _blur(pairs: Pairs, sigma_px: float, rng: np.random.Generator) -> Damaged:
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma_px) for image in pairs.refined_NHW]
    return _own_labels(np.asarray(blurred, np.uint8))


def _constant(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    mean_N11 = pairs.refined_NHW.mean(axis=(1, 2), keepdims=True)
    return _own_labels(_grey(np.broadcast_to(mean_N11, pairs.refined_NHW.shape)))


def _inverted(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(255 - pairs.refined_NHW)


def _checkerboard(square_px: int) -> "_Change":
    """Squares of this side, brighter and darker by turns."""

    def change(pairs: Pairs, size_grey: float, rng: np.random.Generator) -> Damaged:
        y_HW, x_HW = np.indices(pairs.refined_NHW.shape[1:]) // square_px
        return _own_labels(_grey(pairs.refined_NHW + size_grey * (1.0 - 2 * ((x_HW + y_HW) % 2))))

    return change


def _jpeg(pairs: Pairs, quality: float, rng: np.random.Generator) -> Damaged:
    return _own_labels(compressed(pairs.refined_NHW, int(quality)))


def _grey(values: NDArray[np.generic]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _own_labels(
    images_NHW: Images,
    *,
    moved_px_N2: Values | None = None,
    gaze_change_deg_N: Values | None = None,
) -> Damaged:
    return Damaged(images_NHW, np.arange(len(images_NHW)), moved_px_N2, gaze_change_deg_N)


# --- all of them --------------------------------------------------------------------------------

_Change = Callable[[Pairs, float, np.random.Generator], Damaged]
_CHANGES: Mapping[str, _Change] = MappingProxyType(
    {
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
        "checkerboard": _checkerboard(1),
        "checkerboard_wide": _checkerboard(2),
        "jpeg": _jpeg,
    }
)


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

_SIZED = {damage.kind for damage in DAMAGES if damage.size is not None}
