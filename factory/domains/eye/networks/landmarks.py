"""A small network that finds landmarks of eyes, trained on labelled renders.

Its heatmaps end in a soft argmax, so landmarks are differentiable and finer than a pixel. Training
varies light, contrast, blur and noise, and turns images a little, so that the network depends less
on the renders' look.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.dataset.columns import lists_of
from factory.networks.estimators import load_estimator, require_finite
from factory.networks.scaling import to_network
from schemas.eye.estimators import LandmarkConfig, LandmarkDescription

GROUPS = {"pupil": 1, "iris": 8, "lids": 16}
"""number of landmarks in each group, in the order of the network's output"""
NUM_LANDMARKS = sum(GROUPS.values())


class LandmarkNetwork(nn.Module):
    """(n, C, H, W) float32 in [-1, 1] to (n, 25, 2) float32: x and y in px, (0, 0) in the centre of
    the first pixel. Weights are drawn from `seed` alone."""

    def __init__(
        self,
        config: LandmarkConfig | None = None,
        *,
        seed: int = 0,
        num_landmarks: int = NUM_LANDMARKS,
    ) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        self.config = config = config if config is not None else LandmarkConfig()
        maps = config.maps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(config.channels, maps, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(maps, maps, 3, stride=2, padding=1),
                nn.ReLU(),
                *_dilated(maps, (1, 2, 4, 2)),
                nn.Conv2d(maps, num_landmarks, 1),
            )

    def forward(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        heat = self.layers(images)
        rows, columns = heat.shape[-2:]
        share = heat.flatten(2).softmax(dim=-1).view(n, self.num_landmarks, rows, columns)
        # The cells of stride 2 are centred on every other pixel, starting with the first.
        xs = torch.arange(columns, device=images.device) * (width - 1) / (columns - 1)
        ys = torch.arange(rows, device=images.device) * (height - 1) / (rows - 1)
        x = (share.sum(dim=2) * xs).sum(dim=-1)
        y = (share.sum(dim=3) * ys).sum(dim=-1)
        return torch.stack([x, y], dim=-1)


def _dilated(maps: int, dilations: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for dilation in dilations:
        layers += [nn.Conv2d(maps, maps, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return layers


def landmarks_px(index: pa.Table) -> np.ndarray:
    """The landmarks of an index of eyes in the order of the network: (n, 25, 2) float32, px.

    Raises:
        ValueError: an eye has no landmarks.
    """
    pupil, iris, lids = (
        lists_of(index, name, f"{name} to learn from").reshape(len(index), -1, 2)
        for name in ("pupil_px", "iris_px", "lid_px")
    )
    return np.concatenate([pupil, iris[:, ::4], lids], axis=1).astype(np.float32)


@dataclass(frozen=True)
class LandmarksFound:
    """Landmarks of N eyes, by group."""

    points_NK2: NDArray[np.floating]  # noqa: N815

    @property
    def iris_N2(self) -> NDArray[np.floating]:  # noqa: N802
        """Centre of the iris: the mean of its landmarks."""
        return np.asarray(self.iris_outline_NK2.mean(axis=1))

    @property
    def iris_outline_NK2(self) -> NDArray[np.floating]:  # noqa: N802
        """Its landmarks, evenly spaced around it."""
        first = GROUPS["pupil"]
        return self.points_NK2[:, first : first + GROUPS["iris"]]

    @property
    def lids_NK2(self) -> NDArray[np.floating]:  # noqa: N802
        """In order around the opening."""
        return self.points_NK2[:, -GROUPS["lids"] :]

    @property
    def opening_px2(self) -> NDArray[np.floating]:
        """(N,) area between the lids."""
        x, y = np.moveaxis(self.lids_NK2, -1, 0)
        twice = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
        return np.asarray(np.abs(twice) / 2)

    def inside(self, size: tuple[int, ...]) -> NDArray[np.bool_]:
        """(N, K) which lid landmarks lie inside an image of (H, W)."""
        x, y = np.moveaxis(self.lids_NK2, -1, 0)
        return np.asarray((x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1))


def mean_distance_px(
    here_NK2: NDArray[np.floating], there_NK2: NDArray[np.floating], seen_NK: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Over the points that are seen; NaN where none is."""
    distance = np.hypot(*np.moveaxis(here_NK2 - there_NK2, -1, 0))
    seen = seen_NK.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(seen > 0, (distance * seen_NK).sum(axis=1) / seen, np.nan)


def load_landmarks(location: str | Path) -> tuple[LandmarkNetwork, LandmarkDescription]:
    """Read a network back: `load_estimator` of what `jobs/estimator.py landmarks` has written."""
    return load_estimator(
        location, LandmarkDescription, lambda described: LandmarkNetwork(described.architecture)
    )


_BATCH = 250
"""images in a batch of inference"""


@torch.no_grad()
def found_landmarks_px(network: LandmarkNetwork, images: NDArray[np.uint8]) -> np.ndarray:
    """Landmarks of images (n, H, W) as a network finds them: (n, 25, 2) float32, px.

    Raises:
        ValueError: some of them are not finite.
    """
    parts = [
        network(to_network(images[start : start + _BATCH])).numpy()
        for start in range(0, len(images), _BATCH)
    ]
    points_px = np.concatenate(parts)
    require_finite(points_px, LandmarkDescription)
    return points_px
