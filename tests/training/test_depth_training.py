"""Training on depth: its scale, windows of large images, and what must be refused."""

import json
import tomllib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from factory.dataset.dataset import Dataset
from factory.images.scale import full_scale_for
from factory.networks.refiner_files import load_refiner
from factory.refinement.card import refined_card
from factory.refinement.engines.base import PixelCodec
from factory.refinement.engines.choose import make_engine
from factory.refinement.engines.eager import TorchEngine
from factory.store.open import open_store
from factory.training.config import TrainConfig
from factory.training.draws import Draws, random_windows
from factory.training.history import HistoryBuffer
from factory.training.record import RunMismatchError, scaled_for
from factory.training.simgan import SimGAN
from schemas.base import FormatError
from schemas.dataset import DatasetCard, ImageSpec
from schemas.kinds import scale_of_bytes, scale_of_depth
from schemas.refiner import RefinerConfig
from support.depth_stand_ins import FULL_SCALE, blobs, hole_rate, raggedness, seen_by_camera
from support.places import ROOT
from support.trainers import Killed, inputs_of, kill_at, small_config, train_here, trained

SIDE = 40


@pytest.fixture(scope="module")
def depth() -> tuple[np.ndarray, np.ndarray]:
    return blobs(12, 0, SIDE), seen_by_camera(blobs(12, 1, SIDE), 2)


def depth_config(**changes):
    fields = {
        "refiner": RefinerConfig(maps=10, blocks=4, padding="reflect"),
        "refiner_init": "exact_identity",
        "full_scale": FULL_SCALE,
        "empty_below": 12.0,
        "window_px": 16,
        "refiner_pretrain_steps": 0,
    }
    return small_config(**(fields | changes))


# --- windows ----------------------------------------------------------------------------------


def draw(images: np.ndarray, window_px: int | None, rank: int = 0) -> Draws:
    return Draws(
        {"synthetic": images, "real": images},
        full_scale=65535.0,
        seed=3,
        rank=rank,
        device=torch.device("cpu"),
        window_px=window_px,
    )


def test_a_window_is_a_piece_of_its_image_around_something() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((6, 30, 50), np.uint16)
    for number, image in enumerate(images[:5]):  # the sixth is empty
        y, x = rng.integers(0, 30), rng.integers(0, 50)
        image[y, x] = 100 + number
    rows = np.array([0, 1, 2, 3, 4, 5, 1])
    windows = random_windows(images, rows, 8, rng)
    assert windows.shape == (7, 8, 8) and windows.dtype == np.uint16
    assert windows.max(axis=(1, 2)).tolist() == [100, 101, 102, 103, 104, 0, 101]


def test_windows_are_centred_where_there_is_room_and_go_everywhere() -> None:
    numbers = np.arange(1, 1 + 20 * 24, dtype=np.uint16).reshape(1, 20, 24)
    rows = np.zeros(4000, np.int64)
    windows = random_windows(numbers, rows, 6, np.random.default_rng(0))
    tops, lefts = np.divmod(windows[:, 0, 0].astype(int) - 1, 24)
    assert set(tops) == set(range(15)) and set(lefts) == set(range(19))
    for window, top, left in zip(windows[:50], tops, lefts, strict=False):
        assert np.array_equal(window, numbers[0, top : top + 6, left : left + 6])
    lonely = np.where(numbers == 10 * 24 + 12 + 1, numbers, 0)  # in the middle: row 10, column 12
    assert (random_windows(lonely, rows[:5], 6, np.random.default_rng(1))[:, 3, 3] > 0).all()


def test_colour_windows_keep_their_channels() -> None:
    colour = np.random.default_rng(0).integers(1, 255, (2, 3, 9, 11), dtype=np.uint8)
    windows = random_windows(colour, np.array([1]), 9, np.random.default_rng(0))
    assert windows.shape == (1, 3, 9, 9)
    assert any(np.array_equal(windows[0], colour[1, :, :, x : x + 9]) for x in range(3))


