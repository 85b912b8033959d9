import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from factory.networks.discriminator import Discriminator
from factory.networks.refiner import Refiner
from factory.networks.scaling import to_network
from factory.refinement.engines.base import PixelCodec
from factory.training.losses import (
    channel_mean,
    common_shift,
    derivatives,
    discriminator_loss,
    features,
    gradient_penalty,
    identity,
    kept_pixels,
    realism_loss,
    self_regularisation,
)
from schemas.refiner import RefinerConfig

PSI = {
    "identity": identity,
    "derivatives": derivatives,
    "channel_mean": channel_mean,
    "features": features,
}


@pytest.fixture(autouse=True)
def _same_images_every_time():
    torch.manual_seed(0)


def random_logits(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 9, 14, generator=torch.Generator().manual_seed(seed)) * 3


def slow_cross_entropy(logits: torch.Tensor, target: int) -> float:
    """One patch at a time, by the definition of softmax."""
    values = []
    for image in logits:
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                pair = [math.exp(float(value)) for value in image[:, row, column]]
                values.append(-math.log(pair[target] / sum(pair)))
    return sum(values) / len(values)


def test_cross_entropies_are_equations_2_and_3_patch_by_patch():
    """Channels pair per patch: a `view` without permute would pair the wrong numbers."""
    refined, real = random_logits(3), random_logits(2, seed=1)
    assert float(realism_loss(refined)) == pytest.approx(slow_cross_entropy(refined, 0), rel=1e-5)
    assert float(discriminator_loss(refined, real)) == pytest.approx(
        0.5 * slow_cross_entropy(refined, 1) + 0.5 * slow_cross_entropy(real, 0), rel=1e-5
    )
    target = torch.zeros(3, 9, 14, dtype=torch.long)
    assert torch.allclose(realism_loss(refined), functional.cross_entropy(refined, target))


def test_chance_is_ln_2_and_certainty_is_finite():
    chance = torch.zeros(2, 2, 9, 14)
    assert float(realism_loss(chance)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(chance, chance)) == pytest.approx(math.log(2))
    sure = torch.zeros(1, 2, 1, 1)
    sure[:, 1] = 1e4  # refined, beyond doubt
    sure.requires_grad_()
    loss = realism_loss(sure)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e4)
    assert sure.grad is not None and sure.grad.flatten().tolist() == [-1.0, 1.0]


