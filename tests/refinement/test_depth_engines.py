"""Depth through networks and engines: to the millimetre, and with its background empty."""

import numpy as np
import pytest
import torch

from factory.images.png import depth_as_grey
from factory.networks.exact_start import KINKS, LARGEST_ERROR, start_as_exact_identity
from factory.networks.refiner import Refiner
from factory.networks.scaling import to_network, to_pixels
from factory.refinement.engines import parity
from factory.refinement.engines.base import EngineUnavailableError, PixelCodec
from factory.refinement.engines.choose import choose_engine
from factory.refinement.engines.cuda import CudaEngine
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.ncnn import NcnnEngine
from factory.refinement.engines.parity import SAME_DEPTH, probe_images, require_parity
from factory.training import strips
from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig
from support.depth_stand_ins import FULL_SCALE, blobs
from support.networks import trained_alike

HAND = ImageSpec(height=224, width=224, bits=16)
SMALL = RefinerConfig(maps=16, blocks=2, padding="reflect")
ENGINES = [TorchEngine, NcnnEngine]
EMPTIED = PixelCodec(FULL_SCALE, empty_below=12.0)


def exact(config: RefinerConfig = SMALL) -> Refiner:
    refiner = Refiner(config)
    start_as_exact_identity(refiner)
    return refiner


# --- the start --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        RefinerConfig(maps=40, blocks=0),
        RefinerConfig(maps=10, blocks=4, kernel=5, noise_channels=2),
        RefinerConfig(maps=64, blocks=2, kernel=7),
        RefinerConfig(maps=64, blocks=2, first_kernel=7, padding="reflect"),
    ],
    ids=lambda config: f"{config.maps}x{config.blocks}",
)
def test_the_exact_start_is_the_identity_everywhere(config) -> None:
    values = torch.linspace(-1, 1, 64 * 625).reshape(1, 1, 200, 200)
    with torch.no_grad():
        error = (exact(config)(values) - values).abs()
    assert LARGEST_ERROR * 0.9 < float(error.max()) < LARGEST_ERROR  # even: no kink is idle
    assert float(error.max()) * FULL_SCALE / 2 < 0.3, "mm"
    assert float(error[0, 0, 0, 0]) < LARGEST_ERROR, "the background"


def test_most_of_the_exact_start_is_random_and_all_of_it_learns() -> None:
    config = RefinerConfig(maps=64, blocks=2)
    refiner, random = exact(config), Refiner(config)
    kept = (refiner.first.weight == random.first.weight).flatten(1).all(dim=1)
    assert int(kept.sum()) == 64 - 2 * len(KINKS)
    refiner(to_network(blobs(2, 0, 48), FULL_SCALE)).sub(1).square().sum().backward()
    assert all(bool(conv.weight.grad.any()) for conv in (refiner.last, refiner.blocks[1].conv2))


@pytest.mark.parametrize("config", [RefinerConfig(maps=8, blocks=1), RefinerConfig(maps=2)])
def test_a_refiner_that_is_too_narrow_for_it_is_refused(config) -> None:
    with pytest.raises(ValueError, match="takes 20 maps"):
        exact(config)


def test_an_exact_start_of_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="one channel, not 3"):
        exact(RefinerConfig(channels=3))


# --- millimetres ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_every_depth_comes_through_to_the_millimetre(engine) -> None:
    """And so does a staircase of 1 mm, and the background."""
    every = np.tile(np.arange(302, dtype=np.uint16), (2, 12, 1))
    every[1] = every[1, :, ::-1]
    refined = engine(exact(), PixelCodec(FULL_SCALE))(every)
    assert refined.dtype == np.uint16
    assert np.array_equal(refined, every)


@pytest.mark.parametrize("engine", ENGINES)
def test_background_stays_exactly_empty(engine) -> None:
    given = blobs(3, seed=1)
    refined = engine(exact(), EMPTIED)(given)
    assert np.array_equal(refined, given)
    assert (refined == 0).mean() > 0.5


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_cube_keeps_its_type_of_pixel(engine) -> None:
    given = np.arange(202, dtype=np.uint16).reshape(1, 1, 202).repeat(9, axis=1)
    refined = engine(exact(), PixelCodec(201.0))(given)
    assert refined.dtype == np.uint16 and np.array_equal(refined, given)


def test_what_is_refined_to_almost_nothing_is_emptied() -> None:
    stored = np.array([[[0, 1, 11, 12, 13, 301]]], np.uint16)
    values = to_network(stored, FULL_SCALE)
    assert to_pixels(values, FULL_SCALE, 12.0).ravel().tolist() == [0, 0, 0, 12, 13, 301]
    assert to_pixels(values, FULL_SCALE).ravel().tolist() == stored.ravel().tolist()
    nearly = values + 2 * 0.6 / FULL_SCALE  # 11.6 rounds to 12, which stays
    assert to_pixels(nearly, FULL_SCALE, 12.0).ravel().tolist() == [0, 0, 12, 13, 14, 301]


