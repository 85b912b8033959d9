"""Which engine refines: the one known to be fastest, if it agrees with PyTorch on this refiner."""

import logging
from pathlib import Path

import torch

from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner
from factory.refinement.engines.base import (
    EIGHT_BIT,
    EngineUnavailableError,
    PixelCodec,
    RefinerEngine,
)
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
        name, batch_size, device: as in `choose_engine`.
        noise_seed: see `PixelCodec`.

    Raises:
        ValueError: there is no engine of that name on such a device.
        EngineUnavailableError: the engine that was named cannot be used.
    """
    network, described = load_refiner(refiner)
    return choose_engine(
        network,
        described.image,
        PixelCodec.of(described, noise_seed=noise_seed),
        name=name,
        batch_size=batch_size,
        device=device,
    )


def choose_engine(
    refiner: Refiner,
    image: ImageSpec,
    codec: PixelCodec = EIGHT_BIT,
    *,
    name: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
) -> RefinerEngine:
    """The engine that was named, or with `auto` the one that our benchmarks found to be fastest.

    On a CPU, that is ncnn for filters of up to 3 x 3, and PyTorch for larger ones, which have no
    Winograd form in ncnn; on a GPU it is the CUDA engine. The speed is not measured at start-up:
    the workers of a run would not all choose alike, and their pixels would differ by a rounding.

    Every engine but PyTorch first refines a few fixed images and is compared with PyTorch on the
    CPU in float32 (`engines.parity` has the tolerances). Where they do not agree, or the engine
    cannot be used, `auto` takes PyTorch instead and the log says why in one line.

    Args:
        image: layout of the images that will be refined.
        codec: of the refiner's pixels.
        name: `torch`, `ncnn` (on a CPU), `cuda` (on a GPU) or `auto`.
        batch_size: images refined at once; None for what suits the engine. ncnn always takes one.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: there is no engine of that name on such a device.
        EngineUnavailableError: the engine that was named cannot be used.
    """
    if device not in _FASTEST:
        raise ValueError(f"device {device!r}: expected {' or '.join(_FASTEST)}")
    fastest = _FASTEST[device]
    if name not in ("auto", "torch", fastest):
        raise ValueError(f"engine {name!r} on {device}: expected auto, torch or {fastest}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError("PyTorch sees no CUDA device")
    torch_engine = TorchEngine(refiner, codec, batch_size=batch_size, device=device)
    if name == "torch":
        log.info("refining with PyTorch, as asked")
        return torch_engine
    kernel = refiner.config.kernel
    if name == "auto" and device == "cpu" and kernel > _LARGEST_WINOGRAD_KERNEL:
        log.info("refining with PyTorch: filters of %d x %d have no Winograd form", kernel, kernel)
        return torch_engine
    try:
        engine, tolerance = _fast_engine(refiner, image, codec, batch_size, device)
        probes = probe_images(image, codec.full_scale)
        parity = require_parity(engine, TorchEngine(refiner, codec), probes, tolerance)
    except EngineUnavailableError as error:
        if name != "auto":
            raise
        log.warning("refining with PyTorch, which is slower: %s", error)
        return torch_engine
    log.info("refining with %s; against PyTorch: %s", engine.name, parity)
    return engine


def _fast_engine(
    refiner: Refiner, image: ImageSpec, codec: PixelCodec, batch_size: int | None, device: str
) -> tuple[CheckedEngine, Tolerance]:
    """The fastest engine of a device, and how far it may be from PyTorch.

    Raises:
        EngineUnavailableError: it cannot be used.
    """
    if device == "cuda":
        if image.bits > 8:
            raise EngineUnavailableError(
                f"the cuda engine keeps pixels in 8 bits, these images have {image.bits}"
            )
        cuda = CudaEngine(
            refiner, codec, height=image.height, width=image.width, batch_size=batch_size
        )
        return cuda, BFLOAT16
    try:
        # Imported here, as an installation may lack ncnn.
        from factory.refinement.engines.ncnn import NcnnEngine
    except ImportError as error:
        raise EngineUnavailableError(f"ncnn cannot be imported ({error})") from error
    return NcnnEngine(refiner, codec), SAME_FLOAT32 if image.bits == 8 else SAME_DEPTH
