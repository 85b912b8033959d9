"""Where the centre of the iris is, measured in the picture alone.

At 35x55 the pupil can rarely be told from the iris, so the circle measured is the limbus, the
border of iris and sclera, of which the lids usually leave the left and the right arc.

Legend of shapes: C candidate centres, A angles, R radii, K ellipse shapes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.labels.ellipse import Edge, Ellipse, design, edge_along, edge_field, strength
from schemas.base import Model

CIRCLE: Literal["iris", "pupil"] = "iris"
Floats = NDArray[np.float32]
Reason = Literal["flat", "no_iris", "border", "arc", "ambiguous", "uncertain", "unstable"]
"""`flat`: hardly any contrast; `no_iris`: no candidate in the window; `border`: the best one lies
outside the window; `arc`: too little of the left or right arc is seen; `ambiguous`: another
candidate is as good; `uncertain`: the arc seen does not fix the centre; `unstable`: a second
look at the same picture says otherwise"""

NUM_ANGLES = 40
STEP_PX = 0.5


@dataclass(frozen=True)
class PupilFit:
    """The ellipse found."""

    center_px: tuple[float, float]
    axes_px: tuple[float, float]
    """semi-axes (major, minor)"""
    angle_rad: float
    """direction of the major axis from x towards y (down)"""
    support: float
    """share of the left and right arcs that lie on an edge, the worse of the two"""
    contrast: float
    """mean edge strength on the outline, in [0, 1]"""
    sd_px: float
    """predicted standard deviation of the centre, from the fit"""


@dataclass(frozen=True)
class Abstained:
    """No answer, and why."""

    reason: Reason


class PupilFinder(Model):
    """Finds the iris in a window; holds nothing between calls."""

    window_radius_px: float = Field(default=6.0, ge=6.0)
    """half width of the square in which the centre may be; every place in it is as likely"""
    eye_width_px: float = Field(default=40.0, gt=8.0)
    """nominal distance of the eye corners, a constant of the dataset: bounds the radius"""
    min_radius: float = Field(default=0.19, gt=0.0)
    """smallest mean semi-axis, as a share of the eye width"""
    max_radius: float = Field(default=0.34, gt=0.0)
    """largest mean semi-axis, as a share of the eye width"""
    blur_px: float = Field(default=1.0, gt=0.0)
    """sigma of the smoothing before the gradient"""
    half_strength: float = Field(default=12.0, gt=0.0)
    """gradient, in ranks of 255 per px, that counts half"""
    elongation_sd: float = Field(default=0.06, gt=0.0)
    """spread expected of the elongation, as a share of the radius"""
    min_support: float = Field(default=0.5, ge=0.0, le=1.0)
    max_sd_px: float = Field(default=50.0, gt=0.0)
    max_rival: float = Field(default=0.9, gt=0.0)
    """how good a rival elsewhere may be, relative to the best"""
    rival_distance_px: float = Field(default=1.5, gt=0.0)
    num_starts: int = Field(default=3, ge=1)
    """candidates that are refined"""

    def find(
        self, image_HW: NDArray[np.uint8], window_px: tuple[float, float]
    ) -> "PupilFit | Abstained":
        """The iris whose centre lies in the window.

        Args:
            image_HW: (H, W) uint8 grey.
            window_px: (x, y) of the window's centre; used for nothing else.

        Raises:
            ValueError: not a grey uint8 picture, or the window is not finite.
        """
        if image_HW.ndim != 2 or image_HW.dtype != np.uint8:
            raise ValueError(f"expected (H, W) uint8, found {image_HW.shape} {image_HW.dtype}")
        if not np.isfinite(window_px).all():
            raise ValueError(f"the window's centre must be finite, is {window_px}")
        if np.subtract(*np.percentile(image_HW, (95, 5))) < 8:
            return Abstained("flat")
        field = edge_field(image_HW, self.blur_px, self.half_strength)
        starts = self._candidates(field, window_px)
        if not starts:
            return Abstained("no_iris")
        fits = [self._refined(field, start) for start in starts]
        fits.sort(key=lambda fit: -fit.score)
        return self._verdict(fits, window_px)

    # --- candidates -----------------------------------------------------------------------------

    @cached_property
    def _search(self) -> "_Search":
        return _Search(
            self.window_radius_px,
            self.min_radius * self.eye_width_px,
            self.max_radius * self.eye_width_px,
        )

    def _candidates(self, field_HW2: Floats, window_px: tuple[float, float]) -> list[Ellipse]:
        return self._search.best(field_HW2, window_px, self.num_starts)

    # --- fit ------------------------------------------------------------------------------------

    def _refined(self, field_HW2: Floats, start: Ellipse) -> "_Fit":
        ellipse = start
        for reach_px in (2.0, 1.5, 1.2, 1.0, 1.0, 1.0):
            edge = edge_along(field_HW2, ellipse)
            step, sd = self._step(edge, ellipse, reach_px)
            ellipse = ellipse.moved(step)
            if not self._plausible(ellipse):
                return _Fit(start, edge, 0.0, np.inf)
        edge = edge_along(field_HW2, ellipse)
        return _Fit(ellipse, edge, _score(edge), sd)

    def _step(
        self, edge: Edge, ellipse: Ellipse, reach_px: float
    ) -> tuple[NDArray[np.float64], float]:
        """One Gauss-Newton step towards the edges within reach, and the centre's predicted sd."""
        near = edge.profile_PS * np.exp(-0.5 * (edge.steps_S / reach_px) ** 2)
        weight = near.sum(axis=1).astype(np.float64) + 1e-9
        offset = (near * edge.steps_S).sum(axis=1) / weight
        columns = design(edge.normals_P2)
        normal = columns.T @ (columns * weight[:, None])
        right = columns.T @ (weight * offset)
        stiffness = weight.mean() * 4 / (self.elongation_sd * ellipse.r) ** 2
        normal[3, 3] += stiffness
        normal[4, 4] += stiffness
        right[3] -= stiffness * ellipse.e1
        right[4] -= stiffness * ellipse.e2
        normal[np.diag_indices(5)] += 1e-6
        inverse = np.linalg.inv(normal)
        spread = (weight * (near * (edge.steps_S - offset[:, None]) ** 2).sum(axis=1)).sum()
        variance = spread / max(float((weight * weight).sum()), 1e-12)
        sd = float(np.sqrt(variance * (inverse[0, 0] + inverse[1, 1]) * weight.mean() * 4))
        return inverse @ right * 1.3, sd

    def _plausible(self, ellipse: Ellipse) -> bool:
        low, high = self.min_radius * self.eye_width_px, self.max_radius * self.eye_width_px
        return low * 0.85 <= ellipse.r <= high * 1.1 and ellipse.elongation < 0.45 * ellipse.r

    # --- verdict --------------------------------------------------------------------------------

    def _verdict(
        self, fits: "list[_Fit]", window_px: tuple[float, float]
    ) -> "PupilFit | Abstained":
        best = fits[0]
        if best.score <= 0:
            return Abstained("no_iris")
        offset = np.abs(np.array([best.ellipse.x, best.ellipse.y]) - np.array(window_px))
        if offset.max() > self.window_radius_px:
            return Abstained("border")
        support = _support(best.edge)
        if support < self.min_support:
            return Abstained("arc")
        for rival in fits[1:]:
            apart = np.hypot(rival.ellipse.x - best.ellipse.x, rival.ellipse.y - best.ellipse.y)
            if apart > self.rival_distance_px and rival.score > self.max_rival * best.score:
                return Abstained("ambiguous")
        if best.sd_px > self.max_sd_px:
            return Abstained("uncertain")
        return PupilFit(
            center_px=(best.ellipse.x, best.ellipse.y),
            axes_px=best.ellipse.axes_px,
            angle_rad=best.ellipse.angle_rad,
            support=support,
            contrast=float(best.edge.profile_PS[:, _MIDDLE].mean()),
            sd_px=best.sd_px,
        )


