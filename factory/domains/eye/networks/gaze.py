"""The paper's network that estimates gaze from an eye (Shrivastava et al. 2017, appendix).

Gaze is a unit vector in the camera frame of docs/conventions.md. Axes: N images of H x W pixels.
"""

from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.dataset.columns import lists_of
from factory.networks.estimators import load_estimator, require_finite
from factory.networks.scaling import to_network
from schemas.eye.estimators import GazeConfig, GazeDescription

Gaze = NDArray[np.float64]
"""(N, 3) unit vectors"""


class GazeNetwork(nn.Module):
    """(N, 1, H, W) float32 in [-1, 1] to (N, 3) float32: gaze, not yet of length 1.

    The paper lists FC9600 after the second max-pool. Its convolutions are read as unpadded, so
    that a 35 x 55 eye becomes a map of 192 x 5 x 10 = 9,600 numbers: FC9600 is this map laid flat,
    and FC1000, with 9.6 M weights, is the first layer that is fully connected. ReLUs follow all
    layers but the last; the paper does not name them. Weights are drawn from `seed` alone.
    """

    def __init__(
        self,
        config: GazeConfig | None = None,
        *,
        image_size: tuple[int, int] = (35, 55),
        seed: int = 0,
    ) -> None:
        """
        Args:
            image_size: (H, W).

        Raises:
            ValueError: the image is too small for the convolutions.
        """
        super().__init__()
        self.config = config = config if config is not None else GazeConfig()
        self.image_size = image_size
        a, b, c, d, e = config.maps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                *(nn.Conv2d(1, a, 3), nn.ReLU()),
                *(nn.Conv2d(a, b, 3), nn.ReLU()),
                *(nn.Conv2d(b, c, 3), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
                *(nn.Conv2d(c, d, 3), nn.ReLU()),
                *(nn.Conv2d(d, e, 3), nn.ReLU(), nn.MaxPool2d(2, stride=2)),
                nn.Flatten(),
                *(nn.Linear(e * prod(map_size(*image_size)), config.hidden), nn.ReLU()),
                nn.Linear(config.hidden, 3),
            )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != (1, *self.image_size):
            raise ValueError(
                f"this gaze network takes grey images of {self.image_size}, "
                f"not (C, H, W) = {tuple(images.shape[1:])}"
            )
        gaze: Tensor = self.layers(images)
        return gaze


def map_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) of the map that the convolutions leave of an image: (5, 10) of 35 x 55.

    Raises:
        ValueError: the map would be empty.
    """
    h, w = (((side - 6 - 1) // 2 - 4) // 2 for side in (height, width))
    if min(h, w) < 1:
        raise ValueError(
            f"images of {height} x {width} pixels leave the gaze network an empty map; "
            "the smallest image is 19 x 19"
        )
    return h, w


def gaze_of(index: pa.Table) -> Gaze:
    """The gaze of an index of eyes: (N, 3) unit vectors.

    Raises:
        ValueError: an eye has no gaze.
    """
    return unit(lists_of(index, "gaze", "gaze to learn from"))


def unit(vectors_N3: NDArray[np.floating]) -> Gaze:
    """Vectors of the same directions and length 1; NaN for vectors of length 0."""
    vectors = np.asarray(vectors_N3, np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out = np.full_like(vectors, np.nan)
    np.divide(vectors, length, out=out, where=length > 0)
    return out


def angle_deg(a_N3: NDArray[np.floating], b_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) angles in [0, 180] between vectors of any length; NaN where one has length 0.

    By the half angle's tangent (Kahan 2006, "How Futile are Mindless Assessments of Roundoff",
    section 12), which is accurate near 0 and 180 degrees, where the arc cosine is not.
    """
    a, b = unit(a_N3), unit(b_N3)
    difference, total = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.asarray(np.degrees(2 * np.arctan2(difference, total)))


def yaw_pitch_deg(gaze_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 2): yaw and pitch as docs/conventions.md defines them."""
    x, y, z = unit(gaze_N3).T
    yaw, pitch = np.arctan2(-x, -z), np.arcsin(np.clip(-y, -1.0, 1.0))
    return np.asarray(np.degrees(np.stack([yaw, pitch], axis=1)))


def load_gaze(location: str | Path) -> tuple[GazeNetwork, GazeDescription]:
    """Read a network back: `load_estimator` of what `jobs/estimator.py gaze` has written."""
    return load_estimator(location, GazeDescription, _untrained)


def _untrained(described: GazeDescription) -> GazeNetwork:
    size = described.image.height, described.image.width
    return GazeNetwork(described.architecture, image_size=size)


_BATCH = 64
"""images in a batch of inference"""


@torch.no_grad()
def found_gaze_N3(network: GazeNetwork, images: NDArray[np.uint8]) -> Gaze:  # noqa: N802
    """Gaze of images (N, H, W) as a network estimates it.

    Raises:
        ValueError: the network gives values that are not finite.
    """
    parts = [
        network(to_network(images[start : start + _BATCH])).numpy()
        for start in range(0, len(images), _BATCH)
    ]
    gaze_N3 = np.concatenate([np.empty((0, 3), np.float32), *parts])
    require_finite(gaze_N3, GazeDescription)
    return unit(gaze_N3)
