"""Where the centre of the iris is, measured in the picture alone.

At 35x55 the pupil can rarely be told from the iris, so the circle measured is the limbus, the
border of iris and sclera, of which the lids usually leave the left and the right arc.

Edges are found at many candidate circles (`search`), ellipses are drawn to the best
(`ellipse`), and the best of those is believed unless there is reason for doubt.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from factory.domains.eye.pupil.ellipse import (
    Edge,
    Ellipse,
    design,
    edge_along,
    edge_field,
)
from factory.domains.eye.pupil.search import REST, CircleSearch, sides_of
from schemas.base import Model

CIRCLE: Literal["iris", "pupil"] = "iris"
Floats = NDArray[np.float32]
Reason = Literal["flat", "no_iris", "border", "faint", "arc", "ambiguous", "unstable"]
"""`flat`: hardly any contrast; `no_iris`: nothing in the window; `border`: the best fit lies
outside the window; `faint`: its edge is too weak to tell from chance; `arc`: too little of the left
or right arc is seen; `ambiguous`: a fit elsewhere is as good; `unstable`: fits at two scales
disagree"""

MIN_RANGE = 8
"""grey values between the 5th and the 95th percentile below which a picture shows nothing"""
EDGE = 0.05
"""strength of a point that lies on an edge, weak as it may be"""
REACH_PX = (2.0, 1.5, 1.2, 1.0, 1.0, 1.0)
"""how far each step of the fit looks for the edge"""
OVERSTEP = 1.3
"""edges are pulled towards the present outline by the limited reach; this undoes some of it"""


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
    """edge strength of the arcs; 3 % of the picture has more than 1"""
    disagreement_px: float
    """distance of the centres that two scales give; `center_px` is their mean"""


@dataclass(frozen=True)
class Abstained:
    """No answer, and why."""

    reason: Reason


Found = PupilFit | Abstained


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
    fine_px: float = Field(default=0.8, gt=0.0)
    """sigma of the smoothing at which the iris is looked for"""
    coarse_px: float = Field(default=1.3, gt=0.0)
    """sigma of the second fit; the two centres are averaged"""
    max_disagreement_px: float = Field(default=0.5, gt=0.0)
    """distance of the two centres beyond which neither is believed"""
    elongation_sd: float = Field(default=0.06, gt=0.0)
    """spread expected of the elongation, as a share of the radius"""
    min_score: float = Field(default=0.25, ge=0.0)
    """edge strength of the arcs, see `_score`, below which it may be chance"""
    min_support: float = Field(default=0.4, ge=0.0, le=1.0)
    """share of the left and of the right arc that must lie on an edge"""
    max_rival: float = Field(default=0.85, gt=0.0)
    """how good a fit elsewhere may be, relative to the best"""
    rival_distance_px: float = Field(default=1.5, gt=0.0)
    """how far away elsewhere is"""
    num_starts: int = Field(default=3, ge=1)
    """candidates that are fitted"""

    @model_validator(mode="after")
    def _radii_in_order(self) -> Self:
        if self.min_radius >= self.max_radius:
            raise ValueError(f"min_radius {self.min_radius} is not below {self.max_radius}")
        return self

    def find(self, image_HW: NDArray[np.uint8], window_px: tuple[float, float]) -> Found:
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
        if np.subtract(*np.percentile(image_HW, (95, 5))) < MIN_RANGE:
            return Abstained("flat")
        fine = edge_field(image_HW, self.fine_px)
        starts = self._search.best(fine, window_px, self.num_starts)
        fits = [fit for start in starts if (fit := self._fitted(fine, start)) is not None]
        if not fits:
            return Abstained("no_iris")
        best = max(fits, key=lambda fit: fit.score)
        reason = self._doubt(best, fits, window_px)
        if reason is not None:
            return Abstained(reason)
        second = self._fitted(edge_field(image_HW, self.coarse_px), best.ellipse)
        if second is None or best.distance_px(second) > self.max_disagreement_px:
            return Abstained("unstable")
        return _answer(best, second)

    # --- candidates -----------------------------------------------------------------------------

    @cached_property
    def _search(self) -> CircleSearch:
        return CircleSearch(
            self.window_radius_px,
            self.min_radius * self.eye_width_px,
            self.max_radius * self.eye_width_px,
        )

    # --- fit ------------------------------------------------------------------------------------

    def _fitted(self, field_HW2: Floats, start: Ellipse) -> "_Fit | None":
        """The start drawn to the edges near it, or None where they form no such ellipse."""
        ellipse = start
        for reach_px in REACH_PX:
            ellipse = ellipse.moved(self._step(edge_along(field_HW2, ellipse), ellipse, reach_px))
            if not self._plausible(ellipse):
                return None
        edge = edge_along(field_HW2, ellipse)
        return _Fit(ellipse, edge, _score(edge) * ellipse.r / (0.26 * self.eye_width_px))

    def _step(self, edge: Edge, ellipse: Ellipse, reach_px: float) -> NDArray[np.float64]:
        """One Gauss-Newton step towards the edges within reach, each point weighted by them."""
        near = edge.profile_PS * np.exp(-0.5 * (edge.steps_S / reach_px) ** 2)
        found = near.sum(axis=1).astype(np.float64) + 1e-9
        offset = (near @ edge.steps_S) / found
        weight = found * edge.normals_P2[:, 0] ** 2
        columns = design(edge.normals_P2)
        normal = columns.T @ (columns * weight[:, None])
        right = columns.T @ (weight * offset)
        stiffness = found.mean() * 4 / (self.elongation_sd * ellipse.r) ** 2
        normal[3, 3] += stiffness
        normal[4, 4] += stiffness
        right[3] -= stiffness * ellipse.e1
        right[4] -= stiffness * ellipse.e2
        normal[np.diag_indices(5)] += 1e-6
        return OVERSTEP * np.linalg.solve(normal, right)

    def _plausible(self, ellipse: Ellipse) -> bool:
        low, high = self.min_radius * self.eye_width_px, self.max_radius * self.eye_width_px
        return low * 0.85 <= ellipse.r <= high * 1.1 and ellipse.elongation < 0.45 * ellipse.r

    # --- doubt ----------------------------------------------------------------------------------

    def _doubt(
        self, best: "_Fit", fits: "list[_Fit]", window_px: tuple[float, float]
    ) -> Reason | None:
        """Why the best fit cannot be trusted, if so."""
        offset_px = max(abs(best.ellipse.x - window_px[0]), abs(best.ellipse.y - window_px[1]))
        if offset_px > self.window_radius_px:
            return "border"
        if best.score < self.min_score:
            return "faint"
        if _support(best.edge) < self.min_support:
            return "arc"
        for rival in fits:
            elsewhere = rival.distance_px(best) > self.rival_distance_px
            if elsewhere and rival.score > self.max_rival * best.score:
                return "ambiguous"
        return None


def _answer(best: "_Fit", second: "_Fit") -> PupilFit:
    mean = best.ellipse.moved(0.5 * np.subtract(second.ellipse.numbers, best.ellipse.numbers))
    return PupilFit(
        center_px=(mean.x, mean.y),
        axes_px=mean.axes_px,
        angle_rad=mean.angle_rad,
        support=_support(best.edge),
        contrast=best.score,
        disagreement_px=best.distance_px(second),
    )


@dataclass(frozen=True)
class _Fit:
    ellipse: Ellipse
    edge: Edge
    score: float

    def distance_px(self, other: "_Fit") -> float:
        """Of the centres."""
        return float(np.hypot(self.ellipse.x - other.ellipse.x, self.ellipse.y - other.ellipse.y))


def _on_outline(edge: Edge) -> Floats:
    """(P,) edge strength within half a pixel of the outline."""
    return np.asarray(edge.profile_PS[:, np.abs(edge.steps_S) <= 0.5].max(axis=1), np.float32)


def _support(edge: Edge) -> float:
    """The share of an arc that lies on an edge, for the worse of the left and the right arc."""
    found = _on_outline(edge) > EDGE
    left, right = sides_of(edge.normals_P2)
    return float(min(found[left].mean(), found[right].mean()))


def _score(edge: Edge) -> float:
    """Mean edge strength; the geometric mean of the sides, so one arc cannot stand for both."""
    on = _on_outline(edge)
    left, right = sides_of(edge.normals_P2)
    both = float(np.sqrt(on[left].mean() * on[right].mean()))
    return both + REST * float(on[~(left | right)].mean())
