from functools import partial

import numpy as np
import pytest
import torch

from factory.training.draws import ResidentImages, resident
from factory.training.history import HistoryBuffer
from factory.training.losses import gradient_penalty
from factory.training.simgan import NonFiniteLoss, SimGAN
from support.trainers import SHAPE, make_gan, same, small_config, weights_of


def test_schedule(images):
    """Pre-training of R alone and of D alone, then K_g of R and K_d of D in turn."""
    gan = make_gan(small_config(k_g=3, k_d=2, steps=4), images)
    calls = []
    for name in ("refiner_step", "discriminator_step"):
        method = getattr(gan, name)

        def recorded(method=method, name=name, **kwargs):
            calls.append("r" if kwargs else name[0].upper())
            return method(**kwargs)

        setattr(gan, name, recorded)
    for _ in range(gan.config.total_clock):
        gan.step()
    assert "".join(calls) == "rrr" + "DD" + "RRRDD" * 2
    assert gan.config.phase_at(gan.clock) == ("adversarial", 4)


def test_discriminator_step_trains_the_discriminator_alone(gan):
    refiner, discriminator = weights_of(gan.refiner), weights_of(gan.discriminator)
    gan.discriminator_step()
    assert not any(
        torch.equal(before, after)
        for before, after in zip(discriminator, weights_of(gan.discriminator), strict=True)
    )
    assert same(refiner, weights_of(gan.refiner))
    assert all(p.grad is None for p in gan.refiner.parameters())


def test_refiner_step_trains_the_refiner_alone(gan):
    refiner, discriminator = weights_of(gan.refiner), weights_of(gan.discriminator)
    gan.refiner_step()
    assert not same(refiner, weights_of(gan.refiner))
    assert same(discriminator, weights_of(gan.discriminator))
    assert all(p.grad is None for p in gan.discriminator.parameters())
    gan.discriminator_step()  # and D still trains after it
    assert not same(discriminator, weights_of(gan.discriminator))


def test_refiner_feels_the_discriminator(images):
    """Without self-regularisation, only the adversarial gradient moves it, all of it."""
    gan = make_gan(small_config(lambda_reg=0.0), images)
    before = weights_of(gan.refiner)
    gan.refiner_step()
    after = weights_of(gan.refiner)
    assert not any(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.slow
def test_discriminator_learns_to_tell_the_domains(images):
    gan = make_gan(small_config(batch_size=8, discriminator_lr=3e-3), images)
    for _ in range(90):
        metrics = gan.discriminator_step()
    assert metrics["accuracy_real"] > 0.9 and metrics["accuracy_refined"] > 0.9


@pytest.mark.slow
def test_refiner_learns_to_fool_the_discriminator(images):
    config = small_config(lambda_reg=0.0, refiner_lr=5e-3, discriminator_lr=3e-3, batch_size=8)
    gan = make_gan(config, images)
    for _ in range(60):
        gan.discriminator_step()
    before = gan.refiner_step()["realism_loss"]
    for _ in range(60):
        after = gan.refiner_step()["realism_loss"]
    assert after < 0.5 * before


@pytest.mark.slow
def test_pretraining_of_the_refiner_learns_the_image(images):
    gan = make_gan(small_config(refiner_lr=5e-3), images)
    before = gan.refiner_step(adversarial=False)["regularisation_loss"]
    for _ in range(100):
        after = gan.refiner_step(adversarial=False)["regularisation_loss"]
    assert after < 0.6 * before


def seen_by_discriminator(gan: SimGAN) -> torch.Tensor:
    seen = []
    hook = gan.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    gan.discriminator_step()
    hook.remove()
    return torch.cat(seen)


def test_discriminator_sees_half_fresh_half_past_and_a_batch_of_real(images):
    fresh_seen = []

    class PastIsQuarter(HistoryBuffer):
        def exchange(self, fresh, worker=0):
            fresh_seen.append(fresh)
            return np.full_like(fresh, 0.25)

    gan = make_gan(small_config(batch_size=8), images, PastIsQuarter(16, SHAPE, 0))
    first = seen_by_discriminator(gan)
    assert torch.equal(first[4:8], first[:4])  # nothing is past yet
    seen = seen_by_discriminator(gan)
    gan.wait_for_history()
    assert len(seen) == 16 and len(fresh_seen) == 2
    assert fresh_seen[1].shape == (4, *SHAPE) and fresh_seen[1].dtype == np.float16
    assert np.array_equal(seen[:4].numpy(), fresh_seen[1])
    assert (seen[4:8] == 0.25).all()
    stored = torch.from_numpy(images[1])[:, None].float() / 127.5 - 1
    for real in seen[8:]:
        assert (stored - real).abs().amax(dim=(1, 2, 3)).min() < 1e-3


def test_precision_tells_the_discriminator_nothing(gan):
    """Fresh, past and real images have all been through float16."""
    for _ in range(3):
        seen = seen_by_discriminator(gan)
        assert torch.equal(seen, seen.half().float())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_that_lie_on_the_device_are_the_same(images, dtype):
    full_scale = float(np.iinfo(dtype).max)
    pair = tuple(image.astype(dtype) * (257 if dtype == np.uint16 else 1) for image in images)
    gan = make_gan(small_config(full_scale=full_scale), pair)
    drawn = gan.draws.images("synthetic", 16)
    gan.draws.count = 0
    gan.draws._resident = {"synthetic": resident(pair[0], gan.device)}
    on_device = gan.draws.images("synthetic", 16)
    assert torch.equal(on_device, drawn) and on_device.stride() == drawn.stride()


def test_16_bit_images_lie_on_the_device_in_a_type_that_can_be_indexed(monkeypatch):
    """PyTorch has few operations for uint16: none may reach it, whatever the device."""
    from_numpy = torch.from_numpy
    types = []
    monkeypatch.setattr(
        torch, "from_numpy", lambda array: types.append(array.dtype) or from_numpy(array)
    )
    images = np.array([0, 1, 32767, 32768, 65535], np.uint16)[:, None, None].repeat(2, 1)
    drawn = ResidentImages(images, torch.device("cpu")).drawn(np.array([4, 3, 0, 1, 2, 4]))
    assert drawn[:, 0, 0, 0].tolist() == [65535, 32768, 0, 1, 32767, 65535]
    assert drawn.shape == (6, 1, 2, 1) and drawn.dtype == torch.float32
    assert np.dtype(np.uint16) not in types


def test_bfloat16_is_near_float32(images):
    """Half the bits in the networks; weights, losses and what the history gets are as before."""
    made = []
    for precision in ("float32", "bfloat16"):
        gan = make_gan(small_config(precision=precision, batch_size=8), images)
        made.append([gan.refiner_step(), gan.discriminator_step()])
        assert {p.dtype for p in gan.refiner.parameters()} == {torch.float32}
        assert gan.refiner_step()["refiner_loss"].dtype == torch.float32
    for single, half in zip(*made, strict=True):
        for name in ("refiner_loss", "discriminator_loss", "mean_abs_delta"):
            if name in single:
                assert torch.isclose(single[name], half[name], rtol=0.02)
                assert single[name] != half[name]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_compiled_networks_are_the_networks(images, tmp_path, monkeypatch, backend):
    """What a C++ compiler makes of them takes a minute; how PyTorch traces them is the same."""
    pytest.importorskip("torch._inductor")
    # The folder that all processes share may hold kernels for the instructions of another one.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    losses = [
        make_gan(small_config(compile=compile), images).refiner_step()["refiner_loss"]
        for compile in (False, True)
    ]
    assert torch.isclose(*losses, rtol=1e-4)


