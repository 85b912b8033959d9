"""What runs a refiner over images: one small interface, so that engines can be compared."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from factory.checkpoint import load_refiner
from factory.models import Refiner, to_network, to_pixels


class RefinerEngine(Protocol):
    """Refines a batch of images."""

    name: str

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, height, width) in, the same shape out."""


class TorchEngine:
    """PyTorch, eager: the reference that every other engine has to agree with."""

    name = "torch"

    def __init__(
        self,
        refiner: Refiner,
        *,
        full_scale: float = 255.0,
        batch_size: int = 64,
        device: str = "cpu",
    ):
        self.full_scale = full_scale
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
        refined = self.refiner(to_network(images, self.full_scale).to(self.device))
        return to_pixels(refined.cpu(), self.full_scale)[:, 0].astype(np.uint8)


def make_engine(
    refiner: str | Path,
    *,
    name: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
) -> RefinerEngine:
    """The engine that refines with a checkpoint.

    Args:
        refiner: what `load_refiner` takes.
        name: `auto` or the name of an engine.
        batch_size: images at once; None for what suits the engine.
        device: cpu or cuda.

    Raises:
        ValueError: no engine of that name.
    """
    if name not in ("auto", "torch"):
        raise ValueError(f"engine {name!r}: expected auto or torch")
    network, described = load_refiner(Path(refiner))
    return TorchEngine(
        network,
        full_scale=described.full_scale,
        batch_size=batch_size if batch_size is not None else 64,
        device=device,
    )
