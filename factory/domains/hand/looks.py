"""One geometry in other looks, and known displacements: what the witnesses of hands are tried on.

The looks are what a structured-light camera does to a depth picture, one thing at a time and all
together: none of them moves a hand, so what a witness reports between them is its floor.

Legend of shapes: N images, H height, W width.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.depth.edges import Depth, nearest_depth, signed_distance

Single = NDArray[np.float32]
RAGGED_PX, RAGGED_LENGTH_PX = 1.0, 2.0
"""standard deviation of a pixel's displacement along each axis, and over what it is shared"""
HOLE_SHARE, HOLE_LENGTH_PX = 0.02, 1.2
NOISE_MM, STEP_MM = 1.5, 2
"""of depth; near a metre away a Kinect v1 has such (Khoshelham and Elberink 2012)"""
SENSOR_LOOK = "ragged outline, holes, noise and steps"
FLOOR_LOOKS = (SENSOR_LOOK,)


def ragged(depth: Depth, rng: np.random.Generator, by_px: float = RAGGED_PX) -> Depth:
    """Every pixel is read from another one nearby; neighbouring pixels move by about the same."""
    height, width = depth.shape
    by_y, by_x = (_patches(rng, depth.shape, RAGGED_LENGTH_PX) * by_px for _ in range(2))
    rows = np.arange(height)[:, None] + np.rint(by_y).astype(np.intp)
    columns = np.arange(width) + np.rint(by_x).astype(np.intp)
    return np.asarray(depth[rows.clip(0, height - 1), columns.clip(0, width - 1)], np.uint16)


def holed(depth: Depth, rng: np.random.Generator, share: float = HOLE_SHARE) -> Depth:
    """A share of all pixels, in small patches, has no depth."""
    rough = _patches(rng, depth.shape, HOLE_LENGTH_PX)
    is_measured = rough < np.quantile(rough, 1 - share)
    return np.where(is_measured, depth, 0).astype(np.uint16)


def noisy(
    depth: Depth, rng: np.random.Generator, noise_mm: float = NOISE_MM, step_mm: float = STEP_MM
) -> Depth:
    """Depths have noise, and come in steps."""
    noise = _patches(rng, depth.shape, 1.0) * noise_mm
    stepped = np.rint(step_mm * np.rint((depth + noise) / step_mm))
    return np.where(depth > 0, np.maximum(stepped, 1), 0).astype(np.uint16)


def _sensed(depth: Depth, rng: np.random.Generator) -> Depth:
    return noisy(holed(ragged(depth, rng), rng), rng)


def _smoothed(depth: Depth, rng: np.random.Generator) -> Depth:
    return np.asarray(cv2.medianBlur(depth, 3), np.uint16)


LOOKS: Mapping[str, Callable[[Depth, np.random.Generator], Depth]] = {
    "smoothed (median of 3x3)": _smoothed,
    "ragged outline": ragged,
    "holes": holed,
    "noise and steps of depth": noisy,
    SENSOR_LOOK: _sensed,
}


def in_look(images_NHW: Depth, look: str, seed: int) -> Depth:
    """(N, H, W) the same hands in one of the `LOOKS`."""
    change = LOOKS[look]
    return np.array(
        [change(image, np.random.default_rng((seed, k))) for k, image in enumerate(images_NHW)],
        np.uint16,
    ).reshape(images_NHW.shape)


def _patches(rng: np.random.Generator, shape: tuple[int, ...], length_px: float) -> Single:
    """Standard normal numbers that neighbours share."""
    rough = rng.standard_normal(shape, np.float32)
    smooth = cv2.GaussianBlur(rough, (0, 0), length_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / smooth.std(), np.float32)


# --- known displacements --------------------------------------------------------------------------

_SIGMA_PX = 1.5
"""the steps of an outline of pixels are smoothed by this, so that it can lie between them"""


def moved(images_NHW: Depth, shift_N2: NDArray[np.floating]) -> Depth:
    """Hands moved by (x, y) px, fractions too, without a depth that was not there.

    The outline moves as a whole, fractions in the mean over its directions; the edges inside it
    move by whole pixels. What comes from beyond the border is what lies at it.
    """
    return np.array(
        [_moved(image, shift) for image, shift in zip(images_NHW, shift_N2, strict=True)],
        np.uint16,
    ).reshape(images_NHW.shape)


def _moved(depth: Depth, shift_xy: NDArray[np.floating]) -> Depth:
    x, y = (float(part) for part in shift_xy)
    if not depth.any() or (x.is_integer() and y.is_integer()):
        return _rolled(depth, x, y)
    distance = cv2.GaussianBlur(signed_distance(depth > 0), (0, 0), _SIGMA_PX)
    matrix = np.array([[1, 0, x], [0, 1, y]])
    height, width = depth.shape
    outside = cv2.warpAffine(distance, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.where(outside < 0, _rolled(nearest_depth(depth), x, y), 0).astype(np.uint16)


def _rolled(depth: Depth, x: float, y: float) -> Depth:
    """By the nearest whole pixels."""
    height, width = depth.shape
    rows, columns = np.arange(height) - round(y), np.arange(width) - round(x)
    moved_by = rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)
    return np.asarray(depth[moved_by], np.uint16)


def deepened(images_NHW: Depth, by_mm: int) -> Depth:
    """Hands farther away by so many mm, the background where it was."""
    is_hand = images_NHW > 0
    return np.where(is_hand, np.maximum(images_NHW.astype(np.int32) + by_mm, 1), 0).astype(
        np.uint16
    )
