"""Ellipses as projections of circles, and the edges along their outlines.

An ellipse is `c + M u(t)`, where `u` is the unit circle and `M = [[r + e1, e2], [e2, r - e1]]`. Its
semi-axes are `r ± |e|`, and its points move along their normals linearly with the five numbers
(x, y, r, e1, e2), which suits a fit by least squares.

Axes in names: P points on the ellipse, S steps along a normal, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.measures.registration import rank_gradient

Floats = NDArray[np.float32]

NUM_POINTS = 48
_ANGLES = (np.arange(NUM_POINTS, dtype=np.float32) + 0.5) * np.float32(2 * np.pi / NUM_POINTS)
_UNIT_P2 = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)
_HALF_STRENGTH = np.float32(100.0)
"""the gradient whose strength is half of the greatest possible one, in ranks (0 to 255) per px"""
_STEPS = np.arange(-4.0, 4.01, 0.5, dtype=np.float32)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse by its five numbers, all in px."""

    x: float
    y: float
    """of the centre"""
    r: float
    """the mean of the two semi-axes"""
    e1: float = 0.0
    e2: float = 0.0
    """the elongation: along the x axis, and along the diagonal"""

    @property
    def elongation(self) -> float:
        """Half the difference of the semi-axes, px."""
        return float(np.hypot(self.e1, self.e2))

    @property
    def axes_px(self) -> tuple[float, float]:
        """Semi-axes (major, minor)."""
        return self.r + self.elongation, self.r - self.elongation

    @property
    def angle_rad(self) -> float:
        """Direction of the major axis from x towards y (down), in (-pi/2, pi/2]."""
        return 0.5 * float(np.arctan2(self.e2, self.e1))

    def outline(self) -> tuple[Floats, Floats]:
        """(P, 2) points in px, and (P, 2) unit normals that point outwards."""
        matrix = np.array([[self.r + self.e1, self.e2], [self.e2, self.r - self.e1]], np.float32)
        normals = _UNIT_P2 @ np.linalg.inv(matrix)
        normals /= np.sqrt((normals * normals).sum(axis=1, keepdims=True))
        return _UNIT_P2 @ matrix + np.array([self.x, self.y], np.float32), normals

    def moved(self, step: NDArray[np.float64]) -> "Ellipse":
        """The ellipse after a step (dx, dy, dr, de1, de2)."""
        return Ellipse(*(float(a + b) for a, b in zip(self.numbers, step, strict=True)))

    @property
    def numbers(self) -> tuple[float, float, float, float, float]:
        """(x, y, r, e1, e2)."""
        return self.x, self.y, self.r, self.e1, self.e2


@dataclass(frozen=True)
class Edge:
    """The strength of edges along the normals of an ellipse."""

    normals_P2: Floats  # noqa: N815
    """unit normals that point outwards"""
    profile_PS: Floats  # noqa: N815
    """edge strength at each step of each normal, 0 or larger"""
    steps_S: Floats  # noqa: N815
    """distance of each step from the outline in px, negative inside"""


def edge_along(field_HW2: Floats, ellipse: Ellipse) -> Edge:
    """Sample the edge field along the normals of an ellipse.

    Args:
        field_HW2: see `edge_field`.
    """
    import cv2

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
    The strength is (g / (g + 100))³ of the gradient g, which is bounded, so that a reflection
    cannot outweigh an arc of the limbus. It is multiplied by the brightness 2 px up the slope,
    because the sclera is brighter than lids or the inner parts of an iris. It is scaled such that
    3 % of the image's pixels have a strength above 1.

    Args:
        image_HW: (H, W) uint8.
        sigma_px: standard deviation of the smoothing.

    Returns:
        (H, W, 2) float32 vectors (x, y) towards the brighter side. The sixth power of their length
        is the strength.
    """
    import cv2

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
    """The rank, among `num` sorted strengths, of the one that 3 % of them exceed."""
    return int(0.97 * num)


def strength(field: Floats, nx: Floats, ny: Floats) -> Floats:
    """The strength, 0 or larger, of edges that get brighter along the direction (nx, ny).

    It falls with the sixth power of the cosine between the two directions, so that a lid which
    crosses an arc adds little to it.

    Args:
        field: (..., 2), see `edge_field`.
        nx, ny: unit vectors that broadcast over it.
    """
    along = np.maximum(field[..., 0] * nx + field[..., 1] * ny, 0)
    squared = along * along
    return np.asarray(squared * squared * squared, np.float32)


def design(normals_P2: Floats) -> NDArray[np.float64]:
    """(P, 5) by how many px each point moves along its normal per unit of (x, y, r, e1, e2)."""
    ux, uy = _UNIT_P2[:, 0], _UNIT_P2[:, 1]
    nx, ny = normals_P2[:, 0], normals_P2[:, 1]
    columns = [nx, ny, nx * ux + ny * uy, nx * ux - ny * uy, nx * uy + ny * ux]
    return np.stack(columns, axis=1).astype(np.float64)
