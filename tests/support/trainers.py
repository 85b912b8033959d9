"""Small trainings, and what tests of them share."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from factory.networks.refiner_files import load_refiner
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.loop import Progress
from factory.training.run import train_on_images
from factory.training.simgan import SimGAN
from schemas.discriminator import DiscriminatorConfig, LayerConfig
from schemas.refiner import RefinerConfig
from schemas.score import Score

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


def noise_images() -> tuple[np.ndarray, np.ndarray]:
    """Synthetic: bright noise. Real: dark noise."""
    rng = np.random.default_rng(0)
    synthetic = rng.integers(100, 256, (20, *SHAPE[1:]), dtype=np.uint8)
    return synthetic, rng.integers(0, 150, (30, *SHAPE[1:]), dtype=np.uint8)


def inputs_of(images, domain: str = "eye", **others) -> TrainingInputs:
    """Of (synthetic, real) images."""
    return TrainingInputs(*images, domain=domain, **others)


def make_gan(config: TrainConfig, images, history=None, *, workers=None, **others) -> SimGAN:
    if history is None and config.buffer_size:
        history = HistoryBuffer(config.buffer_size, SHAPE, config.seed)
    return SimGAN(config, inputs_of(images, **others), history, workers=workers)


def train_here(
    config: TrainConfig, images, run, *, domain="eye", lineage=None, consistency=None, **how
) -> None:
    """`train_on_images` on the CPU, on (synthetic, real) images."""
    inputs = inputs_of(images, domain, lineage=lineage, consistency=consistency)
    train_on_images(config, inputs, run, device="cpu", **how)


def trained(config: TrainConfig, images, run: Path, **how) -> Path:
    """A finished run."""
    train_here(config, images, run, **how)
    return run


def weights_of(network: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Killed(Exception):  # noqa: N818
    pass


def kill_at(clock: int):
    def on_progress(progress: Progress) -> None:
        if progress.clock == clock:
            raise Killed

    return on_progress


LIMITS = {"drift_median_px": 0.8}


class Prepared:
    """Gives prepared scores, by update, in a thread."""

    limits = LIMITS

    def __init__(self, scores: dict[int, Score]) -> None:
        self.scores = scores
        self.asked: list[int] = []
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, location: str) -> Future[Score]:
        clock = int(location.rpartition("/")[2])
        load_refiner(location)  # whole, and usable
        self.asked.append(clock)
        return self._thread.submit(self.scores.__getitem__, clock)
