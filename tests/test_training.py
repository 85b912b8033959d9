import json
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from factory.checkpoint import load_refiner
from factory.history import HistoryBuffer
from factory.losses import gradient_penalty
from factory.models import DiscriminatorConfig, LayerConfig, RefinerConfig
from factory.simgan import resident
from factory.store import open_store
from factory.training import (
    NonFiniteLoss,
    Peers,
    Progress,
    RunMismatchError,
    SimGAN,
    TrainConfig,
    train,
)

SHAPE = (1, 12, 14)
SMALL_LAYERS = (
    LayerConfig(kernel=3, stride=2, maps=8),
    LayerConfig(kernel=3, stride=2, maps=8),
    LayerConfig(kernel=1, maps=2),
)


GLOBAL = DiscriminatorConfig(layers=SMALL_LAYERS, scope="global", spectral_norm=True)


def small_config(**changes) -> TrainConfig:
    fields = {
        "refiner": RefinerConfig(maps=4, blocks=1),
        "discriminator": DiscriminatorConfig(layers=SMALL_LAYERS),
        "steps": 12,
        "batch_size": 4,
        "buffer_size": 16,
        "refiner_pretrain_steps": 3,
        "discriminator_pretrain_steps": 2,
        "strip_every": 4,
        "checkpoint_every": 4,
        "log_every": 2,
        "num_threads": 1,
    }
    return TrainConfig.model_validate(fields | changes)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """Synthetic: bright noise. Real: dark noise."""
    rng = np.random.default_rng(0)
    synthetic = rng.integers(100, 256, (20, *SHAPE[1:]), dtype=np.uint8)
    return synthetic, rng.integers(0, 150, (30, *SHAPE[1:]), dtype=np.uint8)


@pytest.fixture
def gan(images) -> SimGAN:
    return make_gan(small_config(), images)


def make_gan(config: TrainConfig, images, history=None, **kwargs) -> SimGAN:
    if history is None and config.buffer_size:
        history = HistoryBuffer(config.buffer_size, SHAPE, config.seed)
    return SimGAN(config, *images, history, **kwargs)


def trained(config: TrainConfig, images, run: Path, **kwargs) -> Path:
    """A finished run."""
    train(config, *images, run, device="cpu", **kwargs)
    return run


