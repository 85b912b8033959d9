"""Training of a gaze network on labelled eyes, and how good it is on others."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from factory.domains.eye.networks.gaze import Gaze, GazeNetwork, angle_deg, yaw_pitch_deg
from factory.domains.eye.networks.landmark_training import relit
from factory.images.png import Grey
from factory.measures.statistics import spread
from factory.networks.estimator_training import OnUpdate, Stop, train_network
from factory.networks.scaling import to_network
from schemas.eye.estimators import GazeBin, GazeErrors, GazeTraining

_BIN_DEG = 10


class Gazing(NamedTuple):
    """Eyes and where they look."""

    images: Grey
    """(N, H, W)"""
    gaze_N3: Gaze  # noqa: N815


def train_gaze(
    training: GazeTraining,
    labelled: Gazing,
    on_update: OnUpdate | None = None,
    stop: Stop[GazeNetwork] | None = None,
) -> GazeNetwork:
    """Train a network with `train_network`.

    The loss is the mean squared Euclidean distance between the output and the unit vector.

    Raises:
        RuntimeError: a loss is not finite.
        ValueError: the images are too small for the network.
    """
    height, width = labelled.images.shape[1:]
    network = GazeNetwork(training.network, image_size=(height, width), seed=training.seed)
    optimiser = torch.optim.Adam(network.parameters(), training.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _lr_factor(training, step))

    def loss_of(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        gaze = torch.from_numpy(labelled.gaze_N3[rows].astype(np.float32))
        images = to_network(labelled.images[rows])
        if training.max_shift_px:
            images = shifted(images, training.max_shift_px, rng)
        if training.augment:
            images = relit(images, rng)
        return torch.as_tensor((network(images) - gaze).square().sum(dim=1).mean())

    return train_network(
        network, training, len(labelled.images), loss_of, schedule, on_update, stop
    )


def _lr_factor(training: GazeTraining, step: int) -> float:
    if training.lr_schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * step / training.steps)) / 2


def shifted(images: Tensor, max_px: int, rng: np.random.Generator) -> Tensor:
    """Shift each image by random whole pixels; what enters repeats the border. The gaze stays the
    same; turning, enlarging or mirroring an image would change it.

    Args:
        images: (N, 1, H, W); the result has the same shape.
        max_px: how far an image is shifted at most, along each axis.
    """
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
    """Errors in ranges of 10 degrees of an angle; ranges without images are left out."""
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
