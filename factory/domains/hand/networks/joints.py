"""A small network that finds the joints of hands in depth pictures, trained on labelled renders.

Pictures are reduced before the first convolution, to the mean depth and the share of the hand in
each cell, so that ragged outlines and small holes weigh little. The heatmaps end in a soft argmax,
which is finer than their cells. The network measures what a refined picture still shows. It is much
smaller than the stacked hourglass that the paper scores pictures with (`hourglass.py`).

Axes: N pictures of H x W pixels of stored depth (docs/conventions.md), h x w cells.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.dataset.columns import lists_of
from factory.networks.estimators import load_estimator, require_finite
from schemas.dataset import ImageSpec
from schemas.hand.estimators import JointConfig, JointDescription
from schemas.hand.sample import EVALUATED_JOINTS
from schemas.options import OptionError

NUM_JOINTS = len(EVALUATED_JOINTS)
HALVINGS = 3
"""how often the cells are halved on the way to the coarsest map"""
_BATCH = 64
"""pictures in a batch of inference"""


class JointNetwork(nn.Module):
    """(N, H, W) float32 of stored depth to (N, 14, 2) float32: x and y in px, (0, 0) in the centre
    of the first pixel. Weights are drawn from `seed` alone."""

    def __init__(self, config: JointConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config if config is not None else JointConfig()
        a, b, c, d = (config.maps * width for width in (1, 2, 3, 4))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fine = nn.Sequential(*_layer(2, a, 5))
            self.mid = nn.Sequential(nn.MaxPool2d(2), *_layer(a, b), *_layer(b, b))
            self.low = nn.Sequential(nn.MaxPool2d(2), *_layer(b, c), *_layer(c, c))
            self.lowest = nn.Sequential(nn.MaxPool2d(2), *_layer(c, d), *_layer(d, d, 5))
            self.widen_low, self.join_low = _up(d, c)
            self.widen_mid, self.join_mid = _up(c, b)
            self.heat = nn.Conv2d(b, NUM_JOINTS, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, depth_NHW: Tensor) -> Tensor:
        height, width = depth_NHW.shape[1:]
        cell = self.config.reduce
        check_size(height, width, cell)
        cells = reduced(depth_NHW, cell, self.config.cube_mm)
        mid = self.mid(self.fine(cells.contiguous(memory_format=torch.channels_last)))
        low = self.low(mid)
        lowest = self.lowest(low)
        low = self.join_low(low + self.widen_low(lowest))
        heat = self.heat(self.join_mid(mid + self.widen_mid(low)))
        return soft_argmax_px(heat, 2 * cell)


def _layer(maps_in: int, maps_out: int, kernel: int = 3) -> list[nn.Module]:
    convolution = nn.Conv2d(maps_in, maps_out, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(maps_out), nn.ReLU()]


def _up(maps_in: int, maps_out: int) -> tuple[nn.Module, nn.Module]:
    """The layers that double the cells of a coarser map, and those after adding the finer map."""
    widen = nn.Sequential(
        nn.Conv2d(maps_in, maps_out, 1), nn.Upsample(scale_factor=2, mode="bilinear")
    )
    return widen, nn.Sequential(*_layer(maps_out, maps_out))


def check_size(height: int, width: int, cell: int) -> None:
    """Raises OptionError where cells do not fill a picture, down to the coarsest."""
    coarsest = cell * 2**HALVINGS
    if height % coarsest or width % coarsest:
        raise OptionError(
            f"pictures of {height} x {width} px are no multiple of {coarsest} px, as cells of "
            f"{cell} px that are halved {HALVINGS} times need; choose another --reduce"
        )


def reduced(depth_NHW: Tensor, cell: int, cube_mm: int) -> Tensor:
    """Reduce stored depth to cells: (N, 2, H / cell, W / cell) in [-1, 1].

    First the mean depth of a cell's hand pixels, from -1 at the cube's front to 1 at its back, and
    0 where there are none; then the share of hand pixels, from -1 (none) to 1 (all). The
    background, stored as 0, is in no mean.
    """
    total = _summed(depth_NHW, cell)
    count = _summed((depth_NHW > 0).to(depth_NHW.dtype), cell)
    mean = 2 * (total / count.clamp(min=1) - 1) / cube_mm - 1
    mean = torch.where(count > 0, mean, torch.zeros_like(mean))
    return torch.stack([mean, 2 * count / cell**2 - 1], dim=1)


def _summed(values_NHW: Tensor, cell: int) -> Tensor:
    """Sums over cells, along columns first, which reads memory in order."""
    n, height, width = values_NHW.shape
    rows = values_NHW.reshape(n, height // cell, cell, width).sum(dim=2)
    return rows.reshape(n, height // cell, width // cell, cell).sum(dim=3)


def soft_argmax_px(heat_Nkhw: Tensor, cell: int) -> Tensor:
    """(N, k, 2) float32: the mean position, x and y in px, under the softmax of each heatmap."""
    rows, columns = heat_Nkhw.shape[2:]
    share = heat_Nkhw.flatten(2).softmax(dim=-1).view(heat_Nkhw.shape)
    xs, ys = (
        (torch.arange(count, device=heat_Nkhw.device) + 0.5) * cell - 0.5
        for count in (columns, rows)
    )
    x, y = (share.sum(dim=2) * xs).sum(dim=-1), (share.sum(dim=3) * ys).sum(dim=-1)
    return torch.stack([x, y], dim=-1)


@torch.no_grad()
def found_joints_px(
    network: Callable[[Tensor], Tensor], images_NHW: NDArray[np.uint16]
) -> NDArray[np.float32]:
    """The 14 evaluated joints as a network finds them, hidden ones too.

    Args:
        network: gives what `JointNetwork` does.
        images_NHW: depth as stored.

    Returns:
        (N, 14, 2) x and y in px; NaN for pictures without a single pixel of a hand.

    Raises:
        ValueError: the pictures have not 16 bits, or a size that the network cannot take; or it
            gives values that are not finite.
    """
    if images_NHW.dtype != np.uint16:
        raise ValueError(f"joints are found in 16-bit depth pictures, not in {images_NHW.dtype}")
    parts = [np.empty((0, NUM_JOINTS, 2), np.float32)]
    for start in range(0, len(images_NHW), _BATCH):
        depth = as_depth(images_NHW[start : start + _BATCH])
        parts.append(network(depth).cpu().numpy())
    joints_px = np.concatenate(parts)
    require_finite(joints_px, JointDescription)
    joints_px[~images_NHW.any(axis=(1, 2))] = np.nan
    return joints_px


def as_depth(images_NHW: NDArray[np.uint16]) -> Tensor:
    """Stored depth as a float32 tensor."""
    return torch.from_numpy(images_NHW.astype(np.float32))


def joints_px_of(index: pa.Table, image: ImageSpec) -> NDArray[np.float32]:
    """Labels of an index of hands: (N, 14, 2) x and y in px; NaN for joints outside the picture.

    Raises:
        ValueError: a hand lacks them.
    """
    return inside_or_nan(labelled_joints_px(index), image.height, image.width)


def labelled_joints_px(index: pa.Table) -> NDArray[np.float32]:
    """Labels of an index of hands: (N, 14, 2) x and y in px, those outside the picture too.

    Raises:
        ValueError: a hand lacks them.
    """
    uvd = lists_of(index, "joints14_uvd", "joints14_uvd to learn from")
    return np.asarray(uvd[..., :2], np.float32)


def inside_or_nan(joints_px: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Joints (..., 2), x and y in px; NaN for those on no pixel of the picture."""
    inside = (joints_px >= -0.5) & (joints_px <= np.array([width, height]) - 0.5)
    return np.where(inside.all(axis=-1, keepdims=True), joints_px, np.float32(np.nan))


def load_joints(location: str | Path) -> tuple[JointNetwork, JointDescription]:
    """Read a network back: `load_estimator` of what `jobs/estimator.py joints` has written."""
    return load_estimator(
        location, JointDescription, lambda described: JointNetwork(described.architecture)
    )