def weights_of(network: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# Algorithm 1


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
    assert gan.config.place(gan.clock) == ("adversarial", 4)


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


def test_discriminator_learns_to_tell_the_domains(images):
    gan = make_gan(small_config(batch_size=8, discriminator_lr=3e-3), images)
    for _ in range(90):
        metrics = gan.discriminator_step()
    assert metrics["accuracy_real"] > 0.9 and metrics["accuracy_refined"] > 0.9


def test_refiner_learns_to_fool_the_discriminator(images):
    config = small_config(lambda_reg=0.0, refiner_lr=5e-3, discriminator_lr=3e-3, batch_size=8)
    gan = make_gan(config, images)
    for _ in range(60):
        gan.discriminator_step()
    before = gan.refiner_step()["realism_loss"]
    for _ in range(60):
        after = gan.refiner_step()["realism_loss"]
    assert after < 0.5 * before


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
    drawn = gan.draw("synthetic", 16)
    gan.num_draws = 0
    gan._resident = {"synthetic": resident(pair[0], gan.device)}
    there = gan.draw("synthetic", 16)
    assert torch.equal(there, drawn) and there.stride() == drawn.stride()


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


def test_compiled_networks_are_the_networks(images):
    pytest.importorskip("torch._inductor")
    losses = [
        make_gan(small_config(compile=compile), images).refiner_step()["refiner_loss"]
        for compile in (False, True)
    ]
    assert torch.isclose(*losses, rtol=1e-4)


def test_both_domains_are_normalised_alike(images):
    gan = make_gan(small_config(), (images[0], images[0]))
    synthetic = gan.draw("synthetic", 50)
    gan.num_draws = 0
    assert torch.equal(synthetic, gan.draw("real", 50))
    assert -1 <= synthetic.min() < -0.2 and 0.9 < synthetic.max() <= 1


def test_draws_differ_and_cover_everything(gan):
    assert not torch.equal(gan.draw("real", 30), gan.draw("real", 30))
    drawn = torch.cat([gan.draw("real", 30) for _ in range(10)])
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


# What is not finite


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


def test_the_batch_is_saved_without_pickle(images, tmp_path, monkeypatch):
    def poisoned(self, images):
        return self.layers(images) * float("nan")

    def poison(progress: Progress) -> None:
        if progress.step == 3 and progress.phase == "adversarial":
            monkeypatch.setattr("factory.models.Discriminator.forward", poisoned)

    with pytest.raises(NonFiniteLoss, match="adversarial step 4: refiner loss") as caught:
        train(small_config(), *images, tmp_path, on_progress=poison, device="cpu")
    (path,) = tmp_path.glob("nonfinite-*.npz")
    assert str(path) in str(caught.value)
    with np.load(path, allow_pickle=False) as batch:
        assert batch["synthetic"].shape == batch["refined"].shape == (4, *SHAPE)
    assert not (tmp_path / "refiner.json").exists()


# Runs


class Killed(Exception):  # noqa: N818
    pass


def kill_at(clock: int):
    def on_progress(progress: Progress) -> None:
        if progress.clock == clock:
            raise Killed

    return on_progress


def metrics_of(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "images_per_s", "data_wait_share", "history_wait_share")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "refiner_init": "identity", "k_g": 1, "psi": "features"},
        {"optimizer": "sgd", "momentum": 0.9, "k_d": 2, "refiner_pretrain_steps": 0},
        {"r1_gamma": 1.0, "discriminator": GLOBAL},
    ],
)
def test_a_killed_run_resumed_equals_an_undisturbed_one(images, tmp_path, changes):
    config = small_config(**changes)
    whole = trained(config, images, tmp_path / "whole")
    rng = np.random.default_rng(len(changes))
    clocks = sorted(rng.choice(np.arange(1, config.total_clock + 1), 4, replace=False))
    for clock in clocks:
        with pytest.raises(Killed):
            train(config, *images, tmp_path / "cut", on_progress=kill_at(clock), device="cpu")
        with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
            file.write('{"clock": 1, "pha')  # killed in the middle of a line
    resumed = trained(config, images, tmp_path / "cut")
    for name in ("refiner.safetensors", "refiner.json", "train.json", "overview.png"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert metrics_of(whole) == metrics_of(resumed)
    for part in ("networks", "history"):
        name = f"checkpoints/step-{config.total_clock:08d}.{part}.safetensors"
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


@pytest.mark.s3
def test_a_run_in_every_kind_of_store_is_the_same(images, tmp_path, any_location):
    """Killed and resumed there; every file but the board's and the settings' is the same."""
    whole = trained(small_config(), images, tmp_path / "whole")
    for clock in (7, 13):
        with pytest.raises(Killed):
            train(small_config(), *images, any_location, on_progress=kill_at(clock), device="cpu")
    train(small_config(), *images, any_location, device="cpu")
    assert load_refiner(any_location)[1] == load_refiner(whole)[1]
    there, here = open_store(any_location), open_store(whole)
    names = [
        {entry.name for entry in store.walk() if not entry.name.startswith(("tensorboard", "tmp"))}
        for store in (there, here)
    ]
    assert names[0] == names[1]
    for name in names[0] - {"metrics.jsonl", "losses.png"}:
        if not name.startswith("checkpoints/") or name.endswith(".safetensors"):
            assert there.read(name) == here.read(name), name
    assert any(there.walk("tensorboard"))
    lines = [json.loads(line) for line in there.read("metrics.jsonl").splitlines()]
    assert [line["clock"] for line in lines] == [x["clock"] for x in metrics_of(whole)]


def test_seeds_decide(images, tmp_path):
    made = {
        name: load_refiner(trained(small_config(seed=seed), images, tmp_path / name))[1].sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert made["a"] == made["b"] != made["c"]


def test_a_finished_run_is_left_alone(images, tmp_path):
    train(small_config(), *images, tmp_path, device="cpu")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}
    train(small_config(), *images, tmp_path, on_progress=kill_at(1), device="cpu")
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}


def test_another_configuration_is_refused(images, tmp_path):
    with pytest.raises(Killed):
        train(small_config(), *images, tmp_path, on_progress=kill_at(5), device="cpu")
    changed = small_config(lambda_reg=7.5, refiner=RefinerConfig(maps=6, blocks=1))
    with pytest.raises(RunMismatchError, match=r"lambda_reg: 3\.0 -> 7\.5") as caught:
        train(changed, *images, tmp_path, device="cpu")
    assert "config.refiner.maps: 4 -> 6" in str(caught.value)
    with pytest.raises(RunMismatchError, match="real: "):
        train(small_config(), images[0], images[1][::-1], tmp_path, device="cpu")
    # How often it is saved changes nothing that is made.
    train(small_config(checkpoint_every=7), *images, tmp_path, device="cpu")


