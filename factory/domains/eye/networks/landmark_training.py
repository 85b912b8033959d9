"""Training of a landmark network on labelled renders, and how good it is on others."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from factory.domains.eye.networks.landmarks import GROUPS, LandmarkNetwork
from factory.images.png import Grey
from factory.networks.estimator_training import OnUpdate, Stop, train_network
from factory.networks.scaling import to_network
from schemas.eye.estimators import LandmarkConfig, LandmarkTraining


class Labelled(NamedTuple):
    """Eyes and their landmarks."""

    images: Grey
    """(n, H, W)"""
    landmarks_px: NDArray[np.float32]
    """(n, 25, 2), see `factory.domains.eye.networks.landmarks.landmarks_px`"""


def train_landmarks(
    training: LandmarkTraining,
    labelled: Labelled,
    on_update: OnUpdate | None = None,
    *,
    stop: Stop[LandmarkNetwork] | None = None,
    augment: bool = True,
) -> LandmarkNetwork:
    """Train a network with `train_network`; losses are in px.

    The network has as many landmarks as the labels.

    Raises:
        RuntimeError: a loss is not finite.
    """
    config, num_landmarks = LandmarkConfig(maps=training.maps), labelled.landmarks_px.shape[1]
    network = LandmarkNetwork(config, seed=training.seed, num_landmarks=num_landmarks)
    optimiser = torch.optim.Adam(network.parameters(), training.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)

    def loss_of(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        points = torch.from_numpy(labelled.landmarks_px[rows])
        images = to_network(labelled.images[rows])
        if augment:
            images, points = augmented(images, points, rng)
        return functional.smooth_l1_loss(network(images), points)

    return train_network(
        network, training, len(labelled.images), loss_of, schedule, on_update, stop
    )


def augmented(images: Tensor, points: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Vary the look of images and turn, scale and shift them a little, with their points.

    Args:
        images: (n, C, H, W) in [-1, 1].
        points: (n, k, 2), x and y in px.
    """
    n, _, height, width = images.shape
    turn, zoom = rng.uniform(-0.12, 0.12, n), rng.uniform(0.9, 1.1, n)
    shift = rng.uniform(-0.06, 0.06, (n, 2)) * width
    # Where a pixel of the new image lies in the old one: centre + M (p - centre - shift).
    cos, sin = np.cos(turn) * zoom, np.sin(turn) * zoom
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    size, centre = np.array([width, height]), np.array([width - 1, height - 1]) / 2
    scale = size[None, None, :] / size[None, :, None]
    offset = -2 * np.einsum("nij,nj->ni", matrix, shift) / size
    theta = np.concatenate([matrix * scale, offset[:, :, None]], axis=2)
    grid = functional.affine_grid(_single(theta), list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, "bilinear", "border", align_corners=False)
    middle = _single(centre)
    back = _single(np.linalg.inv(matrix))
    points = torch.einsum("nij,nkj->nki", back, points - middle) + middle + _single(shift)[:, None]
    return relit(images, rng), points


def relit(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary gamma, contrast, brightness, a gradient of light, blur and noise; nothing moves.

    Args:
        images: (n, C, H, W) in [-1, 1].
    """
    n, channels, height, width = images.shape

    def each(low: float, high: float) -> Tensor:
        return _single(rng.uniform(low, high, (n, 1, 1, 1)))

    light = (images.clamp(-1, 1) + 1) / 2
    light = light ** each(-0.7, 0.7).exp()
    xs, ys = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)[:, None]
    light = light * (1 + each(-0.4, 0.4) * xs + each(-0.4, 0.4) * ys)
    values = each(0.5, 1.4) * (2 * light - 1) + each(-0.3, 0.3)
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (kernel[:, None] * kernel).expand(channels, 1, 3, 3)
    padded = functional.pad(values, (1, 1, 1, 1), "replicate")
    blurred = functional.conv2d(padded, kernel, groups=channels)
    values = values + each(0.0, 1.0) * (blurred - values)
    noise = _single(rng.standard_normal(values.shape, np.float32))
    return (values + each(0.0, 0.12) * noise).clamp(-1, 1)


def _single(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def median_error_px(found_px: np.ndarray, labelled: Labelled) -> dict[str, float]:
    """Median distance of found landmarks (n, 25, 2) from the labels, by group, over the landmarks
    inside the image; NaN for a group without any."""
    distance = np.hypot(*np.moveaxis(found_px - labelled.landmarks_px, -1, 0))
    height, width = labelled.images.shape[-2:]
    x, y = np.moveaxis(labelled.landmarks_px, -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    errors, first = {}, 0
    for name, count in GROUPS.items():
        group = slice(first, first + count)
        first += count
        known = distance[:, group][inside[:, group]]
        errors[name] = float(np.median(known)) if len(known) else math.nan
    return errors
