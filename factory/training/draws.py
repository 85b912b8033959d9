"""What a training draws at random: batches of both domains, and numbers for its losses.

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

Domain = Literal["synthetic", "real"]
RESIDENT_SHARE = 0.25
"""of a device's free memory that one domain's images may take"""


def resident(images: np.ndarray, device: torch.device) -> Tensor | None:
    """(n, C, H, W) images on a device, so that batches need no copying; None if they take too
    much of its memory."""
    if (
        device.type == "cuda"
        and images.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    ):
        return None
    there = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return there if there.ndim == 4 else there[:, None]


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
        there = np.flatnonzero(image if image.ndim == 2 else image.any(axis=0))
        chosen = there[int(chance * len(there))] if len(there) else int(chance * height * width)
        y, x = divmod(int(chosen), width)
        top = min(max(y - side_px // 2, 0), height - side_px)
        left = min(max(x - side_px // 2, 0), width - side_px)
        window[:] = image[..., top : top + side_px, left : left + side_px]
    return windows


class Draws:
    """One worker's."""

    def __init__(
        self,
        images: Mapping[Domain, np.ndarray],
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
            images: (n, H, W) or (n, C, H, W) unsigned integers of each domain.
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

    def images(self, domain: Domain, n: int) -> Tensor:
        """n images of a domain, or windows of them, with replacement: (n, C, H, W) float32 in
        [-1, 1]."""
        started = time.perf_counter()
        pixels, generator = self.stored[domain], self.generator()
        if domain == "synthetic" and self._shares is not None:
            rows = generator.choice(len(pixels), size=n, p=self._shares)
        else:
            rows = generator.integers(len(pixels), size=n)
        there = self._resident.get(domain)
        if self.window_px is not None:
            windows = random_windows(pixels, rows, self.window_px, generator)
            images = to_network(windows, self.full_scale).to(self.device, non_blocking=True)
        elif there is not None:
            chosen = there[torch.from_numpy(rows).to(self.device)].float()
            images = scaled_in_place(chosen, self.full_scale)
        else:
            images = to_network(pixels[rows], self.full_scale)
            images = images.to(self.device, non_blocking=True)
        self.waited_s += time.perf_counter() - started
        return images

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 numbers."""
        numbers = self.generator().standard_normal(shape, np.float32)
        return torch.from_numpy(numbers).to(self.device)
