"""The windows of depth pictures that a two-sample test compares, one at the outline of each hand.

A whole crop of 224 x 224 costs forty times as much, and from it a network would learn the poses and
distances of the hands, which a refiner does not change. A window holds background, outline and a
piece of surface. Its depths are relative to that surface, so that 1 mm has the same effect
everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.depth.edges import Depth, solid

SIZE_PX = 40
"""height and width of a window"""
RANGE_MM = 60
"""depths that differ by more than this from the median of the window are clipped"""
FULL_SCALE = 2 * RANGE_MM + 1
"""the farthest depth in a window; the nearest is 1, and the background 0"""
JITTER_PX = 4
"""the middle of a window is at most this far from a point of the outline, so that no pixel of the
window is always on the outline"""
JUDGED = (
    f"windows of {SIZE_PX}x{SIZE_PX} px at a random point of the outline, one of each picture, "
    f"depth relative to the surface in them, ±{RANGE_MM} mm"
)


def places_of(images_NHW: Depth, seed: int) -> NDArray[np.int64]:
    """(N, 2) row and column of each window's first pixel.

    The window is at a random point of the outline; without a hand, in the middle of the picture.

    Args:
        images_NHW: (N, H, W) stored depth.
        seed: of the points; that of picture k depends on (seed, k) and the picture only.
    """
    return np.array([_place(image, np.random.default_rng((seed, k)))
                     for k, image in enumerate(images_NHW)], np.int64).reshape(-1, 2)  # fmt: skip


def _place(image: Depth, rng: np.random.Generator) -> NDArray[np.int64]:
    solid_HW = solid(image > 0)
    inner = solid_HW.copy()  # becomes the pixels whose four neighbours are all of the hand
    inner[1:] &= solid_HW[:-1]
    inner[:-1] &= solid_HW[1:]
    inner[:, 1:] &= solid_HW[:, :-1]
    inner[:, :-1] &= solid_HW[:, 1:]
    outline = np.argwhere(solid_HW & ~inner)
    size = np.array(image.shape)
    middle = outline[rng.integers(len(outline))] if len(outline) else size // 2
    jittered = middle + rng.integers(-JITTER_PX, JITTER_PX + 1, 2)
    return np.asarray(np.clip(jittered - SIZE_PX // 2, 0, np.maximum(size - SIZE_PX, 0)))


def windows(images_NHW: Depth, places_N2: NDArray[np.int64]) -> Depth:
    """Cut windows from pictures.

    Args:
        images_NHW: (N, H, W) stored depth.
        places_N2: see `places_of`; both windows of a pair are cut at the parent's position.

    Returns:
        (N, SIZE_PX, SIZE_PX) uint16, 0 to `FULL_SCALE`.
    """
    return np.array(
        [
            _relative(image[row : row + SIZE_PX, column : column + SIZE_PX])
            for image, (row, column) in zip(images_NHW, places_N2.tolist(), strict=True)
        ],
        np.uint16,
    )


def _relative(window: Depth) -> Depth:
    hand = window > 0
    if not hand.any():
        return np.zeros_like(window)
    relative = window.astype(np.int32) - int(np.median(window[hand])) + RANGE_MM + 1
    return np.where(hand, relative.clip(1, FULL_SCALE), 0).astype(np.uint16)
