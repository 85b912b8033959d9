"""Training of a gaze network on labelled eyes, and how good it is on others."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from factory.domains.eye.networks.gaze import (
    Gaze,
    GazeBin,
    GazeConfig,
    GazeErrors,
    GazeNetwork,
    angle_deg,
    yaw_pitch_deg,
)
from factory.domains.eye.networks.landmark_training import relit
from factory.measures.statistics import spread
from factory.networks.scaling import to_network
from schemas.base import Float, Model

_BIN_DEG = 10


class GazeTraining(Model):
    """How a gaze network is trained."""

    steps: int = Field(default=1_000, ge=1)
    """updates"""
    batch_size: int = Field(default=32, ge=1)
    """images in each; the paper's 512 are for 1.2 million renders"""
    lr: Float = Field(default=1e-3, gt=0)
    """of Adam, as in the paper, which names no optimiser"""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """the paper's, or a half cosine from `lr` to 0"""
    seed: int = Field(default=0, ge=0)
    augment: bool = True
    """vary light, contrast, blur, noise and place, so that the renders' look is not learnt"""
    max_shift_px: int = Field(default=2, ge=0)
    """of augmented images, up, down and to the sides"""
    network: GazeConfig = GazeConfig()
    """architecture"""


class Gazing(NamedTuple):
    """Eyes and where they look."""

    images: NDArray[np.uint8]
    """(N, H, W)"""
    gaze_N3: Gaze  # noqa: N815


def train_gaze(
    training: GazeTraining,
    labelled: Gazing,
    on_step: Callable[[float], None] | None = None,
) -> GazeNetwork:
    """Train a network; the same on the same machine for the same arguments.

    The loss is the mean squared Euclidean distance between the output and the unit vector.

    Args:
        on_step: called after each update with its loss.

    Raises:
        RuntimeError: a loss is not finite.
    """
    height, width = labelled.images.shape[1:]
    network = GazeNetwork(training.network, image_size=(height, width), seed=training.seed)
    optimiser = torch.optim.Adam(network.parameters(), training.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _lr_factor(training, step))
    for step in range(training.steps):
        rng = np.random.default_rng([training.seed, step])
        rows = rng.integers(len(labelled.images), size=training.batch_size)
        gaze = torch.from_numpy(labelled.gaze_N3[rows].astype(np.float32))
        images = to_network(labelled.images[rows])
        if training.augment:
            images = augmented(images, training.max_shift_px, rng)
        loss = (network(images) - gaze).square().sum(dim=1).mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"the loss of update {step + 1} is {value}; lower --lr")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step(value)
    return network.eval()


def _lr_factor(training: GazeTraining, step: int) -> float:
    if training.lr_schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * step / training.steps)) / 2


def augmented(images: Tensor, max_shift_px: int, rng: np.random.Generator) -> Tensor:
    """Other looks in other places. Nothing turns, grows or is mirrored: that would change the gaze.

    Args:
        images: (N, 1, H, W) in [-1, 1].
    """
    return relit(shifted(images, max_shift_px, rng), rng)


def shifted(images: Tensor, max_px: int, rng: np.random.Generator) -> Tensor:
    """Each by whole pixels of its own; what enters repeats the border. (N, 1, H, W) to the same."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (max_px,) * 4, "replicate")
    top, left = torch.from_numpy(rng.integers(0, 2 * max_px + 1, (2, n, 1, 1)))
    rows = top + torch.arange(height)[:, None]
    columns = left + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]


def gaze_errors(found_N3: Gaze, truth_N3: Gaze, mean_answer: NDArray[np.floating]) -> GazeErrors:
    """How far estimates are from the truth.

    Args:
        mean_answer: (3,) mean gaze of what was trained on, of any length.

    Raises:
        ValueError: no images.
    """
    error_deg = angle_deg(found_N3, truth_N3)
    yaw_deg, pitch_deg = yaw_pitch_deg(truth_N3).T
    return GazeErrors(
        deg=spread(error_deg),
        mean_answer_deg=spread(angle_deg(np.broadcast_to(mean_answer, truth_N3.shape), truth_N3)),
        by_yaw=_by(yaw_deg, error_deg),
        by_pitch=_by(pitch_deg, error_deg),
    )


def _by(angle_N: NDArray[np.float64], error_N: NDArray[np.float64]) -> tuple[GazeBin, ...]:
    """In ranges of 10 degrees; those without images are left out."""
    bins = np.floor(angle_N / _BIN_DEG)
    return tuple(
        GazeBin(
            from_deg=float(number * _BIN_DEG),
            to_deg=float((number + 1) * _BIN_DEG),
            num=int((bins == number).sum()),
            median_deg=float(np.median(error_N[bins == number])),
        )
        for number in np.unique(bins)
    )