def test_the_histories_half_precision_costs_less_than_a_tenth_of_a_millimetre() -> None:
    stored = np.arange(302, dtype=np.uint16).reshape(1, 1, 302)
    fine = torch.linspace(-1, 1, 100_001)
    error_mm = (fine.half().float() - fine).abs() * FULL_SCALE / 2
    assert 0.03 < float(error_mm.max()) < 0.04
    assert np.array_equal(
        to_pixels(to_network(stored, FULL_SCALE).half(), FULL_SCALE)[:, 0], stored
    )


# --- engines ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("refiner", [exact(), trained_alike(SMALL)], ids=["exact", "random"])
def test_engines_agree_on_depth_that_is_emptied(refiner, caplog) -> None:
    caplog.set_level("INFO")
    engine = choose_engine(refiner, HAND, EMPTIED)
    assert engine.name == "ncnn", caplog.text
    given = blobs(2, seed=3)
    reference = TorchEngine(refiner, EMPTIED)
    refined, expected = engine(given), reference(given)
    assert refined.dtype == expected.dtype == np.uint16
    assert parity.compare(engine, reference, given).max_levels <= 1
    assert not np.isin(refined, np.arange(1, 12)).any()


def test_an_engine_that_forgets_to_empty_does_not_pass() -> None:
    engine = NcnnEngine(exact(), PixelCodec(FULL_SCALE))
    reference = TorchEngine(exact(), EMPTIED)
    ramp = np.tile(np.arange(302, dtype=np.uint16), (1, 12, 1))
    with pytest.raises(EngineUnavailableError, match="does not agree"):
        parity.require_parity(engine, reference, ramp, parity.SAME_FLOAT32)


def test_falling_to_either_side_of_the_emptied_is_one_level() -> None:
    """11.5 mm may round to 12, or to 11, which is emptied."""

    class Nudged(TorchEngine):
        name = "nudged"

        def values(self, images):
            return super().values(images) - np.float32(1e-6)

    refiner = exact()
    with torch.no_grad():
        refiner.last.weight.zero_()
        refiner.last.bias.fill_(float(np.arctanh(2 * 11.5 / FULL_SCALE - 1)) + 1e-5)
    codec = PixelCodec(FULL_SCALE, empty_below=11.5)
    engines = [kind(refiner, codec) for kind in (Nudged, TorchEngine)]
    given = blobs(1, 0, 32)
    assert [int(engine(given).max()) for engine in engines] == [12, 12] or parity.compare(
        *engines, given
    ).max_levels == 1


def test_the_cuda_engine_gives_way_on_depth() -> None:
    with pytest.raises(EngineUnavailableError, match="below 12"):
        CudaEngine(Refiner(SMALL), PixelCodec(empty_below=12.0), height=8, width=8, device="cpu")


# --- pictures ---------------------------------------------------------------------------------


def test_depth_is_shown_nearer_as_brighter_on_black() -> None:
    shown = depth_as_grey(np.array([[0, 1, 151, 301]], np.uint16), near=1, far=FULL_SCALE)
    assert shown.tolist() == [[0, 255, 155, 55]]


def test_strips_show_depth_and_empty_it(tmp_path) -> None:
    samples = strips.pick_samples(blobs(3, 0, 48), seed=0)
    refined = strips.refine_samples(exact(), samples, EMPTIED)
    assert refined.dtype == np.uint16 and np.array_equal(refined, samples)
    strip = strips.decode(strips.strip_png(samples, refined, FULL_SCALE), 0)
    above, below = np.split(strip, 2)
    assert np.array_equal(above, below)
    shown = above[1:-1, 1:97][::2, ::2]
    assert np.array_equal(shown, depth_as_grey(samples[0, 0], 1, FULL_SCALE))


@pytest.mark.slow
def test_pixels_that_change_too_much_are_holes_in_every_engine() -> None:
    """Between two surfaces no camera sees one; what it does see keeps its depth to the limit."""
    refiner, codec = trained_alike(SMALL), PixelCodec(FULL_SCALE, 12.0, empty_beyond=8.0)
    given = probe_images(HAND, FULL_SCALE)
    free = TorchEngine(refiner, PixelCodec(FULL_SCALE, 12.0))(given)
    refined = TorchEngine(refiner, codec)(given)
    far = np.abs(free.astype(int) - given.astype(int)) > 8
    assert 0.1 < far.mean() < 1
    assert np.array_equal(refined, np.where(far, 0, free))
    assert refined.dtype == given.dtype
    require_parity(NcnnEngine(refiner, codec), TorchEngine(refiner, codec), given, SAME_DEPTH)
    with pytest.raises(EngineUnavailableError, match="changed beyond 8"):
        CudaEngine(refiner, PixelCodec(empty_beyond=8.0), height=8, width=8, device="cpu")
