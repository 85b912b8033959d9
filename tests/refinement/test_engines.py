"""Engines on a CPU: they agree with PyTorch, also about noise."""

import os
from pathlib import Path

import numpy as np
import pytest

from factory.networks.refiner import Refiner
from factory.refinement.engines.base import (
    EngineUnavailableError,
    PixelCodec,
    noise_of,
)
from factory.refinement.engines.cuda import CudaEngine
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.ncnn import NcnnEngine, ncnn_graph
from factory.refinement.engines.openvino import OpenvinoEngine
from factory.refinement.engines.parity import (
    BFLOAT16,
    SAME_FLOAT32,
    CheckedEngine,
    require_parity,
)
from schemas.refiner import RefinerConfig
from support.engines import SMALL, images
from support.networks import trained_alike


def ncnn(refiner: Refiner, given: np.ndarray, **options) -> CheckedEngine:
    return NcnnEngine(refiner, **options)


def openvino(refiner: Refiner, given: np.ndarray, **options) -> CheckedEngine:
    height, width = given.shape[1:3]
    return OpenvinoEngine(refiner, height=height, width=width, **options)


def pytorch(refiner: Refiner, given: np.ndarray, **options) -> CheckedEngine:
    return TorchEngine(refiner, **options)


ENGINES = pytest.mark.parametrize("make", [ncnn, openvino])


def agree(make, refiner: Refiner, given: np.ndarray, full_scale: float = 255.0) -> None:
    codec = PixelCodec(full_scale)
    engine = make(refiner, given, codec=codec, precision="float32")
    require_parity(engine, TorchEngine(refiner, codec), given, SAME_FLOAT32)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize(
    "config",
    [
        RefinerConfig(),
        RefinerConfig(maps=16, blocks=2),
        RefinerConfig(maps=5, blocks=1),
        RefinerConfig(maps=4, blocks=0),
        RefinerConfig(maps=8, blocks=1, kernel=5, first_kernel=7),
        RefinerConfig(maps=8, blocks=1, kernel=1, first_kernel=3),
        RefinerConfig(maps=8, blocks=1, noise_channels=3),
    ],
    ids=lambda config: (
        f"{config.maps}x{config.blocks}k{config.first_kernel}-{config.kernel}"
        f"z{config.noise_channels}"
    ),
)
@ENGINES
def test_engines_agree_with_pytorch(make, config, padding) -> None:
    agree(make, trained_alike(config.model_copy(update={"padding": padding})), images(4))


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (7, 4), (36, 56), (41, 67), (70, 33)])
@ENGINES
def test_engines_agree_on_any_size_of_image(make, size, padding) -> None:
    config = SMALL.model_copy(update={"padding": padding})
    agree(make, trained_alike(config), images(3, *size))


@ENGINES
def test_engines_agree_on_colour_and_on_deep_pixels(make) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    agree(make, trained_alike(RefinerConfig(maps=8, blocks=1, channels=3)), colour)
    refiner = trained_alike(SMALL)
    depth = np.random.default_rng(0).integers(0, 4001, (3, 20, 24), dtype=np.uint16)
    codec = PixelCodec(4000.0)
    engine = make(refiner, depth, codec=codec, precision="float32")
    reference = TorchEngine(refiner, codec)
    refined = engine(depth)
    assert refined.dtype == np.uint16
    assert refined.max() > 255
    assert np.abs(refined.astype(int) - reference(depth).astype(int)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("config", [RefinerConfig(), RefinerConfig(maps=16, blocks=2)], ids=str)
@pytest.mark.parametrize("make", [ncnn, openvino, pytorch])
def test_bfloat16_is_as_close_to_float32_as_is_said(make, config) -> None:
    """A processor without bfloat16 computes the same with ncnn and PyTorch, if slowly."""
    refiner, given = trained_alike(config), images(8)
    try:
        engine = make(refiner, given, precision="bfloat16")
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    assert engine.name == f"{'torch' if make is pytorch else make.__name__} bfloat16"
    parity = require_parity(engine, TorchEngine(refiner), given, BFLOAT16)
    assert parity.max_value > 1e-4, "it is not float32 by another name"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NcnnEngine, TorchEngine])
