"""The pupil finder, which measures the centre of the iris in an image without any network.

In crops of 35 x 55 the pupil can rarely be told from the iris. So the circle that is measured is
the limbus, the border of iris and sclera, whose left and right arcs the lids usually leave visible.

`search` scores many candidate circles by the edges along them, the best are starts of fits of an
ellipse (`ellipse`), and the best fit is the answer. Where there is reason to doubt it, the finder
abstains.
"""

from collections.abc import Mapping
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
"""Why the finder abstains. `flat`: the image has hardly any contrast; `no_iris`: no fit succeeded;
`border`: the best fit lies outside the window; `faint`: its edge is too weak to tell from chance;
`arc`: too little of the left or right arc is visible; `ambiguous`: a fit elsewhere is nearly as
good; `unstable`: fits at two scales disagree"""
REASON_WORDS: Mapping[Reason, str] = {
    "flat": "there is hardly any contrast",
    "no_iris": "no ellipse could be fitted to an iris",
    "border": "the best ellipse lies outside the part that was searched",
    "faint": "the edge along the best ellipse is too weak to be told from chance",
    "arc": "too little of the left or of the right edge of the iris can be seen",
    "ambiguous": "ellipses at two places fit nearly equally well",
    "unstable": "the ellipses that fit fine and coarse edges lie apart",
}
"""the same for readers of a report; each goes on after "In the render," or the like"""

MIN_RANGE = 8
"""smallest difference of the 5th and the 95th percentile of grey values; below, an image is flat"""
EDGE = 0.05
"""edge strength from which on a point counts as lying on an edge"""
REACH_PX = (2.0, 1.5, 1.2, 1.0, 1.0, 1.0)
"""standard deviation of the weights around the outline in each step of the fit"""
OVERSTEP = 1.3
"""factor on each step; the weights pull edges towards the present outline, and this compensates
some of it"""


@dataclass(frozen=True)
class PupilFit:
    """The ellipse that was fitted to the iris: the mean of the fits at the two scales."""

    center_px: tuple[float, float]
    """(x, y)"""
    axes_px: tuple[float, float]
    """semi-axes (major, minor)"""
    angle_rad: float
    """direction of the major axis from x towards y (down)"""


@dataclass(frozen=True)
class Abstained:
    """The finder gives no answer, for the reason stated."""

    reason: Reason


Found = PupilFit | Abstained