def test_both_domains_are_normalised_alike(images):
    gan = make_gan(small_config(), (images[0], images[0]))
    synthetic = gan.draws.images("synthetic", 50)
    gan.draws.count = 0
    assert torch.equal(synthetic, gan.draws.images("real", 50))
    assert -1 <= synthetic.min() < -0.2 and 0.9 < synthetic.max() <= 1


def test_draws_differ_and_cover_everything(gan):
    assert not torch.equal(gan.draws.images("real", 30), gan.draws.images("real", 30))
    drawn = torch.cat([gan.draws.images("real", 30) for _ in range(10)])
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 30


def test_running_average_is_the_recurrence(images):
    gan = make_gan(small_config(ema_decay=0.5), images)
    expected = [p.double() for p in weights_of(gan.refiner)]
    for number in range(1, 16):
        gan.refiner_step()
        decay = min(0.5, (1 + number) / (10 + number))
        now = weights_of(gan.refiner)
        expected = [decay * e + (1 - decay) * p for e, p in zip(expected, now, strict=True)]
    for mean, value in zip(gan.chosen.parameters(), expected, strict=True):
        assert torch.allclose(mean.double(), value, atol=1e-6)
    assert not same(weights_of(gan.chosen), weights_of(gan.refiner))


@pytest.mark.parametrize("culprit", ["loss", "gradient"])
@pytest.mark.parametrize("step", ["refiner_step", "discriminator_step"])
def test_nothing_changes_when_it_is_not_finite(images, step, culprit):
    config = small_config(ema_decay=0.9)
    gan = make_gan(config, images)
    gan.refiner_step()
    gan.discriminator_step()
    if culprit == "loss":
        with torch.no_grad():
            gan.discriminator.layers[-1].bias[0] = float("nan")
    else:
        network = gan.refiner if step == "refiner_step" else gan.discriminator
        next(network.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    before = {name: tensor.clone() for name, tensor in gan.tensors().items()}
    with pytest.raises(NonFiniteLoss, match=rf"{step.split('_')[0]} loss .* before the update"):
        getattr(gan, step)()
    after = gan.tensors()
    assert all(torch.equal(before[n], after[n]) or torch.isnan(before[n]).any() for n in before)


def test_a_refined_image_that_is_not_finite_never_enters_the_history(gan):
    with torch.no_grad():
        gan.refiner.last.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="discriminator loss"):
        gan.discriminator_step()
    assert gan.history.statistics().num_stored == 0


@pytest.mark.slow
def test_the_gradient_penalty_holds_the_discriminator_back(images):
    """Trained alone, D's slope on real images ends far lower with it."""
    slopes = []
    for gamma in (0.0, 10.0):
        config = small_config(batch_size=8, discriminator_lr=3e-3, r1_gamma=gamma)
        gan = make_gan(config, images)
        for _ in range(60):
            metrics = gan.discriminator_step()
        assert ("gradient_penalty" in metrics) == (gamma > 0)
        real = gan.draws.images("real", 16).requires_grad_()
        slopes.append(float(gradient_penalty(gan.discriminator(real), real).detach()))
    assert slopes[1] < slopes[0] / 3


def test_without_a_history_every_refined_image_is_fresh(images):
    gan = make_gan(small_config(batch_size=8, buffer_size=0), images)
    assert gan.history is None
    for _ in range(2):
        seen = seen_by_discriminator(gan)
        assert len(seen) == 16
        assert len(torch.unique(seen[:8].flatten(1), dim=0)) > 4  # b drawn, not b/2 twice
