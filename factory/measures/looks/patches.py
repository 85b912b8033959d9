"""Sliced Wasserstein distance of patches, after Karras et al. 2018 (arXiv:1710.10196), section 5.

Patches of the levels of a Laplacian pyramid: the fine one has what is lost when an image is halved
(grain, sharp edges), the coarse one the halved image (shading, the shape of the eye). Along a
random direction in the space of patches, the Wasserstein distance is that of sorted numbers. We
part from the paper in that both sets are scaled alike, by the reference's mean and deviation, so
that a difference in contrast counts, and in taking fewer patches and directions.

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
"""of each image and level, at random places"""
NUM_DIRECTIONS = 64

Images = NDArray[np.uint8]
Patches = NDArray[np.float32]
"""(N, P, 49) grey levels"""


class Levels(NamedTuple):
    fine: Patches
    coarse: Patches


def patches_of(images_NHW: Images, seed: int) -> Levels:
    """Patches at seeded places, which depend on nothing but the seed and the sizes.

    Raises:
        ValueError: the images are too small to be halved.
    """
    if min(images_NHW.shape[1:]) < MIN_SIDE_PX:
        raise ValueError(
            f"images are {images_NHW.shape[1:]}; patches of two scales need {MIN_SIDE_PX} px"
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
    """(R, 2): of the fine level and of the coarse one."""
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
    """Projections in order, so that those of some images are too."""

    values: NDArray[np.float32]
    """(J, N·P)"""
    image: NDArray[np.intp]
    """(J, N·P) that each value is of"""

    @classmethod
    def of(cls, projected_NPJ: NDArray[np.float32]) -> "_Sorted":
        num, num_patches, num_directions = projected_NPJ.shape
        flat = projected_NPJ.reshape(-1, num_directions).T
        order = np.argsort(flat, axis=1)
        image = np.repeat(np.arange(num), num_patches)
        return cls(np.take_along_axis(flat, order, axis=1), image[order])

    def kept(self, kept_N: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(J, n·P) of the n images that are kept."""
        return self.values[kept_N[self.image]].reshape(len(self.values), -1)
