"""Augmentation of depth pictures of hands, so that the joint network does not learn the renders'
look.

Pictures get what refined pictures and those of a camera may have: ragged, wider and narrower
outlines, holes, noise and coarse steps of depth. Turns are those of the paper's estimator
(Shrivastava et al. 2017, section 3.2). Depths are never blended: each pixel takes the value of one
pixel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from factory.domains.hand.networks.joints import inside_or_nan

Depth = NDArray[np.uint16]
Single = NDArray[np.float32]

MAX_TURN_RAD = np.radians(20)
MAX_ZOOM = 1.12
MAX_SHIFT_SHARE = 0.05
"""largest shift, as a share of the picture's width"""
MAX_RAGGED_PX = 1.5
"""largest standard deviation of the place that a pixel is taken from; teeth are about 2 px wide"""
MAX_GROWN_PX = 2
"""how far outlines are moved at most, out or in"""
MAX_HOLES = 0.06
"""largest share of pixels that become holes, about"""
MAX_BIAS_MM, MAX_NOISE_MM, MAX_STEP_MM = 12.0, 4.0, 6.0
"""largest offset of a whole picture, standard deviation of the noise, and size of the steps"""


def augmented(
    images_NHW: Depth, joints_px: Single, cube_mm: int, rng: np.random.Generator
) -> tuple[Depth, Single]:
    """Turn, scale and shift hands with their joints, and degrade depth as a poor camera would.

    Args:
        images_NHW: depth as stored.
        joints_px: (N, k, 2), x and y in px.

    Returns:
        Pictures and joints of the same shapes; joints that leave the picture are NaN.
    """
    moved, joints_px = turned_and_cropped(images_NHW, joints_px, rng, max_ragged_px=MAX_RAGGED_PX)
    return remeasured(moved, cube_mm, rng), joints_px


def turned_and_cropped(
    images_NHW: Depth, joints_px: Single, rng: np.random.Generator, *, max_ragged_px: float = 0.0
) -> tuple[Depth, Single]:
    """Turn, scale and shift pictures with their joints. This is the paper's augmentation, random
    rotations and crops, and leaves the look of depth as it is.

    Args:
        images_NHW, joints_px: as in `augmented`, which says what is returned.
        max_ragged_px: largest standard deviation of the place that a pixel is taken from.
    """
    n, height, width = images_NHW.shape
    turn = rng.uniform(-MAX_TURN_RAD, MAX_TURN_RAD, n)
    zoom = np.exp(rng.uniform(-1, 1, n) * np.log(MAX_ZOOM))
    shift = rng.uniform(-MAX_SHIFT_SHARE, MAX_SHIFT_SHARE, (n, 2)) * width
    cos, sin = np.cos(turn) * zoom, np.sin(turn) * zoom
    # Where a point goes: p' = M (p - centre) + centre + shift; and where a pixel comes from.
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    centre = np.array([width - 1, height - 1]) / 2
    joints = np.einsum("nij,nkj->nki", matrix, joints_px - centre) + (centre + shift)[:, None]
    back = np.linalg.inv(matrix)
    start = centre - np.einsum("nij,nj->ni", back, centre + shift)
    along_x = back[..., :1] * np.arange(width)  # (N, 2, W)
    along_y = back[..., 1:] * np.arange(height) + start[..., None]
    came_from = np.asarray(along_x[:, :, None] + along_y[..., None], np.float32)
    ragged = np.asarray(rng.uniform(0, max_ragged_px, n), np.float32)
    taken = np.empty_like(images_NHW)
    for k, image in enumerate(images_NHW):
        xs, ys = came_from[k]
        if max_ragged_px > 0:
            xs, ys = came_from[k] + ragged[k] * _rough(rng, (2, height, width), 2)
        taken[k] = cv2.remap(image, xs, ys, cv2.INTER_NEAREST, borderValue=0)
    return taken, inside_or_nan(joints.astype(np.float32), height, width)


def remeasured(images_NHW: Depth, cube_mm: int, rng: np.random.Generator) -> Depth:
    """Pictures as a poor camera would measure them: outlines moved, holes cut, and depths offset,
    noisy and stepped."""
    measured = np.empty_like(images_NHW)
    for clean, out in zip(images_NHW, measured, strict=True):
        image = grown(clean, int(rng.integers(-MAX_GROWN_PX, MAX_GROWN_PX + 1)))
        shape = (1, *image.shape)
        bias_mm = rng.uniform(-MAX_BIAS_MM, MAX_BIAS_MM)
        noise_mm, step_mm = rng.uniform(0, MAX_NOISE_MM), rng.uniform(1, MAX_STEP_MM)
        rough = _rough(rng, shape, 2)[0] * np.float32(noise_mm) + np.float32(bias_mm)
        stepped = np.rint(np.rint((image + rough) / np.float32(step_mm)) * np.float32(step_mm))
        hole = _rough(rng, shape, 4)[0] > ndtri(1 - rng.uniform(0, MAX_HOLES))
        is_hand = (image > 0) & ~hole & (stepped >= 1) & (stepped <= cube_mm + 1)
        out[:] = np.where(is_hand, stepped, 0)
    return measured


def grown(image: Depth, px: int) -> Depth:
    """A picture (H, W) whose hand is wider by some pixels on each side, or narrower, if negative.

    Added pixels get the depth of the farthest hand pixel in reach.
    """
    around = np.ones((2 * abs(px) + 1,) * 2, np.uint8)
    if px < 0:
        return np.where(cv2.erode(image, around) > 0, image, np.uint16(0))
    return np.where(image > 0, image, cv2.dilate(image, around))


def _rough(rng: np.random.Generator, shape: tuple[int, int, int], size_px: int) -> Single:
    """(c, H, W) noise of unit variance, in patches of about `size_px`, which is even."""
    c, height, width = shape
    few = rng.standard_normal((c, -(-height // size_px), -(-width // size_px)), np.float32)
    # Interpolation lowers the variance along each axis by this factor, on average.
    few /= 2 / 3 - 1 / (6 * size_px**2)
    wide = (cv2.resize(part, None, fx=size_px, fy=size_px) for part in few)
    return np.stack([part[:height, :width] for part in wide])
