"""What an engine is, and how pixels enter and leave the network in every one of them.

An engine that agrees with PyTorch may still round a pixel to the neighbouring grey level.
Therefore nothing that names content (digests, cards, labels) depends on which engine made it.
"""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.images.png import Pixels
from factory.networks.refiner import with_noise
from factory.networks.scaling import to_network, to_pixels
from schemas.refiner import Precision, RefinerConfig, RefinerDescription

_CHUNK = 64
"""images that are held in memory as float32 at a time"""
Values = NDArray[np.float32]
"""(n, C, H, W) in [-1, 1]: the output of the network, before it is rounded to pixels"""


@dataclass(frozen=True)
class PixelCodec:
    """How stored pixels become the input of a refiner, and how its output becomes pixels."""

    full_scale: float = 255.0
    """the pixel value that becomes 1 in the network: x = 2 v / full_scale - 1"""
    empty_below: float = 0.0
    """refined pixel values below it become 0, the background of depth images"""
    empty_beyond: float = 0.0
    """refined pixel values that differ by more than it from the given ones become 0, unless it is
    0: a depth camera gives no value where it is unsure of the surface"""
    noise_seed: int = 0
    """for refiners with noise: another seed gives another refined image of each render"""

    @classmethod
    def of(cls, described: RefinerDescription, *, noise_seed: int = 0) -> Self:
        """The codec of the images that a refiner was trained on."""
        return cls(described.full_scale, described.empty_below, described.empty_beyond, noise_seed)

    def encode(self, images: Pixels, noise_channels: int) -> Tensor:
        """The input of a refiner's first convolution.

        Args:
            images: (n, H, W) or (n, H, W, C), unsigned integers.
            noise_channels: k, of the refiner's configuration.

        Returns:
            (n, C + k, H, W) float32, the images in [-1, 1] and then k channels of noise.

        Raises:
            ValueError: the images have another shape.
        """
        values = to_network(to_planes(images), self.full_scale)
        if not noise_channels:
            return values
        noise = torch.from_numpy(noise_of(images, noise_channels, self.noise_seed))
        return with_noise(values, noise, noise_channels)

    def decode(self, values: Values, like: Pixels) -> Pixels:
        """The output of a refiner as pixels, rounded to the nearest and clipped.

        Args:
            values: (n, C, H, W) in [-1, 1].
            like: the images that they were refined from, which give layout and dtype.

        Raises:
            ValueError: some are not finite, which would be stored as black.
        """
        return from_planes(self.decode_planes(values, to_planes(like)), like)

    def decode_planes(self, values: Values, like: Pixels) -> Pixels:
        """`decode` for images as (n, C, H, W), in that layout."""
        if not np.isfinite(values).all():
            raise ValueError(
                "the refiner gives values that are not finite: its activations overflow on these "
                "images; train another one"
            )
        planes = to_pixels(torch.from_numpy(values), self.full_scale, self.empty_below)
        if self.empty_beyond > 0:
            change = np.abs(planes.astype(np.int32) - like.astype(np.int32))
            planes[change > self.empty_beyond] = 0
        return cast("Pixels", planes.astype(like.dtype, copy=False))


EIGHT_BIT = PixelCodec()
"""of 8-bit images"""


class RefinerEngine(Protocol):
    """Refines a batch of images."""

    @property
    def name(self) -> str:
        """The library, and the precision unless it is float32."""

    def __call__(self, images: Pixels) -> Pixels:
        """Refine (n, H, W) or (n, H, W, C) images; the result has the same shape and dtype."""


def engine_name(library: str, precision: Precision) -> str:
    """The name of an engine, as run summaries and shards record it: `ncnn`, `ncnn bfloat16`."""
    return library if precision == "float32" else f"{library} {precision}"


class EngineUnavailableError(ValueError):
    """This engine cannot run this refiner on this machine; the message says why."""


class OneByOneEngine(ABC):
    """Refines one image after the other on one thread; one process for each core uses all cores.

    A batch would gain nothing: the activations of one image already fill the caches. A subclass
    sets the attributes and has the library refine one image.
    """

    name: str
    codec: PixelCodec
    config: RefinerConfig

    def __call__(self, images: Pixels) -> Pixels:
        refined = np.empty_like(images)
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK]
            refined[start : start + _CHUNK] = self.codec.decode(self.values(part), part)
        return refined

    def values(self, images: Pixels) -> Values:
        """The network's output for (n, H, W) or (n, H, W, C) images, before rounding."""
        channels = self.codec.encode(images, self.config.noise_channels)
        given = np.ascontiguousarray(channels.numpy())
        refined = np.empty_like(given[:, : self.config.channels])
        for image, result in zip(given, refined, strict=True):
            result[:] = self._refined(image)
        return refined

    @abstractmethod
    def _refined(self, channels: Values) -> Values:
        """(C, H, W) in [-1, 1] for (C + k, H, W): one image and its noise."""


def to_planes(images: Pixels) -> Pixels:
    """(n, H, W) or (n, H, W, C) images as (n, C, H, W), without a copy.

    Raises:
        ValueError: the images have neither of the two shapes.
    """
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise ValueError(f"images must be (n, H, W) or (n, H, W, C), are {images.shape}")
    return np.moveaxis(images, 3, 1)


def from_planes(planes: Pixels, like: Pixels) -> Pixels:
    """(n, C, H, W) in the layout and dtype of the images `like` that they were made of."""
    planes = cast("Pixels", planes.astype(like.dtype, copy=False))
    if like.ndim == 3:
        return planes[:, 0]
    return cast("Pixels", np.ascontiguousarray(np.moveaxis(planes, 1, 3)))


def noise_of(images: Pixels, channels: int, seed: int) -> NDArray[np.float32]:
    """Noise for each of n images, as (n, channels) standard normal numbers.

    The numbers depend on the image's pixels and the seed alone, so that an image is refined alike
    in whatever batch, shard or engine it is.
    """
    noise = np.empty((len(images), channels), np.float32)
    for image, row in zip(images, noise, strict=True):
        content = zlib.crc32(np.ascontiguousarray(image).data)
        row[:] = np.random.default_rng([seed, content]).standard_normal(channels, np.float32)
    return noise