def test_what_a_run_leaves(images, tmp_path):
    seen = []
    train(
        small_config(),
        *images,
        tmp_path,
        on_progress=seen.append,
        lineage={"synthetic": {"card": "abc"}, "real": {"card": "def"}},
        device="cpu",
    )
    assert [p.clock for p in seen] == list(range(1, 18)) and seen[-1].total == 17
    assert seen[-1].phase == "adversarial" and seen[-1].step == 12
    wanted = {"realism_loss", "regularisation_loss", "discriminator_loss", "mean_abs_delta"}
    wanted |= {"accuracy_real", "accuracy_refined", "images_per_s", "seconds"}
    assert wanted <= seen[-1].metrics.keys()
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["clock"] == 17 and wanted <= last.keys()
    strips = sorted(p.name for p in (tmp_path / "strips").iterdir())
    assert strips == [f"step-{step:06d}.png" for step in (0, 4, 8, 12)]
    assert len(list((tmp_path / "checkpoints").glob("*.json"))) == 2
    _, description = load_refiner(tmp_path)
    assert description.lineage["synthetic"] == {"card": "abc"} and description.step == 12
    assert description.domain == "eye" and description.train["batch_size"] == 4
    # 10 images and their refined selves, magnified 8 times in frames of one pixel.
    strip = cv2.imread(str(tmp_path / "strips/step-000012.png"), cv2.IMREAD_UNCHANGED)
    assert strip.shape == (2 * (12 * 8 + 2), 10 * (14 * 8 + 2))
    first = strip[1:97:8, 1:113:8]
    assert any(np.array_equal(first, image) for image in images[0])
    overview = cv2.imread(str(tmp_path / "overview.png"), cv2.IMREAD_UNCHANGED)
    assert overview.shape[1] == (1 + 4 + 1) * (14 * 8 + 2)
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_colour_images(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (8, 3, 12, 14), dtype=np.uint8)
    config = small_config(
        refiner=RefinerConfig(maps=6, blocks=1, channels=3),
        discriminator=DiscriminatorConfig(layers=SMALL_LAYERS, channels=3),
        steps=2,
    )
    refiner, description = load_refiner(trained(config, (colour, colour), tmp_path))
    assert refiner.config.channels == 3 and description.image.channels == 3


def test_images_that_do_not_fit_are_refused(images, tmp_path):
    synthetic, real = images
    with pytest.raises(ValueError, match="one image size"):
        train(small_config(), synthetic, real[:, :10], tmp_path)
    with pytest.raises(ValueError, match="uint8"):
        train(small_config(), synthetic.astype(np.float32), real, tmp_path)
    with pytest.raises(ValueError, match="no real images"):
        train(small_config(), synthetic, real[:0], tmp_path)
    with pytest.raises(ValueError, match="3 channels"):
        train(small_config(), np.stack([synthetic] * 3, 1), real, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 5}, "even, is 5"),
        ({"buffer_size": 1}, "half a batch"),
        ({"k_d": 5}, "multiple of k_d"),
        ({"betas": (0.5, 1.0)}, "betas"),
        ({"compile": True, "r1_gamma": 1.0}, "second gradient"),
        ({"lambda_reg": float("inf")}, "finite"),
        ({"refiner": RefinerConfig(channels=3)}, "3 channels"),
    ],
)
def test_nonsense_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config(**changes)


@pytest.mark.parametrize("name", ["eye", "eye-small"])
def test_the_named_configurations_load(name):
    path = Path(__file__).parent.parent / "configs" / f"{name}.toml"
    config = TrainConfig.model_validate(tomllib.loads(path.read_text())["train"])
    assert (config.refiner == RefinerConfig()) == (name == "eye")
    assert config.discriminator == DiscriminatorConfig()


class Workers:
    """Several trainers in threads, whose gradients are averaged."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=30)
        self._given: dict[int, list[torch.Tensor]] = {}

    def peers(self, rank: int) -> Peers:
        return Peers(rank, self.size, partial(self._average, rank))

    def _average(self, rank: int, tensors) -> None:
        self._given[rank] = [tensor.clone() for tensor in tensors]
        self.barrier.wait()
        for place, tensor in enumerate(tensors):
            kinds = {(given[place].dtype, given[place].shape) for given in self._given.values()}
            assert len(kinds) == 1, kinds  # or gloo aborts the process
            tensor.copy_(torch.stack([self._given[r][place] for r in range(self.size)]).mean(0))
        self.barrier.wait()

    def run(self, work) -> None:
        """`work(rank, peers)` in each."""

        def guarded(rank: int) -> None:
            try:
                work(rank, self.peers(rank))
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            for call in [pool.submit(guarded, rank) for rank in range(self.size)]:
                call.result()


class Locked(HistoryBuffer):
    """As an actor is: one call at a time."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()

    def exchange(self, fresh, worker=0):
        with self.lock:
            return super().exchange(fresh, worker)