def test_directions():
    """D is rewarded for calling refined refined; R for having it called real."""
    refined_seen = torch.zeros(1, 2, 9, 14)
    refined_seen[:, 1] = 5
    real_seen = -refined_seen
    assert discriminator_loss(refined_seen, real_seen) < 0.1
    assert discriminator_loss(real_seen, refined_seen) > 1
    assert realism_loss(refined_seen) > 1 > 0.1 > realism_loss(real_seen)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="logits"):
        realism_loss(torch.zeros(2, 9, 14, 2))
    with pytest.raises(ValueError, match="refined"):
        self_regularisation(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


@pytest.mark.parametrize("psi", PSI)
def test_regularisation_is_the_mean_distance_of_features(psi):
    a, b = torch.rand(2, 3, 3, 20, 24) * 2 - 1
    expected = (PSI[psi](a) - PSI[psi](b)).abs().mean()
    assert torch.allclose(self_regularisation(a, b, psi), expected, atol=1e-6)
    assert float(self_regularisation(a, a, psi)) == 0


def test_what_each_psi_is_blind_to():
    images = torch.rand(2, 3, 20, 24)
    brighter = images + 0.3
    assert float(self_regularisation(brighter, images, "identity")) == pytest.approx(0.3, rel=1e-4)
    assert float(self_regularisation(brighter, images, "derivatives")) == pytest.approx(0, abs=1e-6)
    assert float(self_regularisation(brighter, images, "features")) == pytest.approx(0, abs=1e-6)
    recoloured = images + torch.tensor([0.2, -0.1, -0.1])[:, None, None]
    assert float(self_regularisation(recoloured, images, "channel_mean")) == pytest.approx(
        0, abs=1e-6
    )
    shifted = images.roll(1, dims=3)
    for psi in PSI:
        assert float(self_regularisation(shifted, images, psi)) > 0.01


def discs(shift_px: float = 0.0, radius_px: float = 6.0) -> torch.Tensor:
    """(1, 1, 32, 32): a disc with an edge of 2 px, moved along x."""
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    distance = ((xs - 15.5 - shift_px) ** 2 + (ys - 15.5) ** 2).sqrt()
    return (2 * torch.sigmoid(2 * (radius_px - distance)) - 1)[None, None]


def test_a_shift_that_all_share_is_found_and_what_cancels_is_none():
    both = discs().repeat(2, 1, 1, 1)
    for shift_px in (0.25, 0.5, -0.5, 1.0, 2.0):
        moved = common_shift(discs(shift_px).repeat(2, 1, 1, 1), both)
        assert float(moved) == pytest.approx(shift_px**2, rel=0.1)
    apart = torch.cat([discs(0.5), discs(-0.5)])
    assert float(common_shift(apart, both)) == pytest.approx(0, abs=1e-4)
    assert float(common_shift(discs(radius_px=7), discs())) == pytest.approx(0, abs=1e-4)
    assert float(common_shift(both, both)) == 0
    blank = torch.zeros(2, 1, 32, 32)
    assert float(common_shift(blank + 0.5, blank)) == 0


DEPTH = {"full_scale": 301.0, "empty_below": 12.0, "empty_beyond": 6.0}


def test_kept_pixels_are_those_that_are_not_empty_in_the_stored_image():
    parents = np.random.default_rng(0).integers(0, 302, (2, 1, 24, 24)).astype(np.uint16)
    parents[0] //= 12  # many near the front of the cube
    changes = np.random.default_rng(1).integers(-9, 10, parents.shape)
    synthetic, refined = (
        to_network(values, 301.0)
        for values in (parents, (parents + changes).clip(0, 301).astype(np.uint16))
    )
    stored = PixelCodec(301.0, 12.0, 6.0).decode_planes(refined.numpy(), parents)
    kept = kept_pixels(refined, synthetic, **DEPTH).numpy()
    assert np.array_equal(kept, stored > 0) and 0.2 < kept.mean() < 0.8


def test_descending_the_common_shift_fills_the_side_that_was_eaten():
    """The upper edge of a square has lost a row, so the square has moved by half a pixel."""
    render = torch.full((1, 1, 40, 40), -1.0)
    render[..., 12:28, 12:28] = 0.0
    refined = render.clone()
    refined[..., 12, 12:28] = -0.045  # 7 mm nearer, which is emptied
    refined.requires_grad_()
    moved = common_shift(
        kept_pixels(refined, render, **DEPTH), kept_pixels(render, render, **DEPTH)
    )
    assert float(moved.detach()) ** 0.5 == pytest.approx(0.5, rel=0.05)
    (gradient,) = torch.autograd.grad(moved, refined)
    assert bool((gradient[..., 12, 12:28] < 0).all())


def test_descending_the_common_shift_moves_images_back():
    render = discs()
    refined = discs(0.5).requires_grad_()
    before = common_shift(refined, render)
    (gradient,) = torch.autograd.grad(before, refined)
    after = common_shift((refined - gradient / gradient.square().sum() * before).detach(), render)
    assert 0 < float(after) < float(before.detach())


@pytest.mark.parametrize("psi", PSI)
def test_lambda_means_the_same_at_any_batch_and_image_size(psi):
    """Tiling images or the batch repeats pixels and patches: no mean may move by it."""
    refined, synthetic = torch.rand(2, 4, 1, 24, 24)
    logits = random_logits(4)

    def terms(repeat: tuple[int, int, int, int]) -> torch.Tensor:
        changed = self_regularisation(refined.repeat(repeat), synthetic.repeat(repeat), psi)
        return torch.stack([realism_loss(logits.repeat(repeat)), changed])

    assert torch.allclose(terms((1, 1, 1, 1)), terms((5, 1, 1, 1)), rtol=1e-5)
    # Seams between tiles are neighbours that a single image does not have.
    seams = 0.0 if psi in ("identity", "channel_mean") else 0.1
    assert torch.allclose(terms((1, 1, 1, 1)), terms((1, 1, 2, 2)), rtol=1e-5 + seams)


def test_the_papers_lambda_converts():
    refined, synthetic = torch.rand(2, 4, 1, 35, 55)
    logits = random_logits(4)
    realism = realism_loss(logits)
    sums = realism * 4 * 126 + 0.2 * (refined - synthetic).abs().sum()
    lambda_reg = (
        0.2 * (1 * 35 * 55) / (9 * 14)
    )  # as factory/training/losses.py and docs/training.md
    means = realism + lambda_reg * self_regularisation(refined, synthetic)
    assert torch.allclose(means * 4 * 126, sums, rtol=1e-5)


def test_the_adversarial_gradient_reaches_the_refiner():
    refiner, discriminator = Refiner(RefinerConfig(maps=4, blocks=1)), Discriminator()
    synthetic = torch.rand(2, 1, 35, 55) * 2 - 1
    refined = refiner(synthetic)
    realism_loss(discriminator(refined)).backward()
    for parameter in refiner.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_gradient_penalty_of_a_linear_discriminator():
    """|d D / d x|^2 of log-odds w . x is |w|^2 / patches^2, whatever x is."""
    weights = torch.tensor([1.0, -2.0, 3.0])
    real = torch.randn(5, 1, 1, 3, requires_grad=True)
    odds = (real * weights).sum(dim=(1, 2, 3))
    logits = torch.stack([odds, torch.zeros_like(odds)], 1)[..., None, None].expand(-1, -1, 2, 2)
    assert torch.isclose(gradient_penalty(logits, real), torch.tensor(14.0))
