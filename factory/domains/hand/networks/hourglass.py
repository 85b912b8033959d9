"""The paper's network that finds the joints of hands: a stacked hourglass of two stacks with
heatmaps of 64 x 64 (Shrivastava et al. 2017, section 3.2; Newell et al. 2016, arXiv:1603.06937).

The layers are those of the code that Newell et al. published (`hg.lua`), with one input map in
place of three and 14 heatmaps in place of 16. There, pictures of 256 x 256 become heatmaps of
64 x 64 by a convolution of stride 2 and one max-pool, and each hourglass halves these four times.
The paper's pictures have 224 x 224, of which the same layers would make 56 x 56, which cannot be
halved four times. So a picture is first brought to 256 x 256, each pixel of which takes the depth
of the nearest one: depths are never blended, and a cell of a heatmap is 3.5 px of the picture wide.

Axes: N pictures of H x H pixels of stored depth (docs/conventions.md), S stacks, k joints,
h x h cells of a heatmap.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from factory.domains.hand.networks.joints import NUM_JOINTS
from schemas.hand.estimators import HourglassConfig

HALVINGS = 4
"""how often an hourglass halves its maps"""
_QUARTER = 0.25
"""cells that a place is moved from the highest cell towards the higher one of its neighbours"""


class StackedHourglass(nn.Module):
    """(N, H, H) float32 of stored depth to (N, S, 14, h, h) float32: the heatmaps of every stack.

    With the defaults of `HourglassConfig` it has 6,562,588 parameters. Depth enters as a number
    from -1 at the cube's front to 1 at its back, where the background is taken to be. Weights are
    drawn from `seed` alone.
    """

    def __init__(self, config: HourglassConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config if config is not None else HourglassConfig()
        maps, stacks = config.maps, range(config.stacks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.begin = nn.Sequential(
                nn.Conv2d(1, maps // 4, 7, stride=2, padding=3),
                *_activation(maps // 4),
                Residual(maps // 4, maps // 2),
                nn.MaxPool2d(2),
                Residual(maps // 2, maps // 2),
                Residual(maps // 2, maps),
            )
            self.hourglasses = nn.ModuleList(
                nn.Sequential(
                    Hourglass(HALVINGS, maps),
                    Residual(maps, maps),
                    nn.Conv2d(maps, maps, 1),
                    *_activation(maps),
                )
                for _ in stacks
            )
            self.heat = nn.ModuleList(nn.Conv2d(maps, NUM_JOINTS, 1) for _ in stacks)
            self.from_maps = nn.ModuleList(nn.Conv2d(maps, maps, 1) for _ in stacks[1:])
            self.from_heat = nn.ModuleList(nn.Conv2d(NUM_JOINTS, maps, 1) for _ in stacks[1:])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, depth_NHH: Tensor) -> Tensor:
        maps = self.begin(self._scaled(depth_NHH))
        heats = []
        for stack, (hourglass, heat) in enumerate(zip(self.hourglasses, self.heat, strict=True)):
            features = hourglass(maps)
            heats.append(heat(features))
            if stack < len(self.from_maps):
                maps = maps + self.from_maps[stack](features) + self.from_heat[stack](heats[-1])
        return torch.stack(heats, dim=1)

    def joints_px(self, depth_NHH: Tensor) -> Tensor:
        """(N, 14, 2) float32: x and y in px, from the heatmaps of the last stack. The depth may lie
        on another device than the network."""
        heat = self(depth_NHH.to(next(self.parameters()).device))[:, -1]
        return peaks_px(heat, depth_NHH.shape[-1])

    def _scaled(self, depth_NHH: Tensor) -> Tensor:
        check_square(*depth_NHH.shape[1:])
        size = (self.config.input_px,) * 2
        depth = functional.interpolate(depth_NHH[:, None], size, mode="nearest-exact")
        scaled = 2 * (depth - 1) / self.config.cube_mm - 1
        scaled = torch.where(depth > 0, scaled, torch.ones_like(scaled))
        return scaled.contiguous(memory_format=torch.channels_last)


class Hourglass(nn.Module):
    """(N, maps, h, h) to the same shape: its halves are taken `halvings` times, one within the
    other, and added to what is kept at each size."""

    def __init__(self, halvings: int, maps: int) -> None:
        super().__init__()
        inner = Hourglass(halvings - 1, maps) if halvings > 1 else Residual(maps, maps)
        self.kept = Residual(maps, maps)
        self.halved = nn.Sequential(
            nn.MaxPool2d(2),
            Residual(maps, maps),
            inner,
            Residual(maps, maps),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )

    def forward(self, maps: Tensor) -> Tensor:
        together: Tensor = self.kept(maps) + self.halved(maps)
        return together


class Residual(nn.Module):
    """A bottleneck of 1 x 1, 3 x 3 and 1 x 1 filters, each after its batch norm and ReLU, which is
    added to its input."""

    def __init__(self, maps_in: int, maps_out: int) -> None:
        super().__init__()
        half = maps_out // 2
        self.change = nn.Sequential(
            *(*_activation(maps_in), nn.Conv2d(maps_in, half, 1)),
            *(*_activation(half), nn.Conv2d(half, half, 3, padding=1)),
            *(*_activation(half), nn.Conv2d(half, maps_out, 1)),
        )
        same = maps_in == maps_out
        self.skip = nn.Identity() if same else nn.Conv2d(maps_in, maps_out, 1)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.skip(maps) + self.change(maps)
        return added


def _activation(maps: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(maps), nn.ReLU()


def check_square(height: int, width: int) -> None:
    """Raises ValueError where a picture is not square."""
    if height != width:
        raise ValueError(f"the stacked hourglass takes square pictures, not {height} x {width} px")


def peaks_px(heat_Nkhh: Tensor, side_px: int) -> Tensor:
    """(N, k, 2) float32: x and y of the highest cell of each heatmap in px, moved by a quarter of a
    cell towards the higher neighbour along each axis (Newell et al. 2016, section 3.3); at the
    border it is not moved. NaN where a heatmap is not finite.

    Args:
        side_px: of the picture.
    """
    cells = heat_Nkhh.shape[-1]
    flat = heat_Nkhh.flatten(2)
    highest = flat.argmax(dim=-1)
    places = torch.stack([highest % cells, highest // cells], dim=-1)  # (N, k, 2): column, row
    inside = ((places > 0) & (places < cells - 1)).all(dim=-1)
    inner = torch.where(inside, highest, torch.full_like(highest, cells + 1))

    def value(step: int) -> Tensor:
        return flat.gather(-1, (inner + step)[..., None])[..., 0]

    slope = torch.stack([value(1) - value(-1), value(cells) - value(-cells)], dim=-1)
    moved = places + _QUARTER * slope.sign() * inside[..., None]
    points_px = (moved + 0.5) * (side_px / cells) - 0.5
    is_finite = flat.isfinite().all(dim=-1, keepdim=True)
    return torch.where(is_finite, points_px, torch.full_like(points_px, torch.nan)).float()


def target_heat(joints_px: Tensor, cells: int, side_px: int) -> Tensor:
    """(N, k, h, h) float32: a Gaussian of height 1 and standard deviation of one cell about each
    joint (N, k, 2), x and y in px. It is about the joint itself, where Newell et al. take the
    nearest cell."""
    cell_xy = (joints_px + 0.5) * (cells / side_px) - 0.5
    away = torch.arange(cells, device=joints_px.device) - cell_xy[..., None]  # (N, k, 2, h)
    along = (-0.5 * away.square()).exp()
    return along[:, :, 1, :, None] * along[:, :, 0, None, :]
