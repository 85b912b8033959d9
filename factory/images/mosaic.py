"""Small pictures side by side in one PNG, for people to look at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.images.png import encode_png

NUM_COLUMNS, NUM_ROWS = 6, 3
NUM_TILES = NUM_COLUMNS * NUM_ROWS
"""pictures of a full mosaic"""
TRUE_RGB, FOUND_RGB = (255, 180, 0), (0, 220, 255)
"""colours of what a label says, and of what a network finds"""

Rgb = NDArray[np.uint8]
"""(H, W, 3)"""


def mosaic_png(tiles: Sequence[Rgb]) -> bytes:
    """A PNG of tiles of one size, `NUM_COLUMNS` in a row; the last row is filled up with black.

    Raises:
        ValueError: there are no tiles.
    """
    if not tiles:
        raise ValueError("there are no pictures to show")
    padded = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % NUM_COLUMNS)]
    rows = [
        np.concatenate(padded[first : first + NUM_COLUMNS], axis=1)
        for first in range(0, len(padded), NUM_COLUMNS)
    ]
    return encode_png(np.concatenate(rows))
