"""Sliced Wasserstein distance of patches, after Karras et al. 2018 (arXiv:1710.10196), section 5.

Patches are taken from two levels of a Laplacian pyramid. The fine level has what is lost when an
image is halved in size (grain, sharp edges), the coarse level is the halved image (shading,
shapes). The distance is the mean over random directions in the space of patches; along one
direction, it is the mean difference of the sorted projections. Unlike the paper, both sets are
scaled by the mean and deviation of the reference, so that a difference in contrast counts, and
fewer patches and directions are used.

Axes in names: N images, P patches, J directions, R rounds.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.measures.looks.jackknife import Keep, Statistic, Values

PATCH_PX = 7
MIN_SIDE_PX = 2 * PATCH_PX
NUM_PATCHES = 16
"""of each image and level, at random positions"""
NUM_DIRECTIONS = 64

Images = NDArray[np.uint8]
Patches = NDArray[np.float32]
"""(N, P, 49) grey levels"""


class Levels(NamedTuple):
    """The patches of N images on both levels of the pyramid."""

    fine: Patches
    coarse: Patches


def patches_of(images_NHW: Images, seed: int) -> Levels:
    """Cut patches at random positions, which depend only on the seed and the sizes.

    Args:
        images_NHW: (N, H, W) uint8.

    Raises:
        ValueError: a side of the images is shorter than `MIN_SIDE_PX`.
    """
    if min(images_NHW.shape[1:]) < MIN_SIDE_PX:
        raise ValueError(
            f"images are {images_NHW.shape[1:]}, but patches on two scales need sides of "
            f"{MIN_SIDE_PX} px or more"
        )
    fine, coarse = [], []
    for image in images_NHW.astype(np.float32):
        half = cv2.pyrDown(image)
        fine.append(image - cv2.pyrUp(half, dstsize=image.shape[::-1]))
        coarse.append(half)
    return Levels(_cut(np.stack(fine), seed), _cut(np.stack(coarse), seed))


def _cut(pictures_NHW: NDArray[np.float32], seed: int) -> Patches:
    num, height, width = pictures_NHW.shape
    rng = np.random.default_rng(seed)
    top = rng.integers(0, height - PATCH_PX + 1, (num, NUM_PATCHES))
    left = rng.integers(0, width - PATCH_PX + 1, (num, NUM_PATCHES))
    windows = np.lib.stride_tricks.sliding_window_view(
        pictures_NHW, (PATCH_PX, PATCH_PX), axis=(1, 2)
    )
    patches: Patches = windows[np.arange(num)[:, None], top, left].reshape(num, NUM_PATCHES, -1)
    return patches


def sliced_wasserstein(other: Levels, reference: Levels, *, seed: int) -> Statistic:
    """A statistic that gives (R, 2): the distances on the fine and on the coarse level."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((PATCH_PX**2, NUM_DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    pairs = []
    for mine, like in zip(other, reference, strict=True):
        mean, sd = like.mean(), max(float(like.std()), 1e-6)
        pairs.append(
            tuple(_Sorted.of((patches - mean) / sd @ directions) for patches in (mine, like))
        )

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        return np.array(
            [
                [np.abs(mine.kept(kept) - like.kept(as_many)).mean() for mine, like in pairs]
                for kept, as_many in zip(other_RN, reference_RN, strict=True)
            ],
            np.float64,
        )

    return statistic


class _Sorted(NamedTuple):
    """Sorted projections of patches, of which any choice of images stays sorted."""

    values: NDArray[np.float32]
    """(J, N·P) projections in ascending order"""
    image: NDArray[np.intp]
    """(J, N·P) number of the image that each projection belongs to"""

    @classmethod
    def of(cls, projected_NPJ: NDArray[np.float32]) -> "_Sorted":
        num, num_patches, num_directions = projected_NPJ.shape
        flat = projected_NPJ.reshape(-1, num_directions).T
        order = np.argsort(flat, axis=1)
        image = np.repeat(np.arange(num), num_patches)
        return cls(np.take_along_axis(flat, order, axis=1), image[order])

    def kept(self, kept_N: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(J, n·P) sorted projections of the n images that are kept."""
        return self.values[kept_N[self.image]].reshape(len(self.values), -1)
