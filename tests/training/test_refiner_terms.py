"""What later work adds to the refiner's loss: each does what it is for, and nothing when off."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from factory.domains.eye.domain import EYE_DOMAIN
from factory.domains.eye.landmark_consistency import LandmarkConsistency
from factory.domains.eye.networks.landmarks import LandmarkNetwork
from factory.networks.estimators import save_estimator
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner
from factory.training.losses import diversity
from factory.training.patch_nce import PatchNCE
from factory.training.record import RunMismatchError
from factory.training.sequences import moved, sequence_loss, small_motions
from schemas.dataset import ImageSpec
from schemas.eye.estimators import LandmarkConfig, LandmarkDescription
from schemas.refiner import RefinerConfig
from support.trainers import Killed, kill_at, make_gan, small_config, trained

NOISY = RefinerConfig(maps=4, blocks=1, noise_channels=2)


def blobs(n: int, height: int = 24, width: int = 32, seed: int = 0) -> torch.Tensor:
    """(n, 1, height, width) smooth images in [-1, 1]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(-1, 1, (n, 1, 4, 5)).astype(np.float32))
    return functional.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)


# PatchNCE


def test_patches_in_their_place_are_told_and_others_are_not():
    refiner = Refiner(RefinerConfig(maps=16, blocks=1), seed=1)
    nce = PatchNCE(refiner, seed=0)
    images = blobs(2)
    layers = refiner.layers(images)
    in_place, elsewhere = (
        float(nce(refiner.layers(query), layers, np.random.default_rng(0)).detach())
        for query in (images, images.roll(8, dims=3))
    )
    assert in_place < elsewhere / 3
    assert (
        float(nce(refiner.layers(0.9 * images), layers, np.random.default_rng(0)).detach())
        < elsewhere
    )
    blank = refiner.layers(torch.zeros_like(images))
    blind = nce(blank, blank, np.random.default_rng(0))
    assert float(blind.detach()) == pytest.approx(math.log(64), abs=0.2)


def test_the_heads_learn_with_the_refiner_and_are_part_of_the_state(images):
    gan = make_gan(small_config(psi="patch_nce", lambda_reg=1.0), images)
    before = {name: tensor.clone() for name, tensor in gan.tensors().items()}
    heads = [name for name in before if name.startswith("patch_nce.")]
    assert len(heads) == 8
    for _ in range(3):
        gan.refiner_step()
    after = {name: tensor.clone() for name, tensor in gan.tensors().items()}
    assert all(not torch.equal(before[name], after[name]) for name in heads)
    other = make_gan(small_config(psi="patch_nce", lambda_reg=1.0), images)
    other.load(after, gan.counters())
    gan.refiner_step()
    other.refiner_step()
    assert all(torch.equal(gan.tensors()[name], tensor) for name, tensor in other.tensors().items())


# Sequences


def test_a_motion_moves_what_it_says():
    """By one speed for all frames: the shift of frame 2 is twice that of frame 1."""
    motions = small_motions(np.random.default_rng(0), 5, 3, 24, 32)
    assert motions.shape == (2, 5, 2, 3)
    assert torch.allclose(motions[1, :, :, 2], 2 * motions[0, :, :, 2])
    one_px = torch.tensor([[[1.0, 0.0, 2 / 32], [0.0, 1.0, 0.0]]])
    image = blobs(1)
    frame, known = moved(image, one_px)
    assert torch.allclose(frame[..., :-1], image[..., 1:], atol=1e-5)
    assert known[..., :-1].all() and not known[..., -1].any()


def test_a_turn_keeps_its_angles_on_images_that_are_not_square():
    motion = small_motions(np.random.default_rng(1), 1, 2, 24, 32)[0, 0].double()
    height, width = 24, 32
    # In pixels, from the centre: x' = (a x w/2 ... ) must be a turn and a zoom, no shear.
    to_px = torch.diag(torch.tensor([width / 2, height / 2]).double())
    in_px = to_px @ motion[:, :2] @ to_px.inverse()
    product = in_px @ in_px.T
    assert torch.allclose(product, product[0, 0] * torch.eye(2).double(), atol=1e-6)


def test_what_follows_the_motion_costs_nothing_and_what_flickers_does():
    images, motions = blobs(4), small_motions(np.random.default_rng(0), 4, 3, 24, 32)

    def darker(frames: torch.Tensor) -> torch.Tensor:
        return 0.5 * frames - 0.2

    def flickers(frames: torch.Tensor) -> torch.Tensor:
        return frames + 0.3 * torch.sin(40 * frames.mean())

    faithful = float(sequence_loss(darker, images, darker(images), motions))
    assert faithful < 1e-3
    assert float(sequence_loss(flickers, images, flickers(images), motions)) > 30 * faithful


# Noise


def test_noise_makes_several_images_of_one_and_none_is_its_mean():
    refiner = Refiner(NOISY, seed=3)
    image = blobs(1).expand(3, -1, -1, -1)
    noise = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-2.0, 0.5]])
    made = refiner(image, noise)
    assert torch.allclose(made[:1], refiner(image[:1]), atol=1e-6)
    assert not torch.allclose(made[0], made[1]) and not torch.allclose(made[1], made[2])


def test_a_refiner_with_noise_may_start_as_the_identity():
    refiner = Refiner(NOISY)
    refiner.initialise_as_identity()
    image = blobs(2)
    expected = torch.tanh(1.2 * image)
    assert torch.allclose(refiner(image, torch.randn(2, 2)), expected, atol=1e-6)


