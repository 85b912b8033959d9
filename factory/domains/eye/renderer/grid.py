"""Fields: numbers for every pixel of n pictures, such as distances to the lid curves and light.

All fields are float32 and broadcast over (n, h, w).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.scene import Lids, Scenes, View
from factory.domains.eye.renderer.texture import Field


def field(values: npt.ArrayLike) -> Field:
    """The values as float32."""
    return np.asarray(values, np.float32)


def spread(values: npt.ArrayLike) -> Field:
    """Give (n,) numbers the shape (n, 1, 1), which broadcasts over (n, h, w)."""
    return field(values)[:, None, None]


def ramp(values: Field) -> Field:
    """The cover of a shape in [0, 1] from the signed distance to its outline in pixels.

    The distance is positive inside; the cover rises linearly over one pixel.
    """
    return field(np.clip(values + np.float32(0.5), 0, 1))


def bump(distance: Field, width: float) -> Field:
    """exp(-(distance / width)²)."""
    return field(np.exp(-np.square(distance * np.float32(1 / width))))


def step(values: Field) -> Field:
    """A soft step from 0 to 1 around 0: (1 + x / (1 + |x|)) / 2."""
    return field(np.float32(0.5) + np.float32(0.5) * values / (1 + np.abs(values)))


def lit(scenes: Scenes, cosine: Field, wrap: float) -> Field:
    """Ambient and key light on a surface.

    Args:
        cosine: of the angle between the surface's normal and the direction to the key light.
        wrap: how far light reaches around the surface, as an addition to the cosine.
    """
    key = np.maximum(cosine + np.float32(wrap), 0) * spread(scenes.light_intensity / (1 + wrap))
    return field(key + spread(scenes.ambient))


@dataclass(frozen=True)
class Grid:
    """Positions of the pixels in the scene, and the lid curves over them. Millimetres, y up."""

    x: Field
    """(n, 1, w) of each column"""
    y: Field
    """(n, h, 1) of each row"""
    px_per_mm: Field
    """(n, 1, 1)"""
    above: dict[str, Field]
    """(n, 1, w) y of each lid curve in every column"""
    steep: dict[str, Field]
    """(n, 1, w) cosine of each curve's slope, which turns vertical distances into distances from
    the curve"""

    def over(self, name: str) -> Field:
        """(n, h, w) signed distance from a lid curve in mm, positive above it."""
        return field((self.y - self.above[name]) * self.steep[name])

    def box(self, boxes: "Boxes") -> "Grid":
        """The part of the grid that lies in the boxes."""
        rows, cols = boxes.rows, boxes.cols
        each = np.arange(len(rows))[:, None]

        def columns(values: Field) -> Field:
            return field(values[each, 0, cols])[:, None]

        return Grid(
            columns(self.x),
            self.y[each, rows],
            self.px_per_mm,
            {name: columns(values) for name, values in self.above.items()},
            {name: columns(values) for name, values in self.steep.items()},
        )


def grid_of(lids: Lids, view: View) -> Grid:
    """The grid of the pixels of a view."""
    columns = np.arange(view.width)
    above: dict[str, Field] = {}
    steep: dict[str, Field] = {}
    reach = 2 * round(1.5 * view.largest_px_per_mm) + 1
    x = (columns - view.centre_px[:, :1]) / view.px_per_mm[:, None]
    y = (view.centre_px[:, 1:] - np.arange(view.height)) / view.px_per_mm[:, None]
    t = (1 - np.cos(np.linspace(0, np.pi, 48))) / 2
    for name in lids.heights:
        points = lids.curve(name, t)[..., :2]
        # Beyond the corners the two margins cross, so that the opening between them ends there.
        fall = -8.0 if name == "lower" else -60.0
        before, after = points[:, :1] + [[-80.0, fall]], points[:, -1:] + [[80.0, fall]]
        points = np.concatenate([before, points, after], 1)
        rise = np.diff(points, axis=1)
        slope = rise[..., 1] / np.maximum(rise[..., 0], 1e-3)
        middle = (points[:, 1:, 0] + points[:, :-1, 0]) / 2
        heights = [np.interp(x[i], points[i, :, 0], points[i, :, 1]) for i in range(len(x))]
        slopes = [np.interp(x[i], middle[i], np.clip(slope[i], -1.3, 1.3)) for i in range(len(x))]
        level, even = np.array(heights, np.float32), np.array(slopes, np.float32)
        # Folds are smoothed, because their kink at a corner would show as a seam in the skin.
        for _ in range(2 if name in ("crease", "bag") else 0):
            level = cv2.blur(level, (reach, 1), borderType=cv2.BORDER_REPLICATE)
        even = cv2.blur(even, (reach, 1), borderType=cv2.BORDER_REPLICATE)
        above[name] = field(level)[:, None]
        steep[name] = field(1 / np.sqrt(1 + np.square(even)))[:, None]
    return Grid(field(x)[:, None], field(y)[:, :, None], spread(view.px_per_mm), above, steep)


@dataclass(frozen=True)
class Boxes:
    """One box of pixels around each of n eyes. All boxes have one size, h' x w'."""

    rows: npt.NDArray[np.int64]
    """(n, h') numbers of the rows"""
    cols: npt.NDArray[np.int64]
    """(n, w') numbers of the columns"""

    def index(self, channels: int = 0) -> tuple[npt.NDArray[np.int64], ...]:
        """The index that selects the boxes from a (n, h, w) field, or from (n, channels, h, w)."""
        each = np.arange(len(self.rows))[:, None, None]
        rows, cols = self.rows[:, :, None], self.cols[:, None]
        if not channels:
            return each, rows, cols
        return each[..., None], np.arange(channels)[:, None, None], rows[:, None], cols[:, None]


def boxes_of(view: View, height_mm: float, width_mm: float) -> Boxes:
    """Boxes of a given size in mm around the centres of the eyeballs, moved into the picture.

    Their size in pixels is that of the largest possible scale, so it does not depend on which
    scenes are drawn together.
    """
    picture = np.array([view.height, view.width])
    scale = max(view.largest_px_per_mm, float(view.px_per_mm.max()))
    size = np.minimum(np.ceil(np.array([height_mm, width_mm]) * scale).astype(np.int64), picture)
    corner = np.rint(view.centre_px[:, ::-1] - size / 2).astype(np.int64)
    corner = np.clip(corner, 0, picture - size)
    return Boxes(corner[:, :1] + np.arange(size[0]), corner[:, 1:] + np.arange(size[1]))
