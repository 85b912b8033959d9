"""The choice of an engine on a CPU: it has to agree with PyTorch, and gives way to it elsewhere."""

import copy
import logging
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from factory.networks import precision as precision_module
from factory.networks.precision import SlowPrecisionError, processor_kind
from factory.networks.refiner import Refiner
from factory.refinement.engines import choose as choose_module
from factory.refinement.engines import ncnn as ncnn_engine
from factory.refinement.engines import parity as parity_module
from factory.refinement.engines.base import (
    EngineUnavailableError,
    from_planes,
    to_planes,
)
from factory.refinement.engines.choose import choose_engine, make_engine
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.ncnn import NcnnEngine, ncnn_graph
from factory.refinement.engines.parity import (
    SAME_FLOAT32,
    Parity,
    compare,
    probe_images,
    require_parity,
)
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig
from support.engines import EYE, SMALL, images
from support.networks import trained_alike
from support.places import ROOT


@pytest.mark.parametrize(("kernel", "name"), [(1, "ncnn"), (3, "ncnn"), (5, "torch")])
def test_auto_takes_ncnn_where_winograd_applies(kernel, name, caplog) -> None:
    caplog.set_level(logging.INFO, logger="factory.refinement.engines.choose")
    engine = choose_engine(trained_alike(SMALL.model_copy(update={"kernel": kernel})), EYE)
    assert engine.name == name
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    said = "refining with ncnn; against PyTorch" if name == "ncnn" else "refining without ncnn"
    assert said in record.message


def test_the_named_engine_is_taken_and_agrees(refiner) -> None:
    given = images(20)
    engines = {name: make_engine(refiner, name=name, batch_size=7) for name in ("torch", "ncnn")}
    for name, engine in engines.items():
        assert engine.name == name
    refined = {name: engine(given).astype(int) for name, engine in engines.items()}
    assert np.abs(refined["torch"] - refined["ncnn"]).max() <= 1
    assert np.abs(refined["torch"] - given).mean() > 5, "this refiner does change images"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "tensorrt"}, "expected auto, torch, ncnn or openvino"),
        ({"name": "cuda"}, "engine 'cuda' on cpu"),
        ({"name": "ncnn", "device": "cuda"}, "engine 'ncnn' on cuda"),
        ({"device": "tpu"}, "expected cpu or cuda"),
    ],
)
def test_an_engine_that_does_not_exist_is_refused(refiner, arguments, said) -> None:
    with pytest.raises(ValueError, match=said):
        make_engine(refiner, **arguments)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ("amx", "openvino bfloat16"),
        ("avx512_bf16", "openvino bfloat16"),
        ("avx512_bf16_narrow", "ncnn bfloat16"),
    ],
)
def test_the_engine_for_bfloat16_is_that_of_the_processor(processor, expected, monkeypatch) -> None:
    if processor_kind() not in (processor, "avx512_bf16_narrow", "avx512_bf16", "amx"):
        pytest.skip("OpenVINO has no bfloat16 on this processor")
    monkeypatch.setattr(precision_module, "processor_kind", lambda: processor)
    monkeypatch.setattr(choose_module, "processor_kind", lambda: processor)
    assert choose_engine(trained_alike(SMALL), EYE, precision="bfloat16").name == expected


def test_what_the_driver_chose_goes_before_what_this_machine_would(monkeypatch) -> None:
    monkeypatch.setattr(choose_module, "require_hardware", lambda *_, **__: None)
    monkeypatch.setattr(choose_module, "processor_kind", lambda: "avx512_bf16")
    engine = choose_engine(trained_alike(SMALL), EYE, precision="bfloat16", preferred="ncnn")
    assert engine.name == "ncnn bfloat16"


def test_bfloat16_is_refused_for_depth_and_where_nothing_computes_it(monkeypatch) -> None:
    refiner, depth = trained_alike(SMALL), EYE.model_copy(update={"bits": 16})
    monkeypatch.setattr(precision_module, "processor_kind", lambda: "avx2")
    with pytest.raises(SlowPrecisionError, match=r"bfloat16.*\(avx2\).*--precision float32"):
        choose_engine(refiner, EYE, precision="bfloat16")
    monkeypatch.setattr(precision_module, "processor_kind", lambda: "amx")
    monkeypatch.setattr(choose_module, "processor_kind", lambda: "amx")
    with pytest.raises(EngineUnavailableError, match="these images have 16"):
        choose_engine(refiner, depth, precision="bfloat16")


