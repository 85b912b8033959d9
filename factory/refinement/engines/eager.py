"""PyTorch, layer by layer: the reference that every other engine has to agree with."""

import copy

import numpy as np
import torch
from torch import Tensor

from factory.images.png import Pixels
from factory.networks.refiner import Refiner
from factory.refinement.engines.base import EIGHT_BIT, PixelCodec, Values, engine_name
from schemas.refiner import Precision

CPU_BATCH, DEVICE_BATCH = 16, 256
"""images refined at once: on a CPU, as many as keep the activations near the caches"""


class TorchEngine:
    """PyTorch, eager.

    Args:
        codec: of the refiner's pixels.
        batch_size: images refined at once; None for what suits the device.
        device: as PyTorch names it. PyTorch's own setting of TF32 holds on Nvidia's.
        precision: of convolutions and of the activations between them.
    """

    def __init__(
        self,
        refiner: Refiner,
        codec: PixelCodec = EIGHT_BIT,
        *,
        batch_size: int | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.precision = precision
        self.codec = codec
        self.device = torch.device(device)
        if batch_size is None:
            batch_size = CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH
        self.batch_size = batch_size
        refiner = copy.deepcopy(refiner).to(self.device).eval()
        self.refiner = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def name(self) -> str:
        """As `RefinerEngine.name`."""
        return engine_name("torch", self.precision)

    def __call__(self, images: Pixels) -> Pixels:
        if not len(images):
            return images.copy()
        parts = self._parts(images)
        return np.concatenate([self.codec.decode(self.values(part), part) for part in parts])

    def values(self, images: Pixels) -> Values:
        """The network's output for (n, H, W) or (n, H, W, C) images, before rounding."""
        with torch.inference_mode():
            refined = [self._refined(part).cpu() for part in self._parts(images)]
        return np.asarray(torch.cat(refined).contiguous())

    def _refined(self, images: Pixels) -> Tensor:
        channels = self.codec.encode(images, self.refiner.config.noise_channels)
        is_reduced = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_reduced):
            refined: Tensor = self.refiner.from_channels(channels.to(self.device))
        return refined.float()

    def _parts(self, images: Pixels) -> list[Pixels]:
        size = self.batch_size
        return [images[start : start + size] for start in range(0, len(images), size)]
