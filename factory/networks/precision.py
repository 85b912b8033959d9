"""In which precision networks compute, and what a processor computes in hardware.

The precision decides content: a refiner in bfloat16 gives other grey levels than in float32. So it
is part of a dataset's card and of a training run's record, and `auto` is resolved once, when
either is begun.
"""

import os
from typing import Literal

import torch

from schemas.refiner import Precision, PrecisionChoice

ProcessorKind = Literal["amx", "avx512_bf16", "avx512_bf16_narrow", "avx512", "avx2", "other"]
"""what a processor has for matrices, the best first. `avx512_bf16_narrow` computes bfloat16 at
twice the rate of float32 and at half the rate of `avx512_bf16`, as AMD's Zen 4 does, which passes
512 bits through units of 256"""
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""values of ONEDNN_MAX_CPU_ISA that hide a processor's bfloat16"""
_AMPERE = 8
"""major compute capability of the first NVIDIA GPUs with bfloat16"""


class SlowPrecisionError(ValueError):
    """This machine has no hardware for a precision that was asked for, or begun with."""


def processor_kind() -> ProcessorKind:
    """What this machine's processor has, less what ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY
    forbid PyTorch to use."""
    has = torch.cpu.get_capabilities()
    capability = torch.backends.cpu.get_cpu_capability()
    if not has.get("avx2") or capability in ("DEFAULT", "NO AVX"):
        return "other"
    if not has.get("avx512_f") or capability == "AVX2":
        return "avx2"
    hidden = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16
    if hidden or not has.get("avx512_bf16"):
        return "avx512"
    if has.get("amx_bf16"):
        return "amx"
    is_narrow = str(has.get("cpu_name")).startswith("AMD") and not has.get("avx_vnni")
    return "avx512_bf16_narrow" if is_narrow else "avx512_bf16"


def computes_bfloat16(device: torch.device | str) -> bool:
    """Whether the device has hardware for products of bfloat16.

    Args:
        device: `cpu`, or `cuda`, of which this process must see one.
    """
    if torch.device(device).type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return major >= _AMPERE
    return processor_kind() in ("amx", "avx512_bf16", "avx512_bf16_narrow")


def resolved(choice: PrecisionChoice, device: torch.device | str, *, bits: int) -> Precision:
    """The precision that `auto` means on a device: bfloat16 where its hardware computes it and
    images have no more bits than it keeps, else float32.

    Args:
        bits: of a stored pixel. bfloat16 keeps 8, to which depth in 16 bits would be rounded.
    """
    if choice != "auto":
        return choice
    return "bfloat16" if bits <= 8 and computes_bfloat16(device) else "float32"


def require_hardware(precision: PrecisionChoice, device: torch.device | str, *, what: str) -> None:
    """Refuse bfloat16 on a device that would only imitate it, ten times slower.

    Args:
        what: has the precision, for the message: "the training run out/run".

    Raises:
        SlowPrecisionError: the device has no hardware for it.
    """
    if precision == "bfloat16" and not computes_bfloat16(device):
        raise SlowPrecisionError(
            f"{what} computes in bfloat16, for which this machine's {torch.device(device).type} "
            f"({processor_kind()}) has no hardware; go on where there is some, or begin anew with "
            "--precision float32 and another output"
        )
