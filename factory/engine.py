"""Which engine refines: the fastest one that agrees with PyTorch on the refiner at hand."""

import logging
from pathlib import Path

import torch

from factory.checkpoint import load_refiner
from factory.engines.base import EngineUnavailableError, RefinerEngine
from factory.engines.cuda import CudaEngine
from factory.engines.eager import TorchEngine
from factory.engines.parity import (
    BFLOAT16,
    SAME_FLOAT32,
    CheckedEngine,
    Tolerance,
    probe_images,
    race,
    require_parity,
)
from factory.models import Refiner
from schemas.dataset import ImageSpec

__all__ = ["EngineUnavailableError", "RefinerEngine", "TorchEngine", "make_engine"]

log = logging.getLogger(__name__)

_FASTEST = {"cpu": "ncnn", "cuda": "cuda"}
"""what `auto` tries before PyTorch, by device"""


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
        name: `torch`, `ncnn` (on a CPU), `cuda` (on a GPU), or `auto`, see `choose_engine`.
        batch_size: images at once; None for what suits the engine. ncnn takes one at a time.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: no engine of that name on such a device.
        EngineUnavailableError: the engine that was named cannot be used.
    """
    network, described = load_refiner(refiner)
    return choose_engine(
        network,
        described.image,
        full_scale=described.full_scale,
        name=name,
        batch_size=batch_size,
        device=device,
    )


def choose_engine(
    refiner: Refiner,
    image: ImageSpec,
    *,
    full_scale: float = 255.0,
    name: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
) -> RefinerEngine:
    """The engine that was named, or with `auto` the fastest that agrees with PyTorch.

    Every engine but PyTorch refines a few fixed images here and is compared with PyTorch on the
    CPU in float32 (`factory.engines.parity` has the tolerances). `auto` then times both on a CPU,
    for about a second with the paper's eye refiner, and takes the faster one: filters larger than
    3 x 3 have no Winograd form, and other processors other libraries. Whatever keeps `auto` from
    the fast engine is one line in the log.

    Args:
        image: what will be refined.

    Raises:
        ValueError: no engine of that name on such a device.
        EngineUnavailableError: the engine that was named cannot be used.
    """
    if device not in _FASTEST:
        raise ValueError(f"device {device!r}: expected {' or '.join(_FASTEST)}")
    fastest = _FASTEST[device]
    if name not in ("auto", "torch", fastest):
        raise ValueError(f"engine {name!r} on {device}: expected auto, torch or {fastest}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError("PyTorch sees no CUDA device")
    torch_engine = TorchEngine(refiner, full_scale=full_scale, batch_size=batch_size, device=device)
    if name == "torch":
        return torch_engine
    reference = TorchEngine(refiner, full_scale=full_scale)
    probe = probe_images(image)
    try:
        engine, tolerance = _fast_engine(refiner, image, full_scale, batch_size, device)
        parity = require_parity(engine, reference, probe, tolerance)
    except EngineUnavailableError as error:
        if name != "auto":
            raise
        log.warning("refining with PyTorch, which is slower: %s", error)
        return torch_engine
    if name == "auto" and device == "cpu":
        rate, torch_rate = race((engine, torch_engine), probe)
        if torch_rate > rate:
            log.info("refining with PyTorch: %.3g images/s, %s %.3g", torch_rate, engine.name, rate)
            return torch_engine
        log.info("refining with %s: %.3g images/s, PyTorch %.3g", engine.name, rate, torch_rate)
    log.info("%s against PyTorch: %s", engine.name, parity)
    return engine


def _fast_engine(
    refiner: Refiner, image: ImageSpec, full_scale: float, batch_size: int | None, device: str
) -> tuple[CheckedEngine, Tolerance]:
    if device == "cuda":
        return (
            CudaEngine(
                refiner,
                height=image.height,
                width=image.width,
                full_scale=full_scale,
                batch_size=batch_size,
            ),
            BFLOAT16,
        )
    try:
        from factory.engines.ncnn import NcnnEngine
    except ImportError as error:
        raise EngineUnavailableError(f"ncnn cannot be imported ({error})") from error
    return NcnnEngine(refiner, full_scale=full_scale), SAME_FLOAT32
