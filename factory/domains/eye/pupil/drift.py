"""Pupil drift: how far the measured iris centre moves from a parent image to its refined one.

Axes in names: N images or pairs, H height, W width.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import points_of, values_of
from factory.domains.eye.pupil.finder import REASON_WORDS, Abstained, PupilFinder
from factory.measures.statistics import spread_or_none
from schemas.eye.report import GazeBin, PupilDrift

Values = NDArray[np.float64]
Images = NDArray[np.uint8]

MAX_RADIUS_RATIO = 1.15
"""the largest ratio of the radii in two looks of one eye; where they differ more, one of the two
circles is not the iris"""
OTHER_CIRCLE = "pair:other_circle"
"""the reason why a pair has no drift where `MAX_RADIUS_RATIO` is exceeded"""
ABSTENTION_WORDS = {
    **{f"parent:{code}": f"In the render, {words}." for code, words in REASON_WORDS.items()},
    **{
        f"refined:{code}": f"In the refined image, {words}." for code, words in REASON_WORDS.items()
    },
    OTHER_CIRCLE: f"The circles found in the two images differ in size by more than "
    f"{100 * (MAX_RADIUS_RATIO - 1):.0f} %, so that one of them is not the iris.",
}
"""a sentence for every reason why a pair has no drift"""
BIN_DEG = 10
"""width of the bins of gaze directions; one bin is centred on straight ahead"""


@dataclass(frozen=True)
class Centers:
    """The iris centres that the finder measured in N images."""

    center_N2: Values  # noqa: N815
    """(N, 2) positions (x, y) in px; NaN where the finder abstained"""
    radius_N: Values  # noqa: N815
    """(N,) mean semi-axes in px; NaN where the finder abstained"""
    reasons: list[str]
    """the finder's reason for each image where it abstained, else an empty string"""

    @property
    def abstained_share(self) -> float:
        """The share of the images for which the finder abstained."""
        return sum(map(bool, self.reasons)) / max(len(self.reasons), 1)


def find_centers(
    images_NHW: Images, windows_N2: NDArray[np.floating], finder: PupilFinder
) -> Centers:
    """Measure the iris centre in every image.

    Args:
        images_NHW: (N, H, W) uint8.
        windows_N2: (N, 2) centres (x, y) of the search windows, px.

    Raises:
        ValueError: there is not one window for every image.
    """
    if len(images_NHW) != len(windows_N2):
        raise ValueError(
            "there must be one window for each image, got "
            f"{len(windows_N2)} windows for {len(images_NHW)} images"
        )
    centers = np.full((len(images_NHW), 2), np.nan)
    radius = np.full(len(images_NHW), np.nan)
    reasons = [""] * len(images_NHW)
    for i, (image, (x, y)) in enumerate(zip(images_NHW, windows_N2, strict=True)):
        fit = finder.find(image, (float(x), float(y)))
        if isinstance(fit, Abstained):
            reasons[i] = fit.reason
        else:
            centers[i], radius[i] = fit.center_px, np.mean(fit.axes_px)
    return Centers(centers, radius, reasons)


def same_circle(before: Centers, after: Centers) -> NDArray[np.bool_]:
    """(N,) whether both images were measured and the radii differ by no more than
    `MAX_RADIUS_RATIO`. Where they differ more, the distance of the centres means nothing."""
    with np.errstate(invalid="ignore"):
        ratio = after.radius_N / before.radius_N
        return np.asarray(np.maximum(ratio, 1 / ratio) <= MAX_RADIUS_RATIO)


