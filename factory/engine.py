"""What runs a refiner over images: one small interface, so that engines can be compared."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from factory.models import Refiner


class RefinerEngine(Protocol):
    """Refines a batch of images."""

    name: str

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, height, width) in, the same shape out."""


class TorchEngine:
    """PyTorch, eager: the reference that every other engine has to agree with."""

    name = "torch"

    def __init__(self, refiner: Refiner, *, batch_size: int = 64, device: str = "cpu"):
        self.device = torch.device(device)
        self.refiner = refiner.to(self.device).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batch_size = batch_size

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        parts = [
            self._batch(images[start : start + self.batch_size])
            for start in range(0, len(images), self.batch_size)
        ]
        return np.concatenate(parts) if parts else images.copy()

    def _batch(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)[:, None].float()
        refined = self.refiner((batch / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        grey = ((refined + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return np.asarray(grey[:, 0].cpu().numpy())
