"""What a processor computes in hardware, and what `auto` means on it."""

import os
import subprocess
import sys

import pytest
import torch

from factory.networks.precision import (
    SlowPrecisionError,
    computes_bfloat16,
    processor_kind,
    require_hardware,
    resolved,
)
from support.places import ROOT

ZEN_4 = {"avx2": True, "avx512_f": True, "avx512_bf16": True, "cpu_name": "AMD EPYC 9654"}
ZEN_5 = {**ZEN_4, "avx_vnni": True}
COOPER_LAKE = {**ZEN_4, "cpu_name": "Intel(R) Xeon(R) Platinum 8380H"}
SAPPHIRE_RAPIDS = {**COOPER_LAKE, "avx_vnni": True, "amx_bf16": True}
SKYLAKE = {"avx2": True, "avx512_f": True, "cpu_name": "Intel(R) Xeon(R) Platinum 8180"}


@pytest.fixture
def processor(monkeypatch):
    def pretend(has: dict[str, object], capability: str = "AVX512", isa: str = "") -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)

    return pretend


@pytest.mark.parametrize(
    ("has", "kind"),
    [
        (SAPPHIRE_RAPIDS, "amx"),
        (COOPER_LAKE, "avx512_bf16"),
        (ZEN_5, "avx512_bf16"),
        (ZEN_4, "avx512_bf16_narrow"),
        (SKYLAKE, "avx512"),
        ({"avx2": True}, "avx2"),
        ({}, "other"),
    ],
)
def test_a_processor_is_known_by_what_it_has(processor, has, kind) -> None:
    processor(has)
    assert processor_kind() == kind
    assert computes_bfloat16("cpu") == (kind in ("amx", "avx512_bf16", "avx512_bf16_narrow"))


@pytest.mark.parametrize(
    ("capability", "isa", "kind"),
    [
        ("AVX512", "AVX512_CORE", "avx512"),
        ("AVX512", "AVX2", "avx512"),
        ("AVX512", "AVX512_CORE_AMX", "amx"),
        ("AVX2", "", "avx2"),
        ("DEFAULT", "", "other"),
    ],
)
def test_what_pytorch_must_not_use_is_not_there(processor, capability, isa, kind) -> None:
    processor(SAPPHIRE_RAPIDS, capability, isa)
    assert processor_kind() == kind


def test_auto_is_what_the_hardware_computes_and_a_name_is_that_name(processor) -> None:
    processor(ZEN_5)
    assert resolved("auto", "cpu", bits=8) == "bfloat16"
    assert resolved("auto", "cpu", bits=16) == "float32"
    assert resolved("float32", "cpu", bits=8) == "float32"
    require_hardware("bfloat16", "cpu", what="this run")
    processor(SKYLAKE)
    assert resolved("auto", "cpu", bits=8) == "float32"
    with pytest.raises(SlowPrecisionError, match=r"this run computes in bfloat16.*cpu.*avx512"):
        require_hardware("bfloat16", "cpu", what="this run")
    require_hardware("float32", "cpu", what="this run")


@pytest.mark.slow
def test_this_processor_without_its_bfloat16_computes_in_float32() -> None:
    code = "from factory.networks.precision import resolved as r; print(r('auto', 'cpu', bits=8))"
    without = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=without, cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout == b"float32\n"
