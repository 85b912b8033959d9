"""Measures of a refined image beside its parent, the render. None of them needs a trained network.

Each detects a failure of a refiner or of a pipeline: the image is unchanged, shows another scene,
is mirrored or inverted, lost its contrast, is blurred, has a periodic pattern, or is the same for
several scenes.

Axes in names: N images, H height, W width, D numbers of a descriptor.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from factory.images.png import Pixels

Images = Pixels
Values = NDArray[np.float32]
_DESCRIPTOR_SIZE = (8, 5)
"""number of fields (columns, rows) whose mean grey values describe an image when similar images
are searched"""
_SAME = 1e-3
"""root mean square difference of descriptors below which two parents are one scene"""
_BLOCK = 8
"""side in pixels of the blocks of `checkerboard`"""
_NUM_NEIGHBOURS = 5
_PERIODIC = np.array([[[1, -1], [-1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]]], np.float32)
"""the patterns of period 2 px: a checkerboard, columns and rows"""


def mean_abs_change(
    before_NHW: Images, after_NHW: Images, full_scale: Values | int = 255
) -> Values:
    """(N,) float32 mean |after - before| of each image, with pixels on [-1, 1].

    Args:
        before_NHW, after_NHW: (N, H, W) uint8 or uint16.
        full_scale: the pixel value that becomes 1, where 0 becomes -1; a number or (N,).
    """
    unit = _unit(full_scale)
    difference = np.abs(after_NHW.astype(np.float32) - before_NHW.astype(np.float32)) / unit
    return np.asarray(difference.mean(axis=tuple(range(1, difference.ndim))), np.float32)


def likeness(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) float32 correlation of the pixels, -1 to 1; 0 where one of the images is flat."""
    before, after = _standard(before_NHW), _standard(after_NHW)
    return np.asarray((before * after).mean(axis=1), np.float32)


def mirror_gain(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) float32 `likeness` of the mirrored image minus that of the image itself."""
    return likeness(before_NHW, after_NHW[:, :, ::-1]) - likeness(before_NHW, after_NHW)


def contrast(images_NHW: Images, full_scale: Values | int = 255) -> Values:
    """(N,) float32 standard deviation of the pixels on [-1, 1]."""
    return np.asarray((images_NHW / _unit(full_scale)).std(axis=(1, 2)), np.float32)


def _unit(full_scale: Values | int) -> Values:
    """(N or 1, 1, 1) difference of pixel values that is 1 on [-1, 1]."""
    return np.asarray(full_scale, np.float32).reshape(-1, 1, 1) / np.float32(2)


def sharpness_ratio(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) float32 fine detail of the refined image over that of its parent; NaN where the parent
    has none."""
    before, after = _detail(before_NHW), _detail(after_NHW)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(before > 0, after / before, np.nan), np.float32)


def checkerboard(images_NHW: Images) -> Values:
    """(N,) float32 amplitude in grey levels of the strongest pattern of period 2 px.

    Transposed convolutions and pixel shuffling leave such patterns (Odena et al. 2016, Distill).
    The amplitude is the root mean square over blocks of 8 x 8 px, each taken by itself, because the
    phase of a pattern may change across the image.

    Raises:
        ValueError: the images are smaller than a block.
    """
    num, height, width = images_NHW.shape
    rows, columns = height // _BLOCK * _BLOCK, width // _BLOCK * _BLOCK
    if not rows or not columns:
        raise ValueError(f"images of {height}x{width} are smaller than a block of {_BLOCK} px")
    grey = images_NHW[:, :rows, :columns].astype(np.float32)
    blocks = grey.reshape(num, rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    amplitudes = []
    for pattern in _PERIODIC:
        tiled = np.tile(pattern, (_BLOCK // 2, _BLOCK // 2)) / _BLOCK**2
        answers = np.einsum("nrycx,yx->nrc", blocks, tiled)
        amplitudes.append(np.sqrt((answers**2).mean(axis=(1, 2))))
    return np.asarray(np.max(amplitudes, axis=0), np.float32)


def alike_ratio(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) float32, small where several scenes were refined to one image.

    For each refined image and its five most similar refined images, the distance of the two is
    divided by the distance of their parents; the smallest of these ratios is returned. It is about
    1 where refining keeps scenes apart, and 0 where it gives one image for several scenes. Images
    whose parents are equal are left out. NaN where no other image is left.
    """
    num = len(before_NHW)
    if num < 2:
        return np.full(num, np.nan, np.float32)
    before, after = _descriptors(before_NHW), _descriptors(after_NHW)
    distance, which = cKDTree(after).query(after, k=min(_NUM_NEIGHBOURS + 1, num))
    apart = np.linalg.norm(before[:, None] - before[which], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = distance / apart
    ratio[(which == np.arange(num)[:, None]) | (apart < _SAME * before.shape[1] ** 0.5)] = np.inf
    smallest = ratio.min(axis=1)
    return np.asarray(np.where(np.isfinite(smallest), smallest, np.nan), np.float32)


def _descriptors(images_NHW: Images) -> Values:
    """(N, D) mean grey values of 5 x 8 fields, scaled to mean 0 and standard deviation 1, so that
    brightness and contrast do not change them."""
    small = [cv2.resize(image, _DESCRIPTOR_SIZE, interpolation=cv2.INTER_AREA)
             for image in images_NHW]  # fmt: skip
    return _standard(np.asarray(small))


def _standard(images_NHW: Images) -> Values:
    """(N, pixels) of mean 0 and standard deviation 1, or all 0 for flat images."""
    flat = images_NHW.reshape(len(images_NHW), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    scale = flat.std(axis=1, keepdims=True)
    return np.asarray(np.where(scale > 0.5, flat / np.maximum(scale, 0.5), 0), np.float32)


def _detail(images_NHW: Images) -> Values:
    """(N,) mean |pixel - mean of its 3 x 3 neighbourhood|, in grey levels."""
    return np.asarray(
        [
            np.abs(grey - cv2.blur(grey, (3, 3), borderType=cv2.BORDER_REPLICATE)).mean()
            for grey in images_NHW.astype(np.float32)
        ],
        np.float32,
    )
