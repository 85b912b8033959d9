import json
import shutil
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from factory.networks.exact_start import start_as_exact_identity
from factory.networks.precision import SlowPrecisionError
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner
from factory.store.open import open_store
from factory.training.config import TrainConfig
from factory.training.loop import Progress
from factory.training.record import RunMismatchError
from factory.training.simgan import NonFiniteLoss
from schemas.base import FormatError
from schemas.discriminator import HAND_LAYERS, DiscriminatorConfig
from schemas.refiner import RefinerConfig
from support.places import ROOT
from support.trainers import (
    GLOBAL,
    SHAPE,
    SMALL_LAYERS,
    Killed,
    kill_at,
    small_config,
    train_here,
    trained,
)

pytestmark = pytest.mark.slow  # all of them train


def test_the_batch_is_saved_without_pickle(images, tmp_path, monkeypatch):
    def poisoned(self, images):
        return self.layers(images) * float("nan")

    def poison(progress: Progress) -> None:
        if progress.step == 3 and progress.phase == "adversarial":
            monkeypatch.setattr("factory.networks.discriminator.Discriminator.forward", poisoned)

    with pytest.raises(NonFiniteLoss, match="adversarial step 4: refiner loss") as caught:
        train_here(small_config(), images, tmp_path, on_progress=poison)
    (path,) = tmp_path.glob("nonfinite-*.npz")
    assert str(path) in str(caught.value)
    with np.load(path, allow_pickle=False) as batch:
        assert batch["synthetic"].shape == batch["refined"].shape == (4, *SHAPE)
    assert not (tmp_path / "refiner.json").exists()


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
        {"window_px": 8, "lr_drop_after": 6},
        {"window_px": 10, "discriminator": GLOBAL, "psi": "patch_nce"},
    ],
)
def test_a_killed_run_resumed_equals_an_undisturbed_one(images, tmp_path, changes):
    config = small_config(**changes)
    undisturbed = trained(config, images, tmp_path / "whole")
    rng = np.random.default_rng(len(changes))
    clocks = sorted(rng.choice(np.arange(1, config.total_clock + 1), 4, replace=False))
    for clock in clocks:
        with pytest.raises(Killed):
            train_here(config, images, tmp_path / "cut", on_progress=kill_at(clock))
        with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
            file.write('{"clock": 1, "pha')  # killed in the middle of a line
    resumed = trained(config, images, tmp_path / "cut")
    for name in ("refiner.safetensors", "refiner.json", "train.json", "overview.png"):
        assert (undisturbed / name).read_bytes() == (resumed / name).read_bytes(), name
    assert metrics_of(undisturbed) == metrics_of(resumed)
    for part in ("networks", "history"):
        name = f"checkpoints/step-{config.total_clock:08d}.{part}.safetensors"
        assert (undisturbed / name).read_bytes() == (resumed / name).read_bytes()


@pytest.mark.s3
def test_a_run_in_every_kind_of_store_is_the_same(images, tmp_path, any_location):
    """Killed and resumed there; every file but the board's and the settings' is the same."""
    undisturbed = trained(small_config(), images, tmp_path / "whole")
    for clock in (7, 13):
        with pytest.raises(Killed):
            train_here(small_config(), images, any_location, on_progress=kill_at(clock))
    train_here(small_config(), images, any_location)
    assert load_refiner(any_location)[1] == load_refiner(undisturbed)[1]
    in_store, here = open_store(any_location), open_store(undisturbed)
    names = [
        {entry.name for entry in store.walk() if not entry.name.startswith(("tensorboard", "tmp"))}
        for store in (in_store, here)
    ]
    assert names[0] == names[1]
    for name in names[0] - {"metrics.jsonl", "losses.png"}:
        if not name.startswith("checkpoints/") or name.endswith(".safetensors"):
            assert in_store.read(name) == here.read(name), name
    assert any(in_store.walk("tensorboard"))
    lines = [json.loads(line) for line in in_store.read("metrics.jsonl").splitlines()]
    assert [line["clock"] for line in lines] == [x["clock"] for x in metrics_of(undisturbed)]


def test_seeds_decide(images, tmp_path):
    made = {
        name: load_refiner(trained(small_config(seed=seed), images, tmp_path / name))[1].sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert made["a"] == made["b"] != made["c"]


def test_a_finished_run_is_left_alone(images, tmp_path):
    train_here(small_config(), images, tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}
    train_here(small_config(), images, tmp_path, on_progress=kill_at(1))
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}


def test_another_configuration_is_refused(images, tmp_path):
    with pytest.raises(Killed):
        train_here(small_config(), images, tmp_path, on_progress=kill_at(5))
    changed = small_config(lambda_reg=7.5, refiner=RefinerConfig(maps=6, blocks=1))
    with pytest.raises(RunMismatchError, match=r"lambda_reg: 3\.0 -> 7\.5") as caught:
        train_here(changed, images, tmp_path)
    assert "config.refiner.maps: 4 -> 6" in str(caught.value)
    with pytest.raises(RunMismatchError, match="real: "):
        train_here(small_config(), (images[0], images[1][::-1]), tmp_path)
    # How often it is saved changes nothing that is made.
    train_here(small_config(checkpoint_every=7), images, tmp_path)


