"""PyTorch, layer by layer: the reference that every other engine has to agree with."""

import copy

import numpy as np
import torch
from torch import Tensor

from factory.images.png import Pixels
from factory.networks.refiner import Refiner
from factory.networks.scaling import to_pixels
from factory.refinement.engines.base import Values, from_planes, network_input

CPU_BATCH, DEVICE_BATCH = 16, 256
"""images at once: on a CPU as many as keep the activations near the caches"""


class TorchEngine:
    """PyTorch, eager, float32.

    Args:
        full_scale: the pixel value that becomes 1 in the network.
        empty_below: refined values below it become 0.
        batch_size: images at once; None for what suits the device.
        noise_seed: for refiners with noise, see `noise_of`.
        device: as PyTorch names it. PyTorch's own setting of TF32 holds on Nvidia's.
    """

    name = "torch"

    def __init__(
        self,
        refiner: Refiner,
        *,
        full_scale: float = 255.0,
        empty_below: float = 0.0,
        noise_seed: int = 0,
        batch_size: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.full_scale = full_scale
        self.empty_below = empty_below
        self.noise_seed = noise_seed
        self.device = torch.device(device)
        if batch_size is None:
            batch_size = CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH
        self.batch_size = batch_size
        refiner = copy.deepcopy(refiner).to(self.device).eval()
        self.refiner = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, images: Pixels) -> Pixels:
        if not len(images):
            return images.copy()
        return np.concatenate([self._pixels(part) for part in self._parts(images)])

    def _pixels(self, images: Pixels) -> Pixels:
        values = torch.from_numpy(self.values(images))
        return from_planes(to_pixels(values, self.full_scale, self.empty_below), images)

    def values(self, images: Pixels) -> Values:
        """What the network makes of images, before rounding."""
        with torch.inference_mode():
            refined = [self._refined(part).cpu() for part in self._parts(images)]
        return np.asarray(torch.cat(refined).contiguous())

    def _refined(self, images: Pixels) -> Tensor:
        given = network_input(
            images, self.refiner.config, full_scale=self.full_scale, noise_seed=self.noise_seed
        )
        refined: Tensor = self.refiner.from_channels(given.to(self.device))
        return refined

    def _parts(self, images: Pixels) -> list[Pixels]:
        size = self.batch_size
        return [images[start : start + size] for start in range(0, len(images), size)]