def test_windows_come_from_the_counter_alone_and_workers_differ(depth) -> None:
    one, again, other = draw(depth[0], 16), draw(depth[0], 16), draw(depth[0], 16, rank=1)
    first = [one.images("synthetic", 4) for _ in range(3)]
    again.count = 2
    assert torch.equal(again.images("synthetic", 4), first[2])
    assert not torch.equal(other.images("synthetic", 4), first[0])
    uncut = draw(depth[0], None).images("synthetic", 4)
    assert uncut.shape == (4, 1, SIDE, SIDE) and first[0].shape == (4, 1, 16, 16)
    for image, window in zip(uncut, first[0], strict=True):  # of the same images
        patches = image.unfold(1, 16, 1).unfold(2, 16, 1)
        assert bool((patches == window[:, None, None]).all(dim=(3, 4)).any())


@pytest.mark.slow
def test_both_networks_and_the_history_see_windows_only(depth) -> None:
    gan = SimGAN(depth_config(), inputs_of(depth, "hand"), HistoryBuffer(16, (1, 16, 16), 0))
    seen = []
    for network in (gan.refiner, gan.discriminator):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1:]))
    for _ in range(4):
        gan.step()
    assert set(seen) == {(1, 16, 16)}


def test_windows_larger_than_the_images_are_refused(depth, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"window_px = 41 is larger than .* 40 x 40 px"):
        train_here(depth_config(window_px=41), depth, tmp_path)
    assert not any(tmp_path.iterdir())


# --- a run ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_depth_leaves_what_refines_whole_images(depth, tmp_path) -> None:
    run = trained(depth_config(steps=4), depth, tmp_path / "whole", domain="hand")
    _, described = load_refiner(run)
    assert described.full_scale == FULL_SCALE and described.empty_below == 12.0
    assert described.image == ImageSpec(height=SIDE, width=SIDE, bits=16)
    for name in ("torch", "ncnn"):
        refined = make_engine(run, name=name)(depth[0])
        assert refined.dtype == np.uint16 and refined.shape == depth[0].shape
        assert not np.isin(refined, np.arange(1, 12)).any()
    with pytest.raises(Killed):
        train_here(depth_config(steps=4), depth, tmp_path / "cut", on_progress=kill_at(3),
              domain="hand")  # fmt: skip
    resumed = trained(depth_config(steps=4), depth, tmp_path / "cut", domain="hand")
    for name in ("refiner.safetensors", "refiner.json", "overview.png"):
        assert (run / name).read_bytes() == (resumed / name).read_bytes(), name
    with pytest.raises(RunMismatchError, match="window_px: 16 -> 20"):
        train_here(depth_config(steps=4, window_px=20), depth, run, domain="hand")


@pytest.mark.parametrize("psi", ["identity", "derivatives", "features", "patch_nce"])
def test_every_feature_transform_works_on_depth(depth, psi) -> None:
    gan = SimGAN(depth_config(psi=psi), inputs_of(depth, "hand"), HistoryBuffer(16, (1, 16, 16), 0))
    for _ in range(3):
        metrics = gan.step()
    assert np.isfinite(float(metrics["regularisation_loss"]))