class PupilFinder(Model):
    """Finds the iris in a window. It keeps nothing from one call to the next."""

    window_radius_px: float = Field(default=6.0, ge=6.0)
    """half width of the square window for the centre; no position in the window is preferred"""
    eye_width_px: float = Field(default=40.0, gt=8.0)
    """nominal distance of the eye corners, a constant of the dataset, which bounds the radius"""
    min_radius: float = Field(default=0.19, gt=0.0)
    """smallest mean semi-axis, as a share of the eye width"""
    max_radius: float = Field(default=0.34, gt=0.0)
    """largest mean semi-axis, as a share of the eye width"""
    fine_px: float = Field(default=0.8, gt=0.0)
    """standard deviation of the smoothing for the search and the first fit"""
    coarse_px: float = Field(default=1.3, gt=0.0)
    """standard deviation of the smoothing for the second fit; the two centres are averaged"""
    max_disagreement_px: float = Field(default=0.5, gt=0.0)
    """largest distance of the two centres; beyond it the finder abstains"""
    elongation_sd: float = Field(default=0.06, gt=0.0)
    """expected standard deviation of the elongation, as a share of the radius"""
    min_score: float = Field(default=0.25, ge=0.0)
    """smallest edge strength of the arcs, the score of a fit; a weaker one may be chance"""
    min_support: float = Field(default=0.4, ge=0.0, le=1.0)
    """smallest share of the left and of the right arc that must lie on an edge"""
    max_rival: float = Field(default=0.85, gt=0.0)
    """greatest score of a fit elsewhere, as a share of the best score"""
    rival_distance_px: float = Field(default=1.5, gt=0.0)
    """a fit is elsewhere where its centre is farther than this from that of the best"""
    num_starts: int = Field(default=3, ge=1)
    """how many candidates of the search are fitted"""

    @model_validator(mode="after")
    def _radii_in_order(self) -> Self:
        if self.min_radius >= self.max_radius:
            raise ValueError(f"min_radius {self.min_radius} is not below {self.max_radius}")
        return self

    def find(self, image_HW: NDArray[np.uint8], window_px: tuple[float, float]) -> Found:
        """Measure the iris whose centre lies in the window.

        Args:
            image_HW: (H, W) uint8 grey.
            window_px: (x, y) of the window's centre; it influences nothing else.

        Raises:
            ValueError: the image is not a grey uint8 image, or the window is not finite.
        """
        if image_HW.ndim != 2 or image_HW.dtype != np.uint8:
            raise ValueError(
                f"the image must be (H, W) uint8, is {image_HW.shape} {image_HW.dtype}"
            )
        if not np.isfinite(window_px).all():
            raise ValueError(f"the centre of the window must be finite, is {window_px}")
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
        mean = best.ellipse.moved(0.5 * np.subtract(second.ellipse.numbers, best.ellipse.numbers))
        return PupilFit((mean.x, mean.y), mean.axes_px, mean.angle_rad)

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
        """Fit an ellipse to the edges near a start; None where it stops being a possible iris."""
        ellipse = start
        for reach_px in REACH_PX:
            ellipse = ellipse.moved(self._step(edge_along(field_HW2, ellipse), ellipse, reach_px))
            if not self._plausible(ellipse):
                return None
        edge = edge_along(field_HW2, ellipse)
        return _Fit(ellipse, edge, _score(edge) * ellipse.r / (0.26 * self.eye_width_px))

    def _step(self, edge: Edge, ellipse: Ellipse, reach_px: float) -> NDArray[np.float64]:
        """One Gauss-Newton step (5,) towards the edges near the outline.

        Points are weighted by the strength of their edges, and those at the sides more than those
        towards the lids.
        """
        near = edge.profile_PS * np.exp(-0.5 * (edge.steps_S / reach_px) ** 2)
        strength = near.sum(axis=1).astype(np.float64) + 1e-9
        offset = (near @ edge.steps_S) / strength
        weight = strength * edge.normals_P2[:, 0] ** 2
        columns = design(edge.normals_P2)
        normal = columns.T @ (columns * weight[:, None])
        right = columns.T @ (weight * offset)
        stiffness = strength.mean() * 4 / (self.elongation_sd * ellipse.r) ** 2
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
        """The reason to doubt the best fit, or None."""
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


@dataclass(frozen=True)
class _Fit:
    ellipse: Ellipse
    edge: Edge
    score: float

    def distance_px(self, other: "_Fit") -> float:
        """The distance of the two centres."""
        return float(np.hypot(self.ellipse.x - other.ellipse.x, self.ellipse.y - other.ellipse.y))


def _on_outline(edge: Edge) -> Floats:
    """(P,) greatest edge strength within half a pixel of the outline."""
    return np.asarray(edge.profile_PS[:, np.abs(edge.steps_S) <= 0.5].max(axis=1), np.float32)


def _support(edge: Edge) -> float:
    """The share of the left or of the right arc that lies on an edge, the smaller of the two."""
    on_edge = _on_outline(edge) > EDGE
    left, right = sides_of(edge.normals_P2)
    return float(min(on_edge[left].mean(), on_edge[right].mean()))


def _score(edge: Edge) -> float:
    """The edge strength of the outline.

    It is the geometric mean of the two side arcs, so that one strong arc is not enough, plus a
    small share of the rest.
    """
    on = _on_outline(edge)
    left, right = sides_of(edge.normals_P2)
    both = float(np.sqrt(on[left].mean() * on[right].mean()))
    return both + REST * float(on[~(left | right)].mean())