@dataclass(frozen=True)
class _Fit:
    ellipse: Ellipse
    edge: Edge
    score: float
    sd_px: float


_MIDDLE = 8


def _sides(normals_P2: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Points of the left and of the right arc, within 45 degrees of the horizontal."""
    return normals_P2[:, 0] < -0.7, normals_P2[:, 0] > 0.7


def _on_outline(edge: Edge) -> Floats:
    """(P,) edge strength within a pixel of the outline."""
    return np.asarray(edge.profile_PS[:, _MIDDLE - 1 : _MIDDLE + 2].max(axis=1), np.float32)


def _support(edge: Edge) -> float:
    found = _on_outline(edge) > 0.3
    left, right = _sides(edge.normals_P2)
    return float(min(found[left].mean(), found[right].mean()))


def _score(edge: Edge) -> float:
    on = _on_outline(edge)
    left, right = _sides(edge.normals_P2)
    both = float(np.sqrt(on[left].mean() * on[right].mean()))
    return both + 0.3 * float(on[~(left | right)].mean())


class _Search:
    """Scores every centre, radius and shape of a coarse grid by matrix products."""

    def __init__(self, window_radius_px: float, min_radius_px: float, max_radius_px: float):
        reach = int(np.ceil(window_radius_px))
        offsets = np.arange(-reach, reach + 1, dtype=np.float32)
        offsets = offsets * np.float32(window_radius_px / reach)
        self.size = len(offsets)
        self.step_px = float(offsets[1] - offsets[0])
        self.centers_C2 = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
        angle = (np.arange(NUM_ANGLES) + 0.5) * 2 * np.pi / NUM_ANGLES
        self.normals_A2 = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        radii = np.arange(min_radius_px * 0.75, max_radius_px * 1.25, STEP_PX, dtype=np.float32)
        rays = self.normals_A2[:, None, :] * radii[None, :, None]
        self.at_CAR2 = self.centers_C2[:, None, None, :] + rays
        self.shapes: list[tuple[float, float, float]] = [
            (float(r), float(e * r * np.cos(2 * phi)), float(e * r * np.sin(2 * phi)))
            for r in np.geomspace(min_radius_px, max_radius_px, 9)
            for e, phi in (
                (0, 0),
                (0.12, 0),
                (0.12, np.pi / 4),
                (0.12, np.pi / 2),
                (0.12, -np.pi / 4),
            )
        ]
        weights = np.stack([self._weights(angle, radii, shape) for shape in self.shapes], axis=-1)
        left, right = _sides(self.normals_A2)
        self.parts = [
            (mask, np.ascontiguousarray(weights[mask].reshape(-1, len(self.shapes)) / mask.sum()))
            for mask in (left, right, ~(left | right))
        ]

    @staticmethod
    def _weights(
        angle: NDArray[np.float64], radii: Floats, shape: tuple[float, float, float]
    ) -> Floats:
        """(A, R): a tent two steps wide around the ellipse's radius at each angle."""
        r, e1, e2 = shape
        matrix = np.array([[r + e1, e2], [e2, r - e1]])
        unit = np.stack([np.cos(angle), np.sin(angle)])
        radius = 1 / np.sqrt(((np.linalg.inv(matrix) @ unit) ** 2).sum(axis=0))
        tent = np.maximum(0, 1 - np.abs(radii[None] - radius[:, None]) / (2 * STEP_PX))
        return np.asarray(tent / tent.sum(axis=1, keepdims=True), np.float32)

    def best(self, field_HW2: Floats, window_px: tuple[float, float], count: int) -> list[Ellipse]:
        """The best local maxima over the centres, each with its best shape."""
        num = len(self.centers_C2)
        at = (self.at_CAR2 + np.array(window_px, np.float32)).reshape(num, -1, 2)
        field = cv2.remap(field_HW2, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = field.reshape(self.at_CAR2.shape)
        nx, ny = self.normals_A2[:, None, 0], self.normals_A2[:, None, 1]
        found_CAR = strength(field, nx, ny)
        left, right, rest = (
            found_CAR[:, mask].reshape(num, -1) @ weights for mask, weights in self.parts
        )
        score_CK = np.sqrt(left * right) + 0.3 * rest
        shape_C = score_CK.argmax(axis=1)
        score = score_CK.max(axis=1).reshape(self.size, self.size)
        peaks = np.flatnonzero(score == cv2.dilate(score, np.ones((3, 3), np.uint8)))
        peaks = peaks[np.argsort(-score.ravel()[peaks])][:count]
        return [
            Ellipse(
                float(window_px[0] + self.centers_C2[peak, 0]),
                float(window_px[1] + self.centers_C2[peak, 1]),
                *self.shapes[shape_C[peak]],
            )
            for peak in peaks
            if score.flat[peak] > 0
        ]