@dataclass(frozen=True)
class DriftTable:
    """What the pupil finder measured in N pairs."""

    keys: list[str]
    parent_N2: Values  # noqa: N815
    """centre in the parent image, px; NaN where not measured"""
    refined_N2: Values  # noqa: N815
    reasons: list[str]
    """why no drift was measured: `parent:` or `refined:` and the finder's reason, or
    `OTHER_CIRCLE`; else empty"""
    eye_width_px_N: Values  # noqa: N815
    gaze_yaw_rad_N: Values  # noqa: N815
    gaze_pitch_rad_N: Values  # noqa: N815

    @property
    def shift_N2(self) -> Values:  # noqa: N802
        """(N, 2) centre in the refined image minus that in the parent, px; NaN where either was
        not measured."""
        return self.refined_N2 - self.parent_N2

    @property
    def drift_px(self) -> Values:
        """(N,) length of the shift; NaN where either was not measured."""
        return np.asarray(np.hypot(*self.shift_N2.T), np.float64)

    def measured_px(self) -> Values:
        """(M,) drifts of the M pairs in which both images were measured."""
        drift = self.drift_px
        return drift[np.isfinite(drift)]

    @classmethod
    def from_measures(cls, measures: pa.Table) -> "DriftTable":
        """What the pupil finder has in rows of `schemas.eye.measures.EYE_MEASURES_SCHEMA`."""

        def centre(image: str) -> Values:
            axes = [values_of(measures, f"pupil_{image}_{axis}_px") for axis in "xy"]
            return np.stack(axes, axis=1)

        return cls(
            keys=measures["key"].to_pylist(),
            parent_N2=centre("parent"),
            refined_N2=centre("refined"),
            reasons=measures["pupil_reason"].to_pylist(),
            eye_width_px_N=values_of(measures, "eye_width_px"),
            gaze_yaw_rad_N=values_of(measures, "gaze_yaw_rad"),
            gaze_pitch_rad_N=values_of(measures, "gaze_pitch_rad"),
        )

    def summary(self) -> PupilDrift:
        """The distribution of the drift, of all pairs and by direction of gaze."""
        drift, shift = self.drift_px, self.shift_N2
        measured = np.isfinite(drift)
        mean = shift[measured].mean(axis=0) if measured.any() else None
        return PupilDrift(
            num_samples=len(drift),
            num_measured=int(measured.sum()),
            abstained=dict(sorted(Counter(filter(None, self.reasons)).items())),
            drift_px=spread_or_none(drift),
            drift_percent_eye_width=spread_or_none(100 * drift / self.eye_width_px_N),
            mean_shift_px=None if mean is None else (float(mean[0]), float(mean[1])),
            bins=self._bins(drift),
        )

    def _bins(self, drift: Values) -> tuple[GazeBin, ...]:
        gaze = np.degrees(np.stack([self.gaze_yaw_rad_N, self.gaze_pitch_rad_N], axis=1))
        cell_N2 = np.floor(gaze / BIN_DEG + 0.5).astype(int)
        cells, which = np.unique(cell_N2, axis=0, return_inverse=True)
        bins = []
        for number, cell in enumerate(cells):
            in_bin = drift[which.ravel() == number]
            yaw, pitch = ((BIN_DEG * (c - 0.5), BIN_DEG * (c + 0.5)) for c in cell.tolist())
            bins.append(
                GazeBin(
                    yaw_deg=yaw,
                    pitch_deg=pitch,
                    num_samples=len(in_bin),
                    drift_px=spread_or_none(in_bin),
                )
            )
        return tuple(bins)


def measure_drift(
    rows: pa.Table,
    parent_NHW: Images,
    refined_NHW: Images,
    finder: PupilFinder,
    parent: Centers | None = None,
) -> DriftTable:
    """Measure the two images of every pair independently of each other, in the same window.

    Args:
        rows: index rows of the N pairs; the centres of the windows are at their pupils, which are
            used for nothing else.
        parent_NHW, refined_NHW: (N, H, W) uint8; image k of both belongs to row k.
        parent: centres that were measured in the parents before; None measures them.

    Raises:
        ValueError: there are not as many rows and images of each.
    """
    windows_N2 = points_of(rows, "pupil_px")
    if parent is None:
        parent = find_centers(parent_NHW, windows_N2, finder)
    refined = find_centers(refined_NHW, windows_N2, finder)
    same = same_circle(parent, refined)
    reasons = [
        f"parent:{before}" if before else f"refined:{after}" if after else OTHER_CIRCLE * (not like)
        for before, after, like in zip(parent.reasons, refined.reasons, same, strict=True)
    ]
    return DriftTable(
        keys=rows["key"].to_pylist(),
        parent_N2=parent.center_N2,
        refined_N2=np.where(same[:, None], refined.center_N2, np.nan),
        reasons=reasons,
        eye_width_px_N=values_of(rows, "eye_width_px"),
        gaze_yaw_rad_N=values_of(rows, "gaze_yaw_rad"),
        gaze_pitch_rad_N=values_of(rows, "gaze_pitch_rad"),
    )
