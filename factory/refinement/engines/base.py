"""What an engine is, and how pixels enter and leave the network in every one of them.

An engine that agrees with PyTorch may still round a pixel to the neighbouring grey level, so
nothing that names content (digests, cards, labels) depends on which engine made it.
"""

import zlib
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.images.png import Pixels
from factory.networks.refiner import RefinerConfig, with_noise
from factory.networks.scaling import to_network


class RefinerEngine(Protocol):
    """Refines a batch of images."""

    name: str

    def __call__(self, images: Pixels) -> Pixels:
        """(n, height, width) or (n, height, width, 3) in, the same shape and dtype out."""


class EngineUnavailableError(ValueError):
    """This engine cannot run this refiner on this machine; the message says why."""


def to_planes(images: Pixels) -> Pixels:
    """(n, H, W) or (n, H, W, C) images as (n, C, H, W), without a copy.

    Raises:
        ValueError: neither of the two shapes.
    """
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise ValueError(f"images must be (n, H, W) or (n, H, W, C), are {images.shape}")
    return np.moveaxis(images, 3, 1)


def from_planes(planes: Pixels, like: Pixels) -> Pixels:
    """(n, C, H, W) back to the layout and type of the images `like` that they were made of."""
    planes = cast("Pixels", planes.astype(like.dtype, copy=False))
    if like.ndim == 3:
        return planes[:, 0]
    return cast("Pixels", np.ascontiguousarray(np.moveaxis(planes, 1, 3)))


Values = NDArray[np.float32]
"""(n, C, H, W) in [-1, 1]: what the network says, before it is rounded to pixels"""


def noise_of(images: Pixels, channels: int, seed: int) -> NDArray[np.float32]:
    """(n, channels) standard normal numbers that depend on each image and the seed alone, so an
    image is refined alike whatever batch, shard or engine it is in."""
    noise = np.empty((len(images), channels), np.float32)
    for image, row in zip(images, noise, strict=True):
        content = zlib.crc32(np.ascontiguousarray(image).data)
        row[:] = np.random.default_rng([seed, content]).standard_normal(channels, np.float32)
    return noise


def network_input(
    images: Pixels, config: RefinerConfig, *, full_scale: float, noise_seed: int
) -> Tensor:
    """What the first convolution takes of images (n, H, W) or (n, H, W, C): (n, C + k, H, W)
    float32, with k channels of noise."""
    values = to_network(to_planes(images), full_scale)
    channels = config.noise_channels
    noise = torch.from_numpy(noise_of(images, channels, noise_seed)) if channels else None
    return with_noise(values, noise, channels)
