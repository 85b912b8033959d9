"""PyTorch, layer by layer: the reference that every other engine has to agree with."""

import copy

import numpy as np
import torch

from factory.engines.base import Values, from_planes, to_planes
from factory.images import Pixels
from factory.models import Refiner, to_network, to_pixels

CPU_BATCH, DEVICE_BATCH = 16, 256
"""images at once: on a CPU as many as keep the activations near the caches"""


class TorchEngine:
    """PyTorch, eager, float32.

    Args:
        full_scale: the pixel value that becomes 1 in the network.
        batch_size: images at once; None for what suits the device.
        device: as PyTorch names it. PyTorch's own setting of TF32 holds on Nvidia's.
    """

    name = "torch"

    def __init__(
        self,
        refiner: Refiner,
        *,
        full_scale: float = 255.0,
        batch_size: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.full_scale = full_scale
        self.device = torch.device(device)
        if batch_size is None:
            batch_size = CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH
        self.batch_size = batch_size
        refiner = copy.deepcopy(refiner).to(self.device).eval()
        self.refiner = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, images: Pixels) -> Pixels:
        if not len(images):
            return images.copy()
        return np.concatenate(
            [
                from_planes(to_pixels(torch.from_numpy(self.values(part)), self.full_scale), part)
                for part in self._parts(images)
            ]
        )

    def values(self, images: Pixels) -> Values:
        """What the network makes of images, before rounding."""
        with torch.inference_mode():
            refined = [
                self.refiner(to_network(to_planes(part), self.full_scale).to(self.device)).cpu()
                for part in self._parts(images)
            ]
        return np.asarray(torch.cat(refined).contiguous())

    def _parts(self, images: Pixels) -> list[Pixels]:
        size = self.batch_size
        return [images[start : start + size] for start in range(0, len(images), size)]
