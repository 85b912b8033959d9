"""An ellipse as the image of a circle, and its fit to an edge by iterated weighted least squares.

The ellipse is `c + M u(t)` with `u` the unit circle and `M = [[r + e1, e2], [e2, r - e1]]`: the
semi-axes are `r ± |e|`, and a step of all five numbers moves a point along its normal linearly.

Legend of shapes: P points on the ellipse, S steps along the normal.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.measures.registration import rank_gradient

Floats = NDArray[np.float32]

NUM_POINTS = 48
_ANGLES = (np.arange(NUM_POINTS, dtype=np.float32) + 0.5) * np.float32(2 * np.pi / NUM_POINTS)
_UNIT_P2 = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)
_HALF_STRENGTH = np.float32(100.0)
"""gradient that counts half, in ranks of 255 per px"""
_STEPS = np.arange(-4.0, 4.01, 0.5, dtype=np.float32)


@dataclass(frozen=True)
class Ellipse:
    """Centre (x, y), mean semi-axis and elongation, all in px."""

    x: float
    y: float
    r: float
    e1: float = 0.0
    e2: float = 0.0

    @property
    def elongation(self) -> float:
        """half the difference of the semi-axes, px"""
        return float(np.hypot(self.e1, self.e2))

    @property
    def axes_px(self) -> tuple[float, float]:
        """Semi-axes (major, minor)."""
        return self.r + self.elongation, self.r - self.elongation

    @property
    def angle_rad(self) -> float:
        """Direction of the major axis from x towards y (down), in (-pi/2, pi/2]."""
        return 0.5 * float(np.arctan2(self.e2, self.e1))

    def _matrix(self) -> Floats:
        return np.array([[self.r + self.e1, self.e2], [self.e2, self.r - self.e1]], np.float32)

    def outline(self) -> tuple[Floats, Floats]:
        """Points (P, 2) in px, and outward unit normals (P, 2)."""
        matrix = self._matrix()
        normals = _UNIT_P2 @ np.linalg.inv(matrix)
        normals /= np.sqrt((normals * normals).sum(axis=1, keepdims=True))
        return _UNIT_P2 @ matrix + np.array([self.x, self.y], np.float32), normals

    def moved(self, step: NDArray[np.float64]) -> "Ellipse":
        """The ellipse after a step (dx, dy, dr, de1, de2)."""
        return Ellipse(*(float(a + b) for a, b in zip(self.numbers, step, strict=True)))

    @property
    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.x, self.y, self.r, self.e1, self.e2


@dataclass(frozen=True)
class Edge:
    """What lies along the normals of an ellipse: inputs of one step, and of the verdict."""

    normals_P2: Floats  # noqa: N815
    profile_PS: Floats  # noqa: N815
    """edge strength at `steps_S` px outside the ellipse"""
    steps_S: Floats  # noqa: N815


def edge_along(field_HW2: Floats, ellipse: Ellipse) -> Edge:
    """Sample the edge field along the normals of an ellipse.

    Args:
        field_HW2: see `edge_field`.
    """
    points, normals = ellipse.outline()
    at = points[:, None, :] + _STEPS[None, :, None] * normals[:, None, :]
    sampled = cv2.remap(
        field_HW2, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    profile = strength(sampled, normals[:, None, 0], normals[:, None, 1])
    return Edge(normals, profile, _STEPS)


def edge_field(image_HW: NDArray[np.uint8], sigma_px: float) -> Floats:
    """Direction and strength of the borders from a dark to a bright region.

    The histogram is equalised first, so gamma, contrast and brightness change next to nothing.
    The strength is (g / (g + 100))^3: the limbus is the steepest border around, yet no glint can
    outvote an arc. It is multiplied by the brightness 2 px up the slope, where the sclera is
    brighter than lids or the inner parts of an iris. It is relative to the picture: 3 % of all
    pixels have a strength above 1.

    Returns:
        (H, W, 2) float32 vectors towards brighter, whose length to the sixth power is the strength.
    """
    smooth, gx, gy = rank_gradient(image_HW, sigma_px)
    size = np.sqrt(gx * gx + gy * gy) + np.float32(1e-6)
    ux, uy = gx / size, gy / size
    y, x = np.mgrid[: size.shape[0], : size.shape[1]].astype(np.float32)
    up = cv2.remap(
        smooth, x + 2 * ux, y + 2 * uy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    length = np.sqrt(size / (size + _HALF_STRENGTH)) * (up / 255) ** (1 / 6)
    length /= np.partition(length.ravel(), _strong(length.size))[_strong(length.size)] + 1e-6
    return np.dstack([ux * length, uy * length])


def _strong(num: int) -> int:
    """Which of `num` strengths in order 3 % exceed."""
    return int(0.97 * num)


def strength(field: Floats, nx: Floats, ny: Floats) -> Floats:
    """How much of an edge, dark inside and bright outside, faces along (nx, ny): 0 or more.

    The sixth power of the cosine tells an arc from a lid that crosses it.
    """
    along = np.maximum(field[..., 0] * nx + field[..., 1] * ny, 0)
    squared = along * along
    return np.asarray(squared * squared * squared, np.float32)


def design(normals_P2: Floats) -> NDArray[np.float64]:
    """(P, 5): how far each point moves outward per unit of (x, y, r, e1, e2)."""
    ux, uy = _UNIT_P2[:, 0], _UNIT_P2[:, 1]
    nx, ny = normals_P2[:, 0], normals_P2[:, 1]
    columns = [nx, ny, nx * ux + ny * uy, nx * ux - ny * uy, nx * uy + ny * ux]
    return np.stack(columns, axis=1).astype(np.float64)
