"""Which engine refines: the one that benchmarks found to be fastest, if it agrees with PyTorch."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from factory.networks.precision import ProcessorKind, processor_kind, require_hardware
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
    Parity,
    probe_images,
    require_parity,
)
from schemas.dataset import ImageSpec
from schemas.refiner import Precision

log = logging.getLogger(__name__)

_ON_CPU: dict[Precision, dict[ProcessorKind, tuple[str, ...]]] = {
    "float32": {kind: ("ncnn",) for kind in get_args(ProcessorKind)},
    "bfloat16": {
        "amx": ("openvino",),
        "avx512_bf16": ("openvino", "ncnn"),
        "avx512_bf16_narrow": ("ncnn", "openvino"),
    },
}
"""engines that are faster than PyTorch, the fastest first, as benchmarks/bench_engine.py measured
them (benchmarks/results.md)"""
_ON_CUDA: dict[Precision, tuple[str, ...]] = {"float32": (), "bfloat16": ("cuda",)}
_NAMES = {"cpu": ("auto", "torch", "ncnn", "openvino"), "cuda": ("auto", "torch", "cuda")}
_LARGEST_WINOGRAD_KERNEL = 3


def make_engine(
    refiner: str | Path,
    *,
    name: str = "auto",
    precision: Precision = "float32",
    preferred: str | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    noise_seed: int = 0,
) -> RefinerEngine:
    """The engine that refines with a checkpoint.

    Args:
        refiner: what `load_refiner` takes.
        name, precision, preferred, batch_size, device: as in `choose_engine`.
        noise_seed: see `PixelCodec`.

    Raises:
        as `choose_engine`.
    """
    network, described = load_refiner(refiner)
    return choose_engine(
        network,
        described.image,
        PixelCodec.of(described, noise_seed=noise_seed),
        name=name,
        precision=precision,
        preferred=preferred,
        batch_size=batch_size,
        device=device,
    )


def choose_engine(
    refiner: Refiner,
    image: ImageSpec,
    codec: PixelCodec = EIGHT_BIT,
    *,
    name: str = "auto",
    precision: Precision = "float32",
    preferred: str | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
) -> RefinerEngine:
    """The engine that was named, or with `auto` the one that our benchmarks found to be fastest on
    a processor like this one.

    The speed is not measured at start-up: the workers of a run would not all choose alike, and
    their pixels would differ by a rounding. For the same reason a run's driver looks into the
    table, and gives its choice to all workers as `preferred`.

    Every engine but PyTorch in float32 first refines a few fixed images and is compared with that
    one on the CPU (`engines.parity` has the tolerances). Where they do not agree, or an engine
    cannot be used, `auto` takes the next one, PyTorch at last, and the log says why in one line.

    Args:
        image: layout of the images that will be refined.
        codec: of the refiner's pixels.
        name: `torch`, `ncnn` or `openvino` (on a CPU), `cuda` (on a GPU) or `auto`.
        precision: of the network's arithmetic; the engine named `cuda` has bfloat16 alone.
        preferred: an engine that `auto` tries before all others.
        batch_size: images refined at once; None for what suits the engine. ncnn and OpenVINO always
            take one.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: there is no engine of that name on such a device.
        SlowPrecisionError: the device has no hardware for bfloat16.
        EngineUnavailableError: the engine that was named cannot be used, or in bfloat16 none agrees
            with float32.
    """
    if device not in _NAMES:
        raise ValueError(f"device {device!r}: expected {' or '.join(_NAMES)}")
    if name not in _NAMES[device]:
        expected = ", ".join(_NAMES[device][:-1])
        raise ValueError(
            f"engine {name!r} on {device}: expected {expected} or {_NAMES[device][-1]}"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError("PyTorch sees no CUDA device")
    require_hardware(precision, device, what="the refiner of this dataset")
    reference = TorchEngine(refiner, codec)

    def checked(library: str) -> RefinerEngine:
        """An engine that agrees with the reference."""
        engine = _engine(library, refiner, image, codec, precision, batch_size, device)
        if engine.name == reference.name:  # float32: nothing to compare
            return engine
        probes = probe_images(image, codec.full_scale)
        parity = require_parity(engine, reference, probes, _tolerance(precision, image))
        log.info("refining with %s; against PyTorch in float32: %s", engine.name, parity)
        return engine

    if name != "auto":
        return checked(name)
    return _first_of(_order(refiner, precision, preferred, device), checked)


def _order(
    refiner: Refiner, precision: Precision, preferred: str | None, device: str
) -> tuple[str, ...]:
    """The engines that `auto` tries, PyTorch at last."""
    order = _ON_CUDA[precision] if device == "cuda" else _ON_CPU[precision][processor_kind()]
    if preferred is not None:
        order = (preferred, *order)
    kernel = refiner.config.kernel
    if "ncnn" in order and kernel > _LARGEST_WINOGRAD_KERNEL:
        log.info("refining without ncnn: its filters of %d x %d are slow", kernel, kernel)
        order = tuple(library for library in order if library != "ncnn")
    return tuple(dict.fromkeys((*order, "torch")))


def _first_of(order: tuple[str, ...], make: Callable[[str], RefinerEngine]) -> RefinerEngine:
    for library in order[:-1]:
        try:
            return make(library)
        except EngineUnavailableError as error:
            log.warning("refining with a slower engine than %s: %s", library, error)
    return make(order[-1])


def _tolerance(precision: Precision, image: ImageSpec) -> Parity:
    if precision == "bfloat16":
        return BFLOAT16
    return SAME_FLOAT32 if image.bits == 8 else SAME_DEPTH


def _engine(
    library: str,
    refiner: Refiner,
    image: ImageSpec,
    codec: PixelCodec,
    precision: Precision,
    batch_size: int | None,
    device: str,
) -> CheckedEngine:
    """The engine of one library.

    Raises:
        EngineUnavailableError: it cannot be used.
    """
    if precision == "bfloat16" and image.bits > 8:
        raise EngineUnavailableError(
            f"bfloat16 keeps 8 bits of a pixel, these images have {image.bits}: refine with "
            "--precision float32"
        )
    if library == "cuda":
        if precision != "bfloat16":
            raise EngineUnavailableError("the cuda engine computes in bfloat16 alone")
        return CudaEngine(
            refiner, codec, height=image.height, width=image.width, batch_size=batch_size
        )
    if library == "torch":
        return TorchEngine(
            refiner, codec, batch_size=batch_size, device=device, precision=precision
        )
    # Imported here, as an installation may lack either.
    try:
        if library == "ncnn":
            from factory.refinement.engines.ncnn import NcnnEngine

            return NcnnEngine(refiner, codec, precision=precision)
        from factory.refinement.engines.openvino import OpenvinoEngine

        return OpenvinoEngine(
            refiner, codec, height=image.height, width=image.width, precision=precision
        )
    except ImportError as error:
        raise EngineUnavailableError(
            f"{library} cannot be imported ({error}); pip install 'simgan-factory[{library}]'"
        ) from error
