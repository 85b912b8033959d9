"""Blocks: the traces that compression by JPEG leaves in a picture.

JPEG rounds the cosine coefficients of blocks of 8 x 8 px to multiples of large steps, so most of
them vanish, on the grid of these blocks and on no other (Fan and de Queiroz 2003, "Identification
of bitmap compression history", look for the same grid). Blur makes coefficients vanish as well, but
on all grids alike; so the other grids of the picture itself are what a grid is compared with.

Axes in names: N pictures, Y and X offsets of a grid.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from factory.images.png import Pixels

Values = NDArray[np.float32]
BLOCK_PX = 8
_VANISHES = 0.75
"""grey levels: what rounding a picture to whole grey levels leaves of a coefficient that was 0 has
a standard deviation of 0.29"""


def block_trace(images_NHW: Pixels) -> Values:
    """(N,) float32: the share of coefficients that vanish on the grid where most do, less the
    median of the shares on all grids. About 0 in a picture that was never compressed.

    Args:
        images_NHW: (N, H, W) uint8.

    Raises:
        ValueError: the pictures are smaller than two blocks in height or width.
    """
    _, height, width = images_NHW.shape
    if min(height, width) < 2 * BLOCK_PX:
        raise ValueError(f"pictures of {height}x{width} have no grid of blocks of {BLOCK_PX} px")
    traces = np.empty(len(images_NHW), np.float32)
    for i, image in enumerate(images_NHW):
        share_YX = _vanishing(image.astype(np.float32))
        traces[i] = share_YX.max() - np.median(share_YX)
    return traces


def _vanishing(image_HW: Values) -> Values:
    """(8, 8) share of the coefficients, means left out, that vanish on the grid at each offset."""
    blocks = np.lib.stride_tricks.sliding_window_view(image_HW, (BLOCK_PX, BLOCK_PX))
    basis = dct(np.eye(BLOCK_PX, dtype=np.float32), axis=0, norm="ortho")
    vanishes = np.abs(basis @ blocks @ basis.T) < _VANISHES
    vanishes[..., 0, 0] = False
    share = vanishes.mean(axis=(2, 3), dtype=np.float32)
    grids = [[share[y::BLOCK_PX, x::BLOCK_PX].mean() for x in range(BLOCK_PX)]
             for y in range(BLOCK_PX)]  # fmt: skip
    return np.asarray(grids, np.float32)