def test_diversity_is_change_over_noise_up_to_a_limit():
    image = torch.zeros(2, 1, 3, 3)
    other = image + torch.tensor([0.1, 3.0])[:, None, None, None]
    apart = torch.tensor([[0.5, -0.5], [1.0, 1.0]])
    assert float(diversity(image, other, apart, limit=1.0)) == pytest.approx((0.2 + 1.0) / 2)


@pytest.mark.slow
def test_rewarded_diversity_grows(images):
    def spread(weight: float) -> float:
        config = small_config(
            refiner=NOISY,
            diversity_weight=weight,
            diversity_limit=1.0,
            batch_size=8,
            refiner_lr=3e-3,
        )
        gan = make_gan(config, images)
        for _ in range(40):
            metrics = gan.refiner_step()
        assert ("diversity" in metrics) == (weight > 0)
        given, noise = gan.draws.images("synthetic", 64), gan.draws.normal(2, 64, 2)
        with torch.no_grad():
            return float((gan.refiner(given, noise[0]) - gan.refiner(given, noise[1])).abs().mean())

    assert spread(5.0) > 2 * spread(0.0)


# Labels


@pytest.fixture(scope="module")
def landmarks() -> LandmarkNetwork:
    """Untrained, but with heatmaps that have peaks."""
    network = LandmarkNetwork(LandmarkConfig(maps=8), seed=1)
    with torch.no_grad():
        network.layers[-1].weight *= 200
    return network


def described(shape=(12, 14)) -> LandmarkDescription:
    image = ImageSpec(height=shape[0], width=shape[1], channels=1, bits=8)
    return LandmarkDescription(
        domain="eye",
        image=image,
        architecture=LandmarkConfig(maps=8),
        sha256="0" * 64,
        error_px={},
        train={},
    )


class Centroid(torch.nn.Module):
    """Finds one landmark: the middle of the light."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        light = (images + 1.001) * self.scale
        rows, columns = (torch.arange(n, dtype=torch.float32) for n in images.shape[-2:])
        total = light.sum(dim=(1, 2, 3))
        x = (light.sum(dim=(1, 2)) * columns).sum(dim=1) / total
        y = (light.sum(dim=(1, 3)) * rows).sum(dim=1) / total
        return torch.stack([x, y], dim=-1)[:, None]


@pytest.mark.slow
def test_the_network_holds_landmarks_and_is_frozen(images):
    def shift_px(weight: float) -> float:
        config = small_config(
            lambda_reg=0.0, label_weight=weight, label_network="there", refiner_lr=1e-2
        )
        consistency = LandmarkConsistency(Centroid(), "0" * 64)
        gan = make_gan(config, images, consistency=consistency)
        for _ in range(40):
            metrics = gan.refiner_step()
        assert consistency.landmarks.scale == 1.0
        return float(metrics["label_shift_px"])

    assert shift_px(100.0) < shift_px(1e-9) / 2


@pytest.mark.slow
def test_a_run_names_its_label_network_by_content(images, tmp_path, landmarks):
    save_estimator(tmp_path / "net", landmarks, described())
    save_estimator(tmp_path / "other", LandmarkNetwork(LandmarkConfig(maps=8), seed=2), described())

    def train_with(name: str) -> Path:
        location = str(tmp_path / name)
        consistency = EYE_DOMAIN.label_consistency(location, described().image)
        config = small_config(label_weight=1.0, label_network=location)
        return trained(config, images, tmp_path / "run", consistency=consistency)

    record = json.loads((train_with("net") / "train.json").read_text())
    sha256 = hashlib.sha256((tmp_path / "net" / "landmarks.safetensors").read_bytes()).hexdigest()
    assert record["label_network"] == sha256
    (tmp_path / "net").rename(tmp_path / "moved")
    train_with("moved")  # the same network: nothing to do
    with pytest.raises(RunMismatchError, match="label_network"):
        train_with("other")


def test_label_networks_that_cannot_be_used_are_refused(images, tmp_path, landmarks):
    location, image = str(tmp_path / "net"), described().image
    with pytest.raises(FileNotFoundError, match=r"jobs/estimator\.py landmarks"):
        EYE_DOMAIN.label_consistency(location, image)
    save_estimator(tmp_path / "net", landmarks, described((35, 55)))
    with pytest.raises(ValueError, match="the landmark network is for"):
        EYE_DOMAIN.label_consistency(location, image)
    config = small_config(label_weight=1.0, label_network=location)
    with pytest.raises(ValueError, match="without a network that holds labels"):
        trained(config, images, tmp_path / "run")


# All of them


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"psi": "patch_nce", "lambda_reg": 1.0, "ema_decay": 0.9},
        {"refiner": NOISY, "diversity_weight": 1.0, "sequence_weight": 1.0, "shift_weight": 1.0},
    ],
)
def test_a_killed_run_with_them_resumed_equals_an_undisturbed_one(images, tmp_path, changes):
    config = small_config(**changes)
    expected = load_refiner(trained(config, images, tmp_path / "whole"))[1].sha256
    for clock in (7, 14):
        with pytest.raises(Killed):
            trained(config, images, tmp_path / "killed", on_progress=kill_at(clock))
    assert load_refiner(trained(config, images, tmp_path / "killed"))[1].sha256 == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_weight": 1.0}, "needs a label_network"),
        ({"diversity_weight": 1.0}, r"needs refiner\.noise_channels"),
        ({"sequence_frames": 1}, "sequence_frames"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config(**changes)