def test_a_run_stays_in_the_precision_that_it_was_begun_in(images, tmp_path, monkeypatch):
    """`auto` is decided once; the machine that resumes may be another one."""

    def begun(folder: Path, has_bfloat16: bool, precision: str = "auto", **how) -> dict:
        monkeypatch.setattr(
            "factory.networks.precision.computes_bfloat16", lambda _device: has_bfloat16
        )
        train_here(small_config(precision=precision), images, folder, **how)
        return json.loads((folder / "train.json").read_text())["config"]

    new, old = tmp_path / "new", tmp_path / "old"
    with pytest.raises(Killed):
        begun(new, True, on_progress=kill_at(8))
    with pytest.raises(Killed):
        begun(old, False, on_progress=kill_at(8))
    with pytest.raises(SlowPrecisionError, match=f"{new} computes in bfloat16.*hardware"):
        begun(new, False)
    with pytest.raises(RunMismatchError, match="precision: 'bfloat16' -> 'float32'"):
        begun(new, True, "float32")
    assert begun(new, True)["precision"] == "bfloat16"
    assert begun(old, True)["precision"] == "float32"
    at_once = begun(tmp_path / "at-once", True, "bfloat16")
    assert at_once["precision"] == "bfloat16"
    assert same_files(new, tmp_path / "at-once", "refiner.safetensors")
    assert not same_files(new, old, "refiner.safetensors")


def same_files(a: Path, b: Path, name: str) -> bool:
    return (a / name).read_bytes() == (b / name).read_bytes()


def test_what_a_run_leaves(images, tmp_path):
    seen = []
    train_here(
        small_config(),
        images,
        tmp_path,
        on_progress=seen.append,
        lineage={"synthetic": {"card": "abc"}, "real": {"card": "def"}},
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
        train_here(small_config(), (synthetic, real[:, :10]), tmp_path)
    with pytest.raises(ValueError, match="uint8"):
        train_here(small_config(), (synthetic.astype(np.float32), real), tmp_path)
    with pytest.raises(ValueError, match="no real images"):
        train_here(small_config(), (synthetic, real[:0]), tmp_path)
    with pytest.raises(ValueError, match="3 channels"):
        train_here(small_config(), (np.stack([synthetic] * 3, 1), real), tmp_path)
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
        ({"window_px": 3}, "map of a window would be empty"),
        ({"window_px": 8, "label_weight": 1.0, "label_network": "x"}, "whole images"),
    ],
)
def test_nonsense_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config(**changes)


@pytest.mark.parametrize("name", ["eye", "eye-small"])
def test_the_named_configurations_load(name):
    path = ROOT / "configs" / f"{name}.toml"
    config = TrainConfig.model_validate(tomllib.loads(path.read_text())["train"])
    papers = RefinerConfig(padding=config.refiner.padding)
    assert (config.refiner == papers) == (name == "eye")
    assert config.discriminator == DiscriminatorConfig()


@pytest.mark.parametrize(
    ("name", "num_parameters"), [("hand", 741_825), ("hand-7x7", 4_018_625), ("hand-small", None)]
)
def test_the_configurations_for_hands_load(name, num_parameters):
    path = ROOT / "configs" / f"{name}.toml"
    config = TrainConfig.model_validate(tomllib.loads(path.read_text())["train"])
    refiner = Refiner(config.refiner)
    start_as_exact_identity(refiner)  # there is room for it
    if num_parameters is not None:
        assert sum(p.numel() for p in refiner.parameters()) == num_parameters
        assert config.discriminator.layers == HAND_LAYERS
        rates = [config.refiner_lr * config.lr_share(clock) for clock in (1, config.total_clock)]
        assert rates == [2e-4, 5e-5]
    assert config.refiner_init == "exact_identity" and config.empty_below > 0
    assert config.full_scale is None, "the datasets' own"


def test_a_run_whose_newest_checkpoint_is_damaged_resumes_from_the_one_before(images, tmp_path):
    config = small_config(checkpoint_every=2)
    undisturbed = trained(config, images, tmp_path / "whole")
    with pytest.raises(Killed):
        train_here(config, images, tmp_path / "cut", on_progress=kill_at(5))
    states = sorted((tmp_path / "cut" / "checkpoints").glob("*.json"))
    assert len(states) == 2
    states[-1].write_bytes(b'{"counters": {}}')
    resumed = trained(config, images, tmp_path / "cut")
    assert (undisturbed / "refiner.json").read_bytes() == (resumed / "refiner.json").read_bytes()


def test_a_run_all_of_whose_checkpoints_are_damaged_does_not_begin_again_unasked(images, tmp_path):
    config = small_config(checkpoint_every=2)
    with pytest.raises(Killed):
        train_here(config, images, tmp_path, on_progress=kill_at(5))
    for path in (tmp_path / "checkpoints").glob("*.json"):
        path.write_bytes(b"[1")
    with pytest.raises(FormatError, match=r"none of the 2 checkpoints .* delete .*checkpoints"):
        train_here(config, images, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    trained(config, images, tmp_path)
