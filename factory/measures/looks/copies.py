"""Copies: refined images that reproduce a real one, by nearest neighbours among small pictures.

A refiner that was trained too long on too few images may give back images that it has seen. Such
an image is nearer to a real one than real images are to each other. Where the real images are
frames of one film, they are near to each other already, and only nearer copies are detected. The
pictures are reduced in size and scaled to one mean and contrast before they are compared.

Axes in names: N images, M real images, H height, W width, P pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
SHORTER_SIDE_PX = 18
"""size of the pictures that are compared; in larger ones, noise and shifts by a pixel would hide a
copy"""
BLOCK = 1024
"""number of images whose distances to all others are in memory at one time"""


class Nearest(NamedTuple):
    """For each image, the real image nearest to it."""

    distance: NDArray[np.float64]
    """(N,) root mean square difference of the two `thumbnails`"""
    which: NDArray[np.intp]
    """(N,) position of the real image in its set"""


def thumbnails(images_NHW: Images) -> NDArray[np.float32]:
    """Small pictures of mean 0 and standard deviation 1, as flat vectors.

    Args:
        images_NHW: (N, H, W) uint8.

    Returns:
        (N, P) float32; all 0 for an image of one grey value.
    """
    height, width = images_NHW.shape[1:]
    scale = min(1.0, SHORTER_SIDE_PX / min(height, width))
    size = round(width * scale), round(height * scale)
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images_NHW]
    flat: NDArray[np.float32] = np.stack(small).reshape(len(images_NHW), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    sd = flat.std(axis=1, keepdims=True)
    flat /= np.where(sd > 0, sd, 1)
    return flat


def nearest_in(real_MP: NDArray[np.float32], images_NP: NDArray[np.float32]) -> Nearest:
    """The real image nearest to each image.

    Args:
        real_MP, images_NP: `thumbnails` of both sets.
    """
    return _nearest(real_MP, images_NP, but_itself=False)


def nearest_others(real_MP: NDArray[np.float32]) -> Nearest:
    """The real image nearest to each real image, other than itself."""
    return _nearest(real_MP, real_MP, but_itself=True)


def _nearest(
    real_MP: NDArray[np.float32], images_NP: NDArray[np.float32], *, but_itself: bool
) -> Nearest:
    which = np.empty(len(images_NP), np.intp)
    squares = (real_MP**2).sum(axis=1)
    for start in range(0, len(images_NP), BLOCK):
        block = images_NP[start : start + BLOCK]
        apart = squares - 2 * block @ real_MP.T  # a constant of each row is left out
        if but_itself:
            rows = np.arange(len(block))
            apart[rows, start + rows] = np.inf
        which[start : start + BLOCK] = apart.argmin(axis=1)
    differences = (images_NP - real_MP[which]).astype(np.float64)
    return Nearest(np.sqrt((differences**2).mean(axis=1)), which)