def test_both_learning_rates_drop_when_they_should(depth) -> None:
    gan = SimGAN(
        depth_config(lr_drop_after=2), inputs_of(depth, "hand"), HistoryBuffer(16, (1, 16, 16), 0)
    )
    rates = []
    for _ in range(6):
        gan.step()
        lrs = {optimiser.param_groups[0]["lr"] for optimiser in gan._optimisers().values()}
        rates.append(lrs)
    assert rates == [{5e-4}] * 4 + [{1.25e-4}] * 2  # two of D's pre-training, two before the drop


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.long
def test_the_small_configuration_learns_ragged_outlines(one_thread) -> None:
    """In a fifth of its steps: holes near the outline come, depths mostly stay. The outline itself
    follows later (docs/training.md)."""
    path = ROOT / "configs" / "hand-small.toml"
    table = tomllib.loads(path.read_text())["train"] | {"full_scale": FULL_SCALE, "steps": 174}
    config = TrainConfig.model_validate(table)
    renders, real, held_out = blobs(300, 0), seen_by_camera(blobs(300, 1), 2), blobs(24, 5)
    history = HistoryBuffer(config.buffer_size, (1, config.window_px, config.window_px), 0)
    gan = SimGAN(config, inputs_of((renders, real), "hand"), history)
    for _ in range(config.total_clock):
        gan.step()
    refined = TorchEngine(gan.chosen, PixelCodec(FULL_SCALE, config.empty_below))(held_out)
    assert hole_rate(held_out) < 0.005 and raggedness(held_out) < 1.05
    assert hole_rate(real) / 4 < hole_rate(refined) < 3 * hole_rate(real)
    assert raggedness(refined) > raggedness(held_out)
    both = (refined > 0) & (held_out > 0)
    assert np.median(np.abs(refined[both].astype(int) - held_out[both])) < 15, "mm"
    assert both.sum() > 0.9 * (held_out > 0).sum()


# --- the scale --------------------------------------------------------------------------------


def card_of(bits: int = 16, **options) -> DatasetCard:
    return DatasetCard(
        name="hands",
        kind="synthetic",
        domain="hand" if bits == 16 else "eye",
        labelled=True,
        image=ImageSpec(height=SIDE, width=SIDE, bits=bits),
        shard_size=4,
        config={"source": "nyu", "options": options},
        config_digest="0" * 64,
    )


def test_the_scale_is_the_datasets() -> None:
    cube = card_of(cube_mm=300)
    assert scaled_for(small_config(), cube, cube).full_scale == 301.0
    assert scaled_for(small_config(full_scale=301.0), cube, cube).full_scale == 301.0
    eyes = card_of(bits=8)
    assert scaled_for(small_config(), eyes, eyes).full_scale == 255.0
    assert scale_of_bytes(eyes) == 255.0
    with pytest.raises(ValueError, match=r"full_scale = 255, the datasets' is 301"):
        scaled_for(small_config(full_scale=255.0), cube, cube)
    with pytest.raises(ValueError, match="up to 301, those of the real ones to 251"):
        scaled_for(small_config(), cube, card_of(cube_mm=250))


@pytest.mark.parametrize("card", [card_of(), card_of(cube_mm="300"), card_of(bits=8, cube_mm=300)])
def test_depth_without_its_cube_is_refused(card) -> None:
    with pytest.raises(FormatError, match="cube_mm"):
        scale_of_depth(card)


def test_a_scale_that_cuts_depths_off_is_refused(depth, tmp_path) -> None:
    with pytest.raises(ValueError, match="uint16 pixels need a full_scale"):
        train_here(depth_config(full_scale=None), depth, tmp_path)
    with pytest.raises(ValueError, match=r"pixels up to \d+, which full_scale = 100 would cut"):
        train_here(depth_config(full_scale=100.0), depth, tmp_path)
    with pytest.raises(ValueError, match="empties whole images"):
        train_here(depth_config(empty_below=301.0), depth, tmp_path)
    with pytest.raises(ValueError, match="8-bit pixels, which end at 255"):
        full_scale_for(301.0, np.dtype(np.uint8))
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_refiner_of_another_cube_is_refused(depth, tmp_path) -> None:
    run = trained(depth_config(steps=2), depth, tmp_path / "run", domain="hand")
    parent = Dataset(open_store(tmp_path / "set"), card_of(cube_mm=250))
    with pytest.raises(ValueError, match=r"full_scale of 301, the pixels of .* go up to 251"):
        refined_card(parent, run, "refined")
    same = Dataset(open_store(tmp_path / "set"), card_of(cube_mm=300))
    assert refined_card(same, run, "refined").image.bits == 16


@pytest.mark.slow
def test_the_record_of_a_run_names_its_scale(images, tmp_path) -> None:
    run = trained(small_config(steps=2), images, tmp_path)
    assert json.loads((run / "train.json").read_text())["config"]["full_scale"] == 255.0
    assert load_refiner(run)[1].full_scale == 255.0
