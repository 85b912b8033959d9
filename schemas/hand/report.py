"""What a validation run finds in refined hands."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from schemas.base import Float, Model
from schemas.hand.measures import HAND_MEASURE_MEANINGS
from schemas.realism import Compared, Curves
from schemas.report import (
    REALISM_DERIVED,
    WITNESS_WORDS,
    Agreement,
    Estimate,
    Report,
    Witness,
)

MIN_BIN_SAMPLES = 20
"""measured samples below which the median of a bin is chance"""


class HandWitnessesFound(Model):
    """Independent answers to one question."""

    silhouette: Witness
    """the whole outline, slid over the parent's; classical"""
    edges: Witness
    """depth discontinuities, followed along their normals; classical"""
    depth: Witness
    """the skin before the visible joints; classical"""
    joints: Witness | None
    """the joint network; None without one"""


class Planted(Model):
    """How well a known displacement, seen in another look, is recovered."""

    witness: str
    unit: Literal["px", "mm"]
    planted: Float
    mean_signed_error: Float
    """along the planted direction, recovered less planted"""
    sd: Float
    num: int


class HandChange(Model):
    """What refining did to hands, sample by sample."""

    depth_shift_mm: Estimate | None
    """of the skin before the visible joints, away from the camera"""
    growth_px: Estimate | None
    """of depth discontinuities, outwards"""
    lost_share: Estimate | None
    """of the hand's pixels"""
    grown_share: Estimate | None
    lost_joint_share: Estimate | None
    """of the visible joints"""
    label_fit: Estimate | None
    """share of a hand's labelled joints that have skin close before them"""
    parent_label_fit: Estimate | None
    """the same of the parents: what the renders themselves have"""


class BoundaryMedians(Model):
    """Medians of a statistic over the pictures of each set."""

    synthetic: Float
    refined: Float
    real: Float


class Boundary(Model):
    """What cameras do to boundaries and surfaces: distances between the sets' distributions, and
    what each half of the real set is from the other (the floor).

    Wasserstein-1 distance in standard deviations of the real set; intervals are over pictures. None
    where a set has no picture to measure it on, or the real ones are all alike.
    """

    raggedness_px: Compared | None
    outline_ratio: Compared | None
    hole_rate_edge: Compared | None
    hole_rate_inside: Compared | None
    flying_share: Compared | None
    noise_mm: Compared | None
    medians: dict[str, BoundaryMedians]
    """by statistic"""
    histograms: dict[str, Curves]
    """share of the pictures over the statistic, by statistic"""
    num_images: int = Field(gt=0)
    num_real: int = Field(gt=0)

    def mean_distance(self, which: Literal["synthetic", "refined", "floor"]) -> float | None:
        """The mean over the statistics of a set's distance; None where none could be compared."""
        compared = [value for _, value in self if isinstance(value, Compared)]
        values = [getattr(line, which).value for line in compared]
        return sum(values) / len(values) if values else None

    def gain(self) -> float | None:
        """How much nearer to real refining came: the mean distance of the renders less that of the
        refined images, in standard deviations; None where none could be compared."""
        synthetic, refined = self.mean_distance("synthetic"), self.mean_distance("refined")
        return None if synthetic is None or refined is None else synthetic - refined


def _over_floor(name: str) -> Callable[[Any], float | None]:
    def number(report: "HandReport") -> float | None:
        witness: Witness | None = getattr(report.witnesses, name)
        if witness is None or witness.drift is None or witness.floor is None:
            return None
        return witness.drift.median - witness.floor.median

    return number


def _mean_shift(report: "HandReport") -> float | None:
    shift = report.witnesses.silhouette.mean_shift
    return None if shift is None else math.hypot(*shift)


def _unmeasured_share(report: "HandReport") -> float | None:
    witness = report.witnesses.silhouette
    return 1 - witness.num_measured / witness.num_samples if witness.num_samples else None


