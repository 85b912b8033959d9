"""Which engine refines: the one known to be fastest, if it agrees with PyTorch on this refiner."""

import logging
from pathlib import Path

import torch

from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner
from factory.refinement.engines.base import EngineUnavailableError, RefinerEngine
from factory.refinement.engines.cuda import CudaEngine
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.parity import (
    BFLOAT16,
    SAME_DEPTH,
    SAME_FLOAT32,
    CheckedEngine,
    Tolerance,
    probe_images,
    require_parity,
)
from schemas.dataset import ImageSpec

__all__ = ["EngineUnavailableError", "RefinerEngine", "TorchEngine", "make_engine"]

log = logging.getLogger(__name__)

_FASTEST = {"cpu": "ncnn", "cuda": "cuda"}
"""by device"""
_LARGEST_WINOGRAD_KERNEL = 3


def make_engine(
    refiner: str | Path,
    *,
    name: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
    noise_seed: int = 0,
) -> RefinerEngine:
    """The engine that refines with a checkpoint.

    Args:
        refiner: what `load_refiner` takes.
        name: `torch`, `ncnn` (on a CPU), `cuda` (on a GPU), or `auto`, see `choose_engine`.
        batch_size: images at once; None for what suits the engine. ncnn takes one at a time.
        device: `cpu` or `cuda`.
        noise_seed: for refiners with noise: another seed, another refined image of each render.

    Raises:
        ValueError: no engine of that name on such a device.
        EngineUnavailableError: the engine that was named cannot be used.
    """
    network, described = load_refiner(refiner)
    return choose_engine(
        network,
        described.image,
        full_scale=described.full_scale,
        empty_below=described.empty_below,
        name=name,
        batch_size=batch_size,
        device=device,
        noise_seed=noise_seed,
    )


def choose_engine(
    refiner: Refiner,
    image: ImageSpec,
    *,
    full_scale: float = 255.0,
    empty_below: float = 0.0,
    name: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
    noise_seed: int = 0,
) -> RefinerEngine:
    """The engine that was named, or with `auto` the one that our benchmarks found to be fastest.

    That is ncnn on a CPU for filters of up to 3 x 3, PyTorch for larger ones, which have no
    Winograd form there, and the CUDA engine on a GPU. It is not measured at start-up: the workers
    of a run would not all come to the same choice, and their pixels would differ by a rounding.

    Every engine but PyTorch refines a few fixed images here and is compared with PyTorch on the
    CPU in float32 (`factory.refinement.engines.parity` has the tolerances); with `auto` PyTorch takes over,
    with one line in the log, where they do not agree or the engine cannot be used.

    Args:
        image: what will be refined.
        empty_below: refined values below it become 0.

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
    torch_engine = TorchEngine(
        refiner,
        full_scale=full_scale,
        empty_below=empty_below,
        batch_size=batch_size,
        device=device,
        noise_seed=noise_seed,
    )
    if name == "torch":
        log.info("refining with PyTorch, as asked")
        return torch_engine
    kernel = refiner.config.kernel
    if name == "auto" and device == "cpu" and kernel > _LARGEST_WINOGRAD_KERNEL:
        log.info("refining with PyTorch: filters of %d x %d have no Winograd form", kernel, kernel)
        return torch_engine
    reference = TorchEngine(
        refiner, full_scale=full_scale, empty_below=empty_below, noise_seed=noise_seed
    )
    try:
        engine, tolerance = _fast_engine(
            refiner, image, full_scale, empty_below, batch_size, device, noise_seed
        )
        parity = require_parity(engine, reference, probe_images(image, full_scale), tolerance)
    except EngineUnavailableError as error:
        if name != "auto":
            raise
        log.warning("refining with PyTorch, which is slower: %s", error)
        return torch_engine
    log.info("refining with %s; against PyTorch: %s", engine.name, parity)
    return engine


def _fast_engine(
    refiner: Refiner,
    image: ImageSpec,
    full_scale: float,
    empty_below: float,
    batch_size: int | None,
    device: str,
    noise_seed: int,
) -> tuple[CheckedEngine, Tolerance]:
    if device == "cuda":
        if image.bits > 8:
            raise EngineUnavailableError(f"cuda keeps pixels in 8 bits, these have {image.bits}")
        return (
            CudaEngine(
                refiner,
                height=image.height,
                width=image.width,
                full_scale=full_scale,
                empty_below=empty_below,
                batch_size=batch_size,
            ),
            BFLOAT16,
        )
    try:
        from factory.refinement.engines.ncnn import NcnnEngine
    except ImportError as error:
        raise EngineUnavailableError(f"ncnn cannot be imported ({error})") from error
    ncnn = NcnnEngine(
        refiner, full_scale=full_scale, empty_below=empty_below, noise_seed=noise_seed
    )
    return ncnn, SAME_FLOAT32 if image.bits == 8 else SAME_DEPTH