def test_two_workers_stay_one_refiner(images):
    """Different batches, averaged gradients, one history: equal weights after every step."""
    config, workers = small_config(), Workers(2)
    history = Locked(config.buffer_size, SHAPE, config.seed)
    gans = [make_gan(config, images, history, peers=workers.peers(rank)) for rank in range(2)]
    assert not torch.equal(gans[0].draw("real", 8), gans[1].draw("real", 8))

    def work(rank, peers) -> None:
        for _ in range(config.total_clock):
            gans[rank].step()
        gans[rank].wait_for_history()

    workers.run(work)
    assert same(weights_of(gans[0].refiner), weights_of(gans[1].refiner))
    assert same(weights_of(gans[0].discriminator), weights_of(gans[1].discriminator))
    statistics = history.statistics()
    num_steps = config.total_clock - config.refiner_pretrain_steps
    assert statistics.num_exchanges == 2 * num_steps
    assert statistics.num_stored == num_steps * config.batch_size // 2  # for any number of workers


@pytest.mark.parametrize("size", [2, 4])
def test_the_batch_of_all_workers_is_that_of_one(images, size):
    """An update of several workers is one worker's update on the same images."""
    config, workers = small_config(batch_size=16, buffer_size=0), Workers(size)
    alone = make_gan(config, images)
    gans = [make_gan(config, images, peers=workers.peers(rank)) for rank in range(size)]
    drawn = {"synthetic": [], "real": []}
    for gan in gans:
        for domain in drawn:
            drawn[domain].append(gan.draw(domain, 16 // size))
    given = {domain: torch.cat(parts) for domain, parts in drawn.items()}
    alone.draw = lambda domain, n: given[domain]
    for rank, gan in enumerate(gans):
        gan.draw = lambda domain, n, rank=rank: drawn[domain][rank]
    for step in ("refiner_step", "discriminator_step"):
        getattr(alone, step)()
        workers.run(lambda rank, peers, step=step: getattr(gans[rank], step)())
    for network in ("refiner", "discriminator"):
        expected, found = (weights_of(getattr(gan, network)) for gan in (alone, gans[0]))
        assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(expected, found, strict=True))


def test_workers_that_cannot_share_a_batch_evenly_are_told(images):
    with pytest.raises(ValueError, match="make batch_size a multiple of 6"):
        make_gan(small_config(batch_size=8), images, peers=Peers(0, 3, lambda tensors: None))


def test_two_workers_go_on_together_after_a_kill(images, tmp_path):
    """From the same checkpoint, with the history of its moment and what each was last given."""
    config = small_config()

    def train_both(kill_clock: int | None) -> Locked:
        workers = Workers(2)
        history = Locked(config.buffer_size, SHAPE, config.seed)

        def work(rank, peers) -> None:
            train(
                config,
                *images,
                tmp_path,
                history,
                kill_at(kill_clock) if kill_clock else None,
                peers=peers,
                device="cpu",
            )

        workers.run(work)
        return history

    with pytest.raises((Killed, threading.BrokenBarrierError)):
        train_both(10)
    history = train_both(None)
    assert load_refiner(tmp_path)[1].step == 12
    num_steps = config.total_clock - config.refiner_pretrain_steps
    assert history.statistics().num_exchanges == 2 * num_steps


def test_the_gradient_penalty_holds_the_discriminator_back(images):
    """Trained alone, D's slope on real images ends far lower with it."""
    slopes = []
    for gamma in (0.0, 10.0):
        config = small_config(batch_size=8, discriminator_lr=3e-3, r1_gamma=gamma)
        gan = make_gan(config, images)
        for _ in range(60):
            metrics = gan.discriminator_step()
        assert ("gradient_penalty" in metrics) == (gamma > 0)
        real = gan.draw("real", 16).requires_grad_()
        slopes.append(float(gradient_penalty(gan.discriminator(real), real).detach()))
    assert slopes[1] < slopes[0] / 3


def test_without_a_history_every_refined_image_is_fresh(images):
    gan = make_gan(small_config(batch_size=8, buffer_size=0), images)
    assert gan.history is None
    for _ in range(2):
        seen = seen_by_discriminator(gan)
        assert len(seen) == 16
        assert len(torch.unique(seen[:8].flatten(1), dim=0)) > 4  # b drawn, not b/2 twice


def test_workers_that_do_not_share_the_folder_are_stopped(images, tmp_path):
    def others_are_ahead(gradients):
        gradients[0].add_(2.5)

    with pytest.raises(RuntimeError, match="all workers share"):
        train(small_config(), *images, tmp_path, peers=Peers(1, 2, others_are_ahead), device="cpu")


def test_only_the_first_worker_writes(images, tmp_path):
    """The others need nothing but the folder of an earlier part of the run, if there is one."""
    gradients_seen = []
    peers = Peers(1, 2, gradients_seen.append)
    train(small_config(), *images, tmp_path, peers=peers, device="cpu")
    assert gradients_seen and not any(tmp_path.iterdir())
