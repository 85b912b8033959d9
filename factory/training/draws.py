"""What a training draws at random: batches of both sets of images, and numbers for its losses.

Every draw depends on (seed, worker, number of draws) alone, so the whole state of the randomness
is one counter.
"""

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.networks.scaling import scaled_in_place, to_network

ImageSet = Literal["synthetic", "real"]
RESIDENT_SHARE = 0.25
"""of a device's free memory that one set of images may take"""


class ResidentImages:
    """Images that stay on a device as they are stored, so that batches need no copying.

    PyTorch has few operations for uint16 (2.13: `index_select` has none), so 16-bit images lie
    there as int16 of the same bits, and what is drawn of them is made unsigned in int32.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        """
        Args:
            images: (n, H, W) or (n, C, H, W), uint8 or uint16.
        """
        self._is_16_bit = images.dtype == np.uint16
        stored = np.ascontiguousarray(images)
        pixels = torch.from_numpy(stored.view(np.int16) if self._is_16_bit else stored).to(device)
        self._pixels_NCHW = pixels if pixels.ndim == 4 else pixels[:, None]

    def drawn(self, rows: NDArray[np.int64]) -> Tensor:
        """(m, C, H, W) float32 stored values of some of the images, on the device."""
        chosen = self._pixels_NCHW[torch.from_numpy(rows).to(self._pixels_NCHW.device)]
        if self._is_16_bit:
            chosen = chosen.to(torch.int32) & 0xFFFF
        return chosen.float()


def resident(images: np.ndarray, device: torch.device) -> ResidentImages | None:
    """The images on a device; None if they take too much of its memory."""
    if (
        device.type == "cuda"
        and images.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    ):
        return None
    return ResidentImages(images, device)


def random_windows(
    images: np.ndarray, rows: NDArray[np.int64], side_px: int, generator: np.random.Generator
) -> np.ndarray:
    """A square window of each of some images, inside it, and as near as that allows to a random
    pixel that is not 0; of an empty image, to any.

    Args:
        images: (n, H, W) or (n, C, H, W).
        rows: (m,), of the images, which may repeat.

    Returns:
        (m, side_px, side_px) or (m, C, side_px, side_px).
    """
    *_, height, width = images.shape
    windows = np.empty((len(rows), *images.shape[1:-2], side_px, side_px), images.dtype)
    for window, row, chance in zip(windows, rows, generator.random(len(rows)), strict=True):
        image = images[row]
        filled = np.flatnonzero(image if image.ndim == 2 else image.any(axis=0))
        chosen = filled[int(chance * len(filled))] if len(filled) else int(chance * height * width)
        y, x = divmod(int(chosen), width)
        top = min(max(y - side_px // 2, 0), height - side_px)
        left = min(max(x - side_px // 2, 0), width - side_px)
        window[:] = image[..., top : top + side_px, left : left + side_px]
    return windows


class Draws:
    """The random draws of one worker."""

    def __init__(
        self,
        images: Mapping[ImageSet, np.ndarray],
        *,
        full_scale: float,
        seed: int,
        rank: int,
        device: torch.device,
        weights: NDArray[np.float64] | None = None,
        window_px: int | None = None,
    ) -> None:
        """
        Args:
            images: (n, H, W) or (n, C, H, W) unsigned integers of each set.
            full_scale: the pixel value that becomes 1.
            window_px: side of the windows that are drawn of both; None for whole images.
            weights: (n,) of the synthetic images: how often each is drawn, on any scale; None
                for all alike.
        """
        self.stored = images
        self.full_scale = full_scale
        self.window_px = window_px
        self.device = device
        self.count = 0
        """draws so far"""
        self.waited_s = 0.0
        """spent on drawing images"""
        self._seeds = seed, rank
        self._shares = None if weights is None else weights / weights.sum()
        self._resident = {
            name: resident(pixels, device)
            for name, pixels in images.items()
            if device.type == "cuda" and window_px is None
        }

    def generator(self) -> np.random.Generator:
        """For the next draw."""
        generator = np.random.default_rng([*self._seeds, self.count])
        self.count += 1
        return generator

    def images(self, image_set: ImageSet, n: int) -> Tensor:
        """n images of a set, or windows of them, with replacement: (n, C, H, W) float32 in
        [-1, 1]."""
        started = time.perf_counter()
        pixels, generator = self.stored[image_set], self.generator()
        if image_set == "synthetic" and self._shares is not None:
            rows = generator.choice(len(pixels), size=n, p=self._shares)
        else:
            rows = generator.integers(len(pixels), size=n)
        on_device = self._resident.get(image_set)
        if self.window_px is not None:
            windows = random_windows(pixels, rows, self.window_px, generator)
            images = to_network(windows, self.full_scale).to(self.device, non_blocking=True)
        elif on_device is not None:
            images = scaled_in_place(on_device.drawn(rows), self.full_scale)
        else:
            images = to_network(pixels[rows], self.full_scale)
            images = images.to(self.device, non_blocking=True)
        self.waited_s += time.perf_counter() - started
        return images

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers."""
        numbers = self.generator().standard_normal(shape, np.float32)
        return torch.from_numpy(numbers).to(self.device)