def test_batches_change_nothing_but_rounding(kind) -> None:
    engine = kind(trained_alike(SMALL))
    given = images(70)  # more than either takes at a time
    together = engine(given)
    assert together.shape == given.shape
    assert together.dtype == np.uint8
    one_by_one = np.concatenate([engine(given[[index]]) for index in range(len(given))])
    assert np.abs(together.astype(int) - one_by_one.astype(int)).max() <= 1
    assert engine(given[:0]).shape == (0, 35, 55)


def test_ncnn_is_exact_to_the_bit_from_run_to_run() -> None:
    given = images(5)
    first, second = (NcnnEngine(trained_alike(SMALL)) for _ in range(2))
    assert np.array_equal(first.values(given), second.values(given))
    assert np.array_equal(first.values(given)[::-1], first.values(given[::-1]))


def test_images_need_not_be_contiguous_and_stay_as_they_are() -> None:
    given = images(4, 40, 60)
    kept = given.copy()
    view = given[::2, 2:37, 3:58]
    engine = NcnnEngine(trained_alike(SMALL))
    assert np.array_equal(engine(view), engine(np.ascontiguousarray(view)))
    assert np.array_equal(given, kept)


def test_a_graph_is_written_as_ncnn_reads_it() -> None:
    refiner = trained_alike(RefinerConfig(maps=3, blocks=1))
    text, weights = ncnn_graph(refiner)
    lines = text.splitlines()
    kinds = [line.split()[0] for line in lines[2:]]
    assert " ".join(kinds) == (
        "Input Convolution Split Convolution Convolution BinaryOp ReLU Convolution TanH"
    )
    assert lines[1].split()[0] == str(len(kinds))
    num_values = sum(tensor.numel() for tensor in refiner.parameters())
    assert len(weights) == 4 * (num_values + 4)  # a tag before each of the four convolutions


def _process(name: str) -> Path:
    path = Path("/proc/self") / name
    if not path.exists():
        pytest.skip("needs /proc, which Linux has")
    return path


def test_ncnn_starts_no_threads() -> None:
    def threads() -> set[str]:
        return {path.name for path in _process("task").iterdir()}

    engine = NcnnEngine(trained_alike(SMALL))
    before = threads()
    engine(images(8))
    assert threads() <= before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images() -> None:
    def resident_bytes() -> int:
        return int(_process("statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    engine = NcnnEngine(trained_alike(RefinerConfig(maps=4, blocks=1)))
    given = images(1000)
    engine(given)
    before = resident_bytes()
    for _ in range(5):
        engine(given)
    lost_if_one_array_stays_per_image = 5 * len(given) * given[0].size * 4
    assert resident_bytes() - before < lost_if_one_array_stays_per_image / 4


# --- noise ------------------------------------------------------------------------------------


NOISY = RefinerConfig(maps=6, blocks=1, noise_channels=2)


@pytest.mark.parametrize("engine", [TorchEngine, NcnnEngine])
def test_noise_belongs_to_an_image_and_a_seed(engine) -> None:
    """Whatever else is in the batch; a seed gives another refined image of each."""
    refiner, given = trained_alike(NOISY), images(9)
    refined = engine(refiner)(given).astype(int)
    backwards = engine(refiner)(given[::-1])[::-1].astype(int)
    assert np.abs(refined - backwards).max() <= 1
    others = [engine(refiner, PixelCodec(noise_seed=seed))(given).astype(int) for seed in (0, 1, 2)]
    assert np.array_equal(others[0], refined)
    for one, other in ((0, 1), (1, 2)):
        assert (np.abs(others[one] - others[other]).mean(axis=(1, 2)) > 2).all()


def test_noise_is_standard_normal_and_differs_by_image() -> None:
    noise = noise_of(images(2000, 3, 5), 4, seed=7)
    assert noise.shape == (2000, 4) and noise.dtype == np.float32
    assert noise.mean(axis=0) == pytest.approx([0] * 4, abs=0.1)
    assert noise.std(axis=0) == pytest.approx([1] * 4, abs=0.1)
    assert len(np.unique(noise, axis=0)) == 2000


def test_the_cuda_engine_leaves_refiners_with_noise_to_pytorch() -> None:
    with pytest.raises(EngineUnavailableError, match="no noise"):
        CudaEngine(trained_alike(NOISY), height=35, width=55, device="cpu")