@pytest.mark.slow
def test_nothing_is_reported_to_the_makers_of_openvino() -> None:
    """Its import would: the package for that is installed with it."""
    code = (
        "import sys, factory.refinement.engines.openvino as engine\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
        "assert engine.openvino.tools.ovc.telemetry_utils.tm.__name__.endswith('telemetry_stub')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def without_ncnn(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "factory.refinement.engines.ncnn", raising=False)
    monkeypatch.delattr("factory.refinement.engines.ncnn", raising=False)
    monkeypatch.setitem(sys.modules, "ncnn", None)


def with_graph(change: Callable[[Refiner], tuple[str, bytes]]) -> Callable[..., None]:
    return lambda monkeypatch: monkeypatch.setattr(ncnn_engine, "ncnn_graph", change)


def of_other_weights(refiner: Refiner) -> tuple[str, bytes]:
    return ncnn_graph(trained_alike(refiner.config, seed=2))


def damaged_graph(refiner: Refiner) -> tuple[str, bytes]:
    graph, weights = ncnn_graph(refiner)
    return graph.replace("BinaryOp", "BinaryOops"), weights


def cut_weights(refiner: Refiner) -> tuple[str, bytes]:
    graph, weights = ncnn_graph(refiner)
    return graph, weights[: len(weights) // 2]


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (without_ncnn, "ncnn cannot be imported"),
        (with_graph(of_other_weights), "ncnn does not agree with torch"),
        (with_graph(damaged_graph), "does not load the network"),
        (with_graph(cut_weights), "does not load the network"),
    ],
)
def test_auto_falls_back_to_pytorch_and_says_why(breakage, said, caplog, monkeypatch) -> None:
    breakage(monkeypatch)
    refiner = trained_alike(SMALL)
    engine = choose_engine(refiner, EYE)
    assert engine.name == "torch"
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "refining with a slower engine than ncnn" in record.message
    assert said in record.message
    with pytest.raises(EngineUnavailableError, match=said):
        choose_engine(refiner, EYE, name="ncnn")


def test_half_precision_weights_do_not_pass_for_float32() -> None:
    refiner = trained_alike(RefinerConfig(maps=16, blocks=2))
    rounded = copy.deepcopy(refiner).half().float()
    with pytest.raises(EngineUnavailableError, match="does not agree"):
        require_parity(NcnnEngine(rounded), TorchEngine(refiner), probe_images(EYE), SAME_FLOAT32)


def test_cut_off_instead_of_rounded_pixels_do_not_pass() -> None:
    class Truncating(TorchEngine):
        name = "truncating"

        def __call__(self, images):
            return ((self.values(images)[:, 0] + 1) * 127.5).astype(np.uint8)

    refiner = trained_alike(SMALL)
    with pytest.raises(EngineUnavailableError, match="does not agree"):
        require_parity(Truncating(refiner), TorchEngine(refiner), probe_images(EYE), SAME_FLOAT32)


def test_pixels_on_the_edge_between_two_levels_may_fall_either_way() -> None:
    class Nudged(TorchEngine):
        name = "nudged"

        def values(self, images):
            return super().values(images) - np.float32(1e-6)

    refiner = trained_alike(SMALL)
    with torch.no_grad():
        refiner.last.weight.zero_()
        refiner.last.bias.zero_()  # tanh(0) lies half way between 127 and 128
    parity = require_parity(Nudged(refiner), TorchEngine(refiner), probe_images(EYE), SAME_FLOAT32)
    assert parity.max_levels == 1
    assert parity.share_changed == 0


