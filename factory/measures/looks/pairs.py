"""What a refined image looks like beside its parent, in numbers that no network was trained for.

Each catches a way in which a refiner or a pipeline goes wrong: nothing done, another picture,
mirrored, inverted, without contrast, blurred, patterned, or the same picture for several scenes.

Legend of shapes: N images, H height, W width, D numbers of a descriptor.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from factory.images.png import Pixels

Images = Pixels
Values = NDArray[np.float32]
_DESCRIPTOR_SIZE = (8, 5)
"""fields of an image, (x, y), whose mean grey stands for it where alike images are looked for"""
_SAME = 1e-3
"""root mean square difference below which two parents are one scene"""
_BLOCK = 8
_NUM_NEIGHBOURS = 5
_PERIODIC = np.array([[[1, -1], [-1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]]], np.float32)
"""what repeats every 2 px: checkers, columns, rows"""


def mean_abs_change(
    before_NHW: Images, after_NHW: Images, full_scale: Values | int = 255
) -> Values:
    """(N,) mean |after - before| of each image on [-1, 1]; 0 where the refiner did nothing.

    Args:
        full_scale: the value that becomes 1, where 0 becomes -1; one for all, or (N,).
    """
    unit = _unit(full_scale)
    difference = np.abs(after_NHW.astype(np.float32) - before_NHW.astype(np.float32)) / unit
    return np.asarray(difference.mean(axis=tuple(range(1, difference.ndim))), np.float32)


def likeness(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) correlation of the pixels; 0 where one of the images is flat."""
    before, after = _standard(before_NHW), _standard(after_NHW)
    return np.asarray((before * after).mean(axis=1), np.float32)


def mirror_gain(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) how much better the mirrored image agrees with its parent than the image itself."""
    return likeness(before_NHW, after_NHW[:, :, ::-1]) - likeness(before_NHW, after_NHW)


def contrast(images_NHW: Images, full_scale: Values | int = 255) -> Values:
    """(N,) standard deviation on [-1, 1]."""
    return np.asarray((images_NHW / _unit(full_scale)).std(axis=(1, 2)), np.float32)


def _unit(full_scale: Values | int) -> Values:
    """(N or 1, 1, 1) how much is 1 on [-1, 1]."""
    return np.asarray(full_scale, np.float32).reshape(-1, 1, 1) / np.float32(2)


def sharpness_ratio(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) fine detail, refined over parent; NaN where the parent has none."""
    before, after = _detail(before_NHW), _detail(after_NHW)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(before > 0, after / before, np.nan), np.float32)


def checkerboard(images_NHW: Images) -> Values:
    """(N,) grey levels of the strongest pattern of period 2 px, rms over blocks of 8 x 8 px.

    Such patterns are what transposed convolutions and pixel shuffling leave (Odena et al. 2016,
    Distill). Blocks answer by themselves, so a pattern may change its phase across the image.
    """
    num, height, width = images_NHW.shape
    rows, columns = height // _BLOCK * _BLOCK, width // _BLOCK * _BLOCK
    if not rows or not columns:
        raise ValueError(f"images of {height}x{width} are smaller than a block of {_BLOCK} px")
    grey = images_NHW[:, :rows, :columns].astype(np.float32)
    blocks = grey.reshape(num, rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    found = []
    for pattern in _PERIODIC:
        tiled = np.tile(pattern, (_BLOCK // 2, _BLOCK // 2)) / _BLOCK**2
        answers = np.einsum("nrycx,yx->nrc", blocks, tiled)
        found.append(np.sqrt((answers**2).mean(axis=(1, 2))))
    return np.asarray(np.max(found, axis=0), np.float32)


def alike_ratio(before_NHW: Images, after_NHW: Images) -> Values:
    """(N,) whether a refined image stands for several scenes.

    The smallest quotient, over the five most alike refined images, of their distance and that of
    their parents: about 1 where refining keeps scenes apart, 0 where it gives one picture for
    several. Scenes whose parents are the same say nothing. NaN where there are no others.
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
    """(N, D) mean grey of 5 x 8 fields, on a scale that light and contrast do not change."""
    small = [cv2.resize(image, _DESCRIPTOR_SIZE, interpolation=cv2.INTER_AREA)
             for image in images_NHW]  # fmt: skip
    return _standard(np.asarray(small))


def _standard(images_NHW: Images) -> Values:
    """(N, pixels) with mean 0 and standard deviation 1, or all 0."""
    flat = images_NHW.reshape(len(images_NHW), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    scale = flat.std(axis=1, keepdims=True)
    return np.asarray(np.where(scale > 0.5, flat / np.maximum(scale, 0.5), 0), np.float32)


def _detail(images_NHW: Images) -> Values:
    """(N,) mean |image - its 3x3 mean|, grey levels."""
    return np.asarray(
        [
            np.abs(grey - cv2.blur(grey, (3, 3), borderType=cv2.BORDER_REPLICATE)).mean()
            for grey in images_NHW.astype(np.float32)
        ],
        np.float32,
    )
