"""Crops of grey pictures, shifted and scaled without aliasing, with the same bits everywhere.

Each axis is filtered on its own with Keys' cubic kernel (a = -1/2; IEEE Transactions on Acoustics,
Speech, and Signal Processing 29(6), 1981), in integers. Where the crop is coarser than the picture,
the kernel is stretched to the crop's pixels. `crop.c` computes the same crops several times faster;
it is used where it could be compiled.
"""

import math
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from factory.images import native
from factory.images.png import Affine

_FRACTION_BITS = 14
_RADIUS = 2
"""radius of the kernel, in pixels of the coarser grid"""


class Framing(NamedTuple):
    """The map from a picture's pixels to a crop's: `scale` times the position, plus (x, y)."""

    scale: float
    x: float
    y: float

    def of_scaled(self, factor: float) -> "Framing":
        """The map from the pixels of the same picture made `factor` times smaller."""
        shift = (factor - 1) / 2 * self.scale
        return Framing(self.scale * factor, self.x + shift, self.y + shift)

    def place(self, x: list[float], y: list[float]) -> NDArray[np.float64]:
        """The positions in the crop, (n, 2), of points at x and y in the picture, both in px."""
        points_px = np.array((x, y), np.float64)
        points_px *= self.scale
        points_px[0] += self.x
        points_px[1] += self.y
        return points_px.T

    def affine(self) -> Affine:
        """The same map as a (2, 3) matrix."""
        return np.array([[self.scale, 0, self.x], [0, self.scale, self.y]])


def resample(
    picture: NDArray[np.uint8], framing: Framing, height: int, width: int
) -> NDArray[np.uint8]:
    """A crop of a picture.

    Args:
        picture: (h, w) uint8.
        framing: the map to the crop's pixels.
        height, width: of the crop, px.

    Returns:
        (height, width) uint8. Beyond the picture's border its edge is repeated.
    """
    if native.crops is None:
        return _resample(picture, framing, height, width)
    ffi, library = native.crops.ffi, native.crops.lib
    picture = np.ascontiguousarray(picture)
    crop = np.empty((height, width), np.uint8)
    result = library.crop_picture(
        ffi.from_buffer("uint8_t[]", picture),
        picture.shape[1],
        picture.shape[0],
        *framing,
        width,
        height,
        ffi.from_buffer("uint8_t[]", crop),
    )
    if result != library.DONE:
        raise MemoryError(f"not enough memory for a crop of {width}x{height} px")
    return crop


def _resample(
    picture: NDArray[np.uint8], framing: Framing, height: int, width: int
) -> NDArray[np.uint8]:
    top, down = _axis(framing.scale, framing.y, height, picture.shape[0])
    left, across = _axis(framing.scale, framing.x, width, picture.shape[1])
    part = picture[top : top + down.shape[1], left : left + across.shape[1]].astype(np.float64)
    sums = down @ part @ across.T  # whole numbers, so the sums are exact in any order
    levels = np.floor((sums + (1 << (2 * _FRACTION_BITS - 1))) / (1 << (2 * _FRACTION_BITS)))
    return cast("NDArray[np.uint8]", levels.clip(0, 255).astype(np.uint8))


def _axis(
    scale: float, shift: float, length: int, picture_length: int
) -> tuple[int, NDArray[np.float64]]:
    """How one axis of a crop is made of an axis of the picture.

    Returns:
        The first pixel of the picture that has a weight, and the (length, pixels) weights of the
        pixels from there on, which are whole numbers.
    """
    stretch = max(1.0, 1 / scale)
    taps = 2 * math.ceil(_RADIUS * stretch) + 1
    centres = ((np.arange(length) - shift) / scale)[:, None]
    unbounded = np.ceil(centres - _RADIUS * stretch) + np.arange(taps)
    weights = _cubic((unbounded - centres) / stretch)
    weights /= weights.cumsum(1)[:, -1:]  # summed in the order of crop.c
    pixels = unbounded.clip(0, picture_length - 1).astype(np.int64)
    first = int(pixels.min())
    matrix = np.zeros((length, int(pixels.max()) - first + 1))
    rounded = np.rint(weights * (1 << _FRACTION_BITS))
    np.add.at(matrix, (np.arange(length)[:, None], pixels - first), rounded)
    return first, matrix


def _cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.abs(t)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < _RADIUS, far, 0.0))
