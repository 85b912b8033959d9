"""What of a depth picture a two-sample test judges: one window at the outline, depth without place.

A whole crop of 224 x 224 costs forty times as much, and a network would learn the hands' poses and
distances from it, which no refiner changes. The window holds background, outline and a piece of
surface; its depths are relative to the surface, so that 1 mm weighs the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.depth.edges import Depth, solid

SIZE_PX = 40
"""height and width of a window"""
RANGE_MM = 60
"""depth from the window's median on; what is beyond is cut to it"""
FULL_SCALE = 2 * RANGE_MM + 1
"""of the windows: nearest 1, farthest this, background 0"""
JITTER_PX = 4
"""a window's middle is so far off its point of the outline at most: no pixel is special"""
JUDGED = (
    f"windows of {SIZE_PX}x{SIZE_PX} px at a random point of the outline, one of each picture, "
    f"depth relative to the surface in them, ±{RANGE_MM} mm"
)


def places_of(images_NHW: Depth, seed: int) -> NDArray[np.int64]:
    """(N, 2) row and column of each window's first pixel; the picture's middle where there is no
    hand."""
    return np.array([_place(image, np.random.default_rng((seed, k)))
                     for k, image in enumerate(images_NHW)], np.int64).reshape(-1, 2)  # fmt: skip


def _place(image: Depth, rng: np.random.Generator) -> NDArray[np.int64]:
    whole = solid(image > 0)
    inner = whole.copy()  # a pixel is of the outline where one of four neighbours is not the hand's
    inner[1:] &= whole[:-1]
    inner[:-1] &= whole[1:]
    inner[:, 1:] &= whole[:, :-1]
    inner[:, :-1] &= whole[:, 1:]
    outline = np.argwhere(whole & ~inner)
    size = np.array(image.shape)
    middle = outline[rng.integers(len(outline))] if len(outline) else size // 2
    jittered = middle + rng.integers(-JITTER_PX, JITTER_PX + 1, 2)
    return np.asarray(np.clip(jittered - SIZE_PX // 2, 0, np.maximum(size - SIZE_PX, 0)))


def windows(images_NHW: Depth, places_N2: NDArray[np.int64]) -> Depth:
    """(N, SIZE_PX, SIZE_PX) uint16 of `FULL_SCALE`.

    Args:
        places_N2: of `places_of`; of a pair, both windows are cut at the parent's place.
    """
    return np.array(
        [
            _relative(image[row : row + SIZE_PX, column : column + SIZE_PX])
            for image, (row, column) in zip(images_NHW, places_N2.tolist(), strict=True)
        ],
        np.uint16,
    )


def _relative(window: Depth) -> Depth:
    there = window > 0
    if not there.any():
        return np.zeros_like(window)
    relative = window.astype(np.int32) - int(np.median(window[there])) + RANGE_MM + 1
    return np.where(there, relative.clip(1, FULL_SCALE), 0).astype(np.uint16)
