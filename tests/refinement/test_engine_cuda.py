"""The GPU engine: its batching and arithmetic on any machine, the rest where there is a GPU."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from factory.networks.refiner import Refiner
from factory.refinement.engines.base import EngineUnavailableError, PixelCodec
from factory.refinement.engines.choose import choose_engine
from factory.refinement.engines.cuda import (
    CudaEngine,
    DeviceRefiner,
    suitable_batch,
    through_lanes,
)
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.parity import BFLOAT16, compare, require_parity
from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig

EYE = ImageSpec(height=35, width=55)
SMALL = RefinerConfig(maps=6, blocks=2)


def images(count: int, *shape: int) -> np.ndarray:
    shape = shape or (35, 55)
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def on_cpu(refiner: Refiner, dtype: torch.dtype = torch.float32, batch_size: int = 4) -> CudaEngine:
    return CudaEngine(
        refiner, height=35, width=55, device="cpu", dtype=dtype, batch_size=batch_size
    )


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_in_float32_the_device_path_is_the_reference(padding) -> None:
    refiner = Refiner(SMALL.model_copy(update={"padding": padding}), seed=1)
    parity = compare(on_cpu(refiner), TorchEngine(refiner), images(6))
    assert parity.max_value < 1e-5
    assert parity.max_levels <= 1
    assert parity.share_changed < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, RefinerConfig()], ids=["small", "paper"])
def test_bfloat16_stays_within_its_tolerance(config) -> None:
    refiner = Refiner(config, seed=1)
    parity = require_parity(
        on_cpu(refiner, torch.bfloat16), TorchEngine(refiner), images(4), BFLOAT16
    )
    assert parity.mean_levels > 0.01, "bfloat16 did not round anything"


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 21])
def test_padding_the_last_batch_changes_nothing(count) -> None:
    refiner = Refiner(SMALL, seed=1)
    engine, given = on_cpu(refiner), images(21)
    everything = engine(given)
    part = engine(given[:count])
    assert part.shape == (count, 35, 55)
    assert np.array_equal(part, everything[:count])


def test_colour_images_keep_their_layout() -> None:
    refiner = Refiner(RefinerConfig(maps=8, blocks=1, channels=3), seed=1)
    given = images(5, 12, 10, 3)
    engine = CudaEngine(
        refiner, height=12, width=10, device="cpu", dtype=torch.float32, batch_size=2
    )
    expected = TorchEngine(refiner)(given)
    assert engine(given).shape == given.shape
    assert np.abs(engine(given).astype(int) - expected.astype(int)).max() <= 1


def test_pixels_are_rounded_and_clipped_on_the_device() -> None:
    class Fixed(DeviceRefiner):
        def values(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([-1.0, -0.999, 0.0, 0.0041, 0.9999, 1.0]).reshape(1, 1, 1, 6)

    module = Fixed(Refiner(SMALL), full_scale=255.0, dtype=torch.float32)
    assert module(torch.zeros(1)).flatten().tolist() == [0, 0, 128, 128, 255, 255]


@pytest.mark.slow
def test_the_compiler_sees_one_graph() -> None:
    module = DeviceRefiner(Refiner(SMALL, seed=1), full_scale=255.0, dtype=torch.float32)
    given = torch.from_numpy(images(3)[:, None])
    with torch.inference_mode():
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
        assert torch.equal(compiled(given), module(given))


def test_the_first_batch_is_collected_before_its_lane_is_used_again() -> None:
    log: list[str] = []

    class Recording:
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self, images: np.ndarray) -> None:
            log.append(f"start {self.name} {len(images)}")
            self.result = np.zeros((3, *images.shape[1:]), np.uint8)
            self.result[: len(images)] = 255 - images

        def finish(self) -> np.ndarray:
            log.append(f"finish {self.name}")
            return self.result

    planes = images(10)[:, None]
    refined = through_lanes(planes, (Recording("a"), Recording("b")), 3)
    assert np.array_equal(refined, 255 - planes)
    assert log == [
        *("start a 3", "start b 3"),
        *("finish a", "start a 3"),
        *("finish b", "start b 1"),
        *("finish a", "finish b"),
    ]


def test_the_batch_suits_the_image() -> None:
    assert suitable_batch(35, 55) == 512
    assert suitable_batch(224, 224) == 16
    assert suitable_batch(5000, 5000) == 1


def test_other_images_than_it_was_made_for_are_refused() -> None:
    engine = on_cpu(Refiner(SMALL))
    for wrong in (images(2, 36, 55), images(2).astype(np.uint16), images(2, 35, 55, 3)):
        with pytest.raises(ValueError, match="was made for uint8"):
            engine(wrong)


def test_deep_pixels_are_left_to_pytorch() -> None:
    with pytest.raises(EngineUnavailableError, match="8 bits"):
        CudaEngine(Refiner(SMALL), PixelCodec(4000.0), height=8, width=8, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["auto", "cuda", "torch"])
def test_without_a_gpu_the_message_says_so(name) -> None:
    with pytest.raises(EngineUnavailableError, match="no CUDA device"):
        choose_engine(Refiner(SMALL), EYE, name=name, device="cuda")


# --- on a GPU ---------------------------------------------------------------------------------


@pytest.fixture(params=[None, "default"], ids=["recorded", "compiled"])
def on_gpu(request) -> Iterator[CudaEngine]:
    yield CudaEngine(
        Refiner(seed=1), height=35, width=55, batch_size=64, compile_mode=request.param
    )
    torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 64, 65, 1000])
def test_the_gpu_agrees_with_float32_on_the_cpu(on_gpu, count) -> None:
    reference = TorchEngine(Refiner(seed=1))
    parity = require_parity(on_gpu, reference, images(count), BFLOAT16)
    assert parity.mean_levels > 0.01, "bfloat16 did not round anything"


@pytest.mark.gpu
def test_overlapped_batches_keep_their_order(on_gpu) -> None:
    given = images(1000)
    together = on_gpu(given)
    for start in (0, 64, 512, 960):
        part = on_gpu(given[start : start + 40])
        assert np.abs(part.astype(int) - together[start : start + 40]).max() <= 1


@pytest.mark.gpu
def test_auto_takes_the_gpu_engine() -> None:
    assert choose_engine(Refiner(seed=1), EYE, device="cuda").name == "cuda"