def _worst_bin(report: "HandReport") -> float | None:
    medians = [
        line.estimate.median
        for line in report.witnesses.edges.bins
        if line.estimate is not None and line.estimate.num >= MIN_BIN_SAMPLES
    ]
    return max(medians, default=None)


def _worst_planted(unit: str) -> Callable[[Any], float | None]:
    def number(report: "HandReport") -> float | None:
        errors = [abs(line.mean_signed_error) for line in report.planted if line.unit == unit]
        return max(errors, default=None)

    return number


DERIVED: Mapping[str, tuple[Callable[[Any], float | None], str]] = {
    "derived.mean_shift_px": (
        _mean_shift,
        "length of the mean displacement of the outline: a drift that all samples share",
    ),
    "derived.silhouette_over_floor_px": (
        _over_floor("silhouette"),
        "median drift of the outline less its floor's median",
    ),
    "derived.edges_over_floor_px": (
        _over_floor("edges"),
        "median drift of depth discontinuities less its floor's median",
    ),
    "derived.depth_over_floor_mm": (
        _over_floor("depth"),
        "median depth error at visible joints less its floor's median",
    ),
    "derived.joints_over_floor_px": (
        _over_floor("joints"),
        "median drift of the joints, by the network, less its floor's median",
    ),
    "derived.worst_bin_edge_drift_px": (
        _worst_bin,
        f"largest median drift of edges of a bin with {MIN_BIN_SAMPLES} measured samples or more",
    ),
    "derived.worst_planted_error_px": (
        _worst_planted("px"),
        "largest mean error in recovering a planted shift",
    ),
    "derived.worst_planted_error_mm": (
        _worst_planted("mm"),
        "largest mean error in recovering a planted change of depth",
    ),
    "derived.unmeasured_share": (
        _unmeasured_share,
        "share of the samples whose outline could not be registered",
    ),
    "derived.boundary_refined": (
        lambda report: report.boundary.mean_distance("refined"),
        "mean distance of the boundary statistics, refined from real, in standard deviations",
    ),
    "derived.boundary_gain": (
        lambda report: report.boundary.gain(),
        "mean distance of the boundary statistics, synthetic from real, less refined from real, in "
        "standard deviations",
    ),
    **REALISM_DERIVED,
}
"""Numbers that follow from several of a report, with their meaning."""


class HandReport(Report):
    """`reports/<id>/report.json` of refined hands."""

    model_config = ConfigDict(extra="forbid")
    derived: ClassVar[Mapping[str, tuple[Callable[[Any], float | None], str]]] = DERIVED
    sample_measures: ClassVar[Mapping[str, str]] = HAND_MEASURE_MEANINGS
    number_words: ClassVar[Mapping[str, str]] = {
        **WITNESS_WORDS,
        "change.growth_px": "the growth of outlines and edges",
        "change.depth_shift_mm": "the change of the skin's depth at the visible joints",
        "change.label_fit": "the share of a hand's labelled joints with skin before them",
        "change.lost_share": "the share of a hand's pixels that were lost",
        "change.grown_share": "the share of pixels that a hand won from the background",
        "change.lost_joint_share": "the share of the visible joints that lost their depth",
    }
    least_change: ClassVar[float] = 0.001
    """most pixels are background, which no refiner changes"""
    label_measures: ClassVar[tuple[str, ...]] = (
        "witnesses.*.drift.*",
        "witnesses.*.label_error.*",
        "derived.mean_shift_px",
        "derived.*_over_floor_*",
        "derived.worst_bin_edge_drift_px",
    )
    allowed_drift: ClassVar[Mapping[str, float]] = {"px": 0.5, "mm": 3.0}
    """as in gates/hand.toml and in the scores of refiners"""

    witnesses: HandWitnessesFound
    agreement: tuple[Agreement, ...]
    planted: tuple[Planted, ...]
    change: HandChange
    boundary: Boundary
    judged: str
    """what of each picture the two-sample tests saw, in words"""

    def by_witness(self) -> Iterable[tuple[str, Witness | None]]:
        return iter(self.witnesses)
