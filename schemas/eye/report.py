"""What a validation run finds in refined eyes."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from schemas.base import Float, Model
from schemas.eye.measures import EYE_MEASURE_MEANINGS
from schemas.realism import ClosedShare, LookDistances
from schemas.report import (
    REALISM_DERIVED,
    WITNESS_WORDS,
    Agreement,
    Report,
    Spread,
    Witness,
)

MIN_BIN_SAMPLES = 20
"""measured samples below which the median of a gaze bin is chance"""


class Witnesses(Model):
    """Independent answers to one question."""

    pupil: Witness
    """ellipse fitted to the iris border; classical"""
    iris: Witness | None
    """centre of the iris, by the landmark network; None without one"""
    lids: Witness | None
    """the lids, by the landmark network"""
    gaze: Witness | None
    """direction of gaze, by the paper's estimator; None without one"""
    registration: Witness
    """the whole picture's edges against its parent's; classical"""
    iris_registration: Witness
    """the edges around the iris against its parent's; classical"""
    mediapipe: Witness | None = None
    """centre of the iris, by MediaPipe's iris model; None without it"""


class PlantedShift(Model):
    """How well a known displacement is recovered."""

    shift_px: Float
    mean_signed_error_px: Float
    """along the planted direction, recovered minus planted"""
    sd_px: Float
    num: int


class NullDrift(Model):
    """Apparent drift between two looks of the same geometry: the floor of every drift."""

    look: str
    """blur, noise, gamma, contrast, camera style ..."""
    drift_px: Spread
    abstained_share: Float


class PupilCalibration(Model):
    """How far the pupil-centre estimator can be trusted on images like these."""

    circle: Literal["iris", "pupil"]
    """which circle was measured"""
    window_radius_px: Float
    """half width of the search window placed around the label"""
    truth: str
    """what the error was measured against, in words"""
    error_px: Spread
    error_percent_eye_width: Spread
    shifts: tuple[PlantedShift, ...]
    null_drift: tuple[NullDrift, ...]
    null_drift_px: Spread
    """the floor: over the looks that are most like a refiner's change (camera style, and blur,
    gamma, gradient and noise together)"""
    abstained_share: Float


class GazeBin(Model):
    """Drift of the samples that look in one direction."""

    yaw_deg: tuple[Float, Float]
    pitch_deg: tuple[Float, Float]
    num_samples: int
    drift_px: Spread | None
    """None where nothing could be measured"""


class PupilDrift(Model):
    """Displacement of the measured pupil centre from parent to refined, sample by sample."""

    num_samples: int
    num_measured: int
    abstained: dict[str, int]
    """reason to number of samples that could not be measured"""
    drift_px: Spread | None
    drift_percent_eye_width: Spread | None
    mean_shift_px: tuple[Float, Float] | None
    """mean signed displacement (x, y): a drift that all samples share"""
    bins: tuple[GazeBin, ...]


def _mean_shift(report: "EyeReport") -> float | None:
    shift = report.drift.mean_shift_px
    return None if shift is None else math.hypot(*shift)


def _drift_over_null(report: "EyeReport") -> float | None:
    drift = report.drift.drift_px
    return None if drift is None else drift.median - report.calibration.null_drift_px.median


def _worst_bin(report: "EyeReport") -> float | None:
    drift = report.drift
    medians = [
        line.drift_px.median
        for line in drift.bins
        if line.drift_px is not None and line.drift_px.num >= MIN_BIN_SAMPLES
    ]
    return max(medians, default=None)


def _worst_planted(report: "EyeReport") -> float | None:
    errors = [abs(shift.mean_signed_error_px) for shift in report.calibration.shifts]
    return max(errors, default=None)


def _abstained_share(report: "EyeReport") -> float | None:
    num = report.drift.num_samples
    return 1 - report.drift.num_measured / num if num else None


def _closed_share(report: "EyeReport") -> float | None:
    closed = report.closed_share()
    return None if closed is None or closed.share is None else closed.share.value


DERIVED: Mapping[str, tuple[Callable[[Any], float | None], str]] = {
    "derived.mean_shift_px": (
        _mean_shift,
        "length of the mean displacement: a drift that all samples share",
    ),
    "derived.drift_over_null_px": (
        _drift_over_null,
        "median drift less the median null drift of the estimator",
    ),
    "derived.worst_bin_drift_px": (
        _worst_bin,
        f"largest median drift of a gaze bin with {MIN_BIN_SAMPLES} measured samples or more",
    ),
    "derived.worst_planted_error_px": (
        _worst_planted,
        "largest mean error in recovering a planted shift",
    ),
    "derived.abstained_share": (
        _abstained_share,
        "share of the samples whose drift could not be measured",
    ),
    "derived.closed_share": (
        _closed_share,
        "share of the distance to real images, by a kernel in features, that refining closed: 1 "
        "as near as they are to each other, 0 as far as the renders",
    ),
    **REALISM_DERIVED,
}
"""Numbers that follow from several of a report, with their meaning."""


class EyeReport(Report):
    """`reports/<id>/report.json` of refined eyes."""

    model_config = ConfigDict(extra="forbid")
    derived: ClassVar[Mapping[str, tuple[Callable[[Any], float | None], str]]] = DERIVED
    sample_measures: ClassVar[Mapping[str, str]] = EYE_MEASURE_MEANINGS
    number_words: ClassVar[Mapping[str, str]] = {
        **WITNESS_WORDS,
        "drift.drift_px": "the drift of the fitted iris",
        "drift.drift_percent_eye_width": "the drift of the fitted iris, of the eye's width",
        "drift.num_measured": "number of samples whose drift was measured",
        "calibration.null_drift_px": "the drift of the fitted iris where nothing moved (the floor)",
        "calibration.error_px": "the error of the fitted iris on renders",
        "looks.closed_share.share": "the share of the distance to real images that was closed",
    }
    least_change: ClassVar[float] = 0.02
    label_measures: ClassVar[tuple[str, ...]] = (
        "drift.drift_*",
        "witnesses.*.drift.*",
        "witnesses.*.label_error.*",
        "derived.mean_shift_px",
        "derived.drift_over_null_px",
        "derived.worst_bin_drift_px",
    )
    allowed_drift: ClassVar[Mapping[str, float]] = {"px": 0.8, "deg": 3.0}
    """px: 2 % of the width of an eye in crops of 35x55, as in gates/eye.toml; deg: what a change of
    look alone makes the gaze network read"""

    drift: PupilDrift
    calibration: PupilCalibration
    witnesses: Witnesses
    agreement: tuple[Agreement, ...]
    looks: LookDistances

    def by_witness(self) -> Iterable[tuple[str, Witness | None]]:
        return iter(self.witnesses)

    def closed_share(self) -> ClosedShare | None:
        return self.looks.closed_share
