"""The scale of the networks: stored pixels become numbers in [-1, 1], and those become pixels."""

import numpy as np
import torch
from torch import Tensor

from schemas.base import Float


def to_network(images: np.ndarray, full_scale: Float = 255.0) -> Tensor:
    """Scale stored pixels to the networks' range: a value v becomes 2 v / full_scale - 1.

    Args:
        images: (n, H, W) of one channel or (n, C, H, W), unsigned integers.
        full_scale: the pixel value that becomes 1; 0 becomes -1.

    Returns:
        (n, C, H, W) float32 in [-1, 1], channels last in memory.

    Raises:
        ValueError: the images have another number of axes or another type.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.dtype.kind != "u":
        raise ValueError(
            "images must be (n, H, W) or (n, C, H, W) unsigned integers, "
            f"are {images.shape} {images.dtype}"
        )
    return scaled_in_place(
        torch.from_numpy(np.ascontiguousarray(images).astype(np.float32)), full_scale
    )


def scaled_in_place(values: Tensor, full_scale: Float = 255.0) -> Tensor:
    """Scale pixel values as `to_network` does, and overwrite them where their layout allows it.

    Args:
        values: (n, C, H, W) float32 on any device.
        full_scale: the pixel value that becomes 1.

    Returns:
        (n, C, H, W) float32 in [-1, 1], channels last in memory.
    """
    values = values.div_(full_scale / 2).sub_(1.0)
    return values.contiguous(memory_format=torch.channels_last)


def to_pixels(images: Tensor, full_scale: Float = 255.0, empty_below: Float = 0.0) -> np.ndarray:
    """Turn the networks' numbers into pixels: `to_network` undone, rounded and clipped.

    Args:
        images: (n, C, H, W) float; what lies outside [-1, 1] is clipped.
        full_scale: the pixel value that 1 becomes.
        empty_below: rounded values below it become 0, the background of depth images.

    Returns:
        (n, C, H, W) uint8 where `full_scale` fits into 8 bits, else uint16.
    """
    values = images.detach().float().add(1.0).mul(full_scale / 2).round_().clamp_(0, full_scale)
    if empty_below > 0:
        values.masked_fill_(values < empty_below, 0.0)
    dtype = np.uint8 if full_scale <= np.iinfo(np.uint8).max else np.uint16
    return values.cpu().contiguous().numpy().astype(dtype)