@pytest.mark.parametrize("broken", ["engine", "reference", "both"])
def test_values_that_are_not_finite_agree_with_nothing(broken) -> None:
    class Overflowing(TorchEngine):
        name = "overflowing"

        def values(self, images):
            return np.full_like(super().values(images), np.nan)

    refiner = trained_alike(SMALL)
    engine, reference = (
        (Overflowing if broken in (part, "both") else TorchEngine)(refiner)
        for part in ("engine", "reference")
    )
    with pytest.raises(EngineUnavailableError, match="overflowing gives values that are not"):
        require_parity(engine, reference, images(2), SAME_FLOAT32)


def test_a_network_that_overflows_is_no_engine() -> None:
    """ncnn's tanh makes finite numbers of NaN on some processors, PyTorch's on none."""
    refiner = trained_alike(SMALL)
    with torch.no_grad():
        refiner.last.weight.fill_(float("nan"))
    with pytest.raises(EngineUnavailableError, match="not finite"):
        compare(NcnnEngine(refiner), TorchEngine(refiner), images(2))


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_a_network_that_overflows_refines_to_no_pixels(name) -> None:
    """PyTorch has nothing to agree with, and NaN would be stored as black."""
    refiner = trained_alike(SMALL)
    with torch.no_grad():  # finite weights, and activations beyond float32
        refiner.first.weight.mul_(1e30)
        refiner.blocks[0].conv1.weight.mul_(1e30)
    engine = choose_engine(refiner, EYE, name=name)
    with pytest.raises(ValueError, match="values that are not finite"):
        engine(images(2))


def test_what_could_not_be_measured_is_no_agreement(monkeypatch) -> None:
    unmeasured = Parity(max_value=np.nan, max_levels=0, mean_levels=0.0, share_changed=0.0)
    monkeypatch.setattr(parity_module, "compare", lambda *_: unmeasured)
    engine = TorchEngine(trained_alike(SMALL))
    with pytest.raises(EngineUnavailableError, match="does not agree"):
        require_parity(engine, engine, images(2), SAME_FLOAT32)


def test_padding_that_ncnn_lacks_is_refused() -> None:
    refiner = trained_alike(SMALL)
    refiner.first.padding_mode = "circular"
    with pytest.raises(EngineUnavailableError, match="circular"):
        NcnnEngine(refiner)


def test_a_damaged_checkpoint_reaches_no_engine(refiner) -> None:
    path = refiner / "refiner.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="sha256"):
        make_engine(refiner)


def test_a_difference_is_measured_in_values_and_in_levels() -> None:
    class Shifted(TorchEngine):
        name = "shifted"

        def values(self, images):
            return super().values(images) + np.float32(0.02)

    refiner = trained_alike(SMALL)
    parity = compare(Shifted(refiner), TorchEngine(refiner), images(4))
    assert parity.max_value == pytest.approx(0.02, abs=1e-6)
    assert parity.max_levels == 3  # 0.02 * 127.5 = 2.55
    assert parity.mean_levels == pytest.approx(2.55, abs=0.05)
    assert parity.share_changed > 0.99


@pytest.mark.parametrize(
    ("image", "full_scale"),
    [
        (EYE, 255.0),
        (ImageSpec(height=224, width=224, bits=16), 301.0),
        (ImageSpec(height=9, width=8, channels=3), 255.0),
    ],
    ids=str,
)
def test_probes_have_the_shape_and_the_range_of_what_is_refined(image, full_scale) -> None:
    probes = probe_images(image, full_scale)
    assert 4 <= len(probes) <= 8
    assert probes.shape[1:3] == (image.height, image.width)
    assert probes.dtype == (np.uint8 if image.bits == 8 else np.uint16)
    assert 0.9 * full_scale < np.ptp(probes) <= full_scale
    assert image.bits == 8 or (probes[3] == 0).mean() >= 0.5, "half of depth is empty"
    assert np.array_equal(probes, probe_images(image, full_scale))


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 5, 7, 3), (0, 5, 7)])
def test_planes_there_and_back(shape) -> None:
    given = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    planes = to_planes(given)
    assert planes.shape == (shape[0], shape[3] if len(shape) == 4 else 1, 5, 7)
    assert np.array_equal(from_planes(planes, given), given)


def test_one_image_without_its_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="images must be"):
        TorchEngine(trained_alike(SMALL))(images(1)[0])
