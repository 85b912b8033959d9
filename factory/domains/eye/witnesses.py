"""What each witness says of a refined dataset, beside what it says where nothing moved."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr

from factory.dataset.columns import values_of
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.pupil.calibration import CAMERA_LOOK, FLOOR_LOOKS, looks
from factory.domains.eye.pupil.camera_pairs import CameraPairs
from factory.measures.statistics import (
    Condition,
    binned,
    clusters_of,
    estimate,
    quantile_edges,
    spread_or_none,
)
from schemas.eye.report import PupilCalibration, Witnesses
from schemas.report import Agreement, LookDrift, Spread, Witness

Values = NDArray[np.float64]
Images = NDArray[np.uint8]
ANGLE_EDGES_DEG = (-np.inf, -25.0, -15.0, -5.0, 5.0, 15.0, 25.0, np.inf)
NUM_QUANTILE_BINS = 4


class Means(NamedTuple):
    """How a witness appears in the table of measurements."""

    unit: Literal["px", "deg", "mm"]
    means: str
    drift: str
    error: str | None = None
    shift: tuple[str, str] | None = None


DRIFTS = {
    "pupil": Means(
        "px",
        "an ellipse fitted to the border of iris and sclera, in each image by itself",
        "pupil_drift_px",
    ),
    "iris": Means(
        "px",
        "the mean of eight iris landmarks that a network finds in each image by itself",
        "iris_drift_px",
        "iris_error_px",
        ("iris_shift_x_px", "iris_shift_y_px"),
    ),
    "lids": Means(
        "px",
        "the mean distance of sixteen lid landmarks that a network finds in each image by itself",
        "lid_drift_px",
        "lid_error_px",
    ),
    "gaze": Means(
        "deg",
        "the angle between the gazes that the paper's estimator sees in each image by itself",
        "gaze_drift_deg",
        "gaze_error_deg",
        ("gaze_yaw_shift_deg", "gaze_pitch_shift_deg"),
    ),
    "registration": Means(
        "px", "the picture's edges, slid over those of its parent", "registration_px"
    ),
    "iris_registration": Means(
        "px", "the edges around the iris, slid over those of its parent", "iris_registration_px"
    ),
}
"""the witnesses by name"""


NullMeasures = Mapping[str, pa.Table]
"""By look: measurements of images whose look was changed and whose geometry was not; the unchanged
images against themselves under `PLAIN`."""
PLAIN = "unchanged"


def measure_null(
    images_NHW: Images,
    rows: pa.Table,
    pairs: CameraPairs,
    witnesses: EyeWitnesses,
    seed: int,
) -> NullMeasures:
    """What the witnesses but the pupil finder, which has a calibration of its own, say of looks.

    Args:
        images_NHW: (N, H, W) uint8 renders; rows: their labels.
        pairs: other eyes, each in two looks.
    """
    measurer = EyeMeasurer(witnesses, with_pupil=False)
    changed = looks(images_NHW, np.random.default_rng(seed))
    by_look = {PLAIN: measurer(rows, images_NHW, images_NHW)}
    by_look |= {name: measurer(rows, images_NHW, images) for name, images in changed.items()}
    by_look[CAMERA_LOOK] = measurer(pairs.labels, pairs.render_NHW, pairs.camera_NHW)
    return by_look


def witnesses_of(
    measures: pa.Table,
    null: NullMeasures,
    witnesses: EyeWitnesses,
    pupil: PupilCalibration,
) -> Witnesses:
    """Every witness' distribution, bins and floor.

    Args:
        pupil: the pupil finder's own calibration, whose windows are jittered.
    """
    conditions = _conditions(measures)
    networks = {
        "iris": witnesses.landmarks_sha256,
        "lids": witnesses.landmarks_sha256,
        "gaze": witnesses.gaze_sha256,
    }
    found: dict[str, Witness | None] = {}
    for name, means in DRIFTS.items():
        if name in networks and networks[name] is None:
            found[name] = None
            continue
        own = _of_pupil(pupil) if name == "pupil" else own_by_looks(null, means, FLOOR_LOOKS)
        found[name] = witness_of(
            measures,
            means,
            own,
            conditions,
            network=networks.get(name),
            unmeasured=_unmeasured(measures, name),
            mean_shift=_mean_shift(measures, means),
        )
    return Witnesses.model_validate(found)


class Own(NamedTuple):
    """What a witness says where the truth is known."""

    error: Spread | None
    null_drift: tuple[LookDrift, ...]
    floor: Spread | None


def witness_of(
    measures: pa.Table,
    means: Means,
    own: Own,
    conditions: Sequence[Condition],
    *,
    network: str | None,
    unmeasured: Mapping[str, int],
    mean_shift: tuple[float, float] | None,
) -> Witness:
    """One witness' distribution, bins and floor."""
    clusters = clusters_of(measures["identity"].to_pylist())
    drift = values_of(measures, means.drift)
    return Witness(
        unit=means.unit,
        means=means.means,
        network=network,
        num_samples=len(drift),
        num_measured=int(np.isfinite(drift).sum()),
        unmeasured=dict(unmeasured),
        drift=estimate(drift, clusters),
        mean_shift=mean_shift,
        label_error=None
        if means.error is None
        else estimate(values_of(measures, means.error), clusters),
        error=own.error,
        null_drift=own.null_drift,
        floor=own.floor,
        bins=binned(drift, clusters, conditions),
    )


def _of_pupil(pupil: PupilCalibration) -> Own:
    null = tuple(LookDrift(look=line.look, drift=line.drift_px) for line in pupil.null_drift)
    return Own(pupil.error_px, null, pupil.null_drift_px)


def own_by_looks(null: NullMeasures, means: Means, floor_looks: Sequence[str]) -> Own:
    """Of a witness that measures in the same way whatever the look.

    Args:
        floor_looks: those that make its floor.
    """
    error = None if means.error is None else spread_or_none(values_of(null[PLAIN], means.error))
    drifts = {look: values_of(rows, means.drift) for look, rows in null.items() if look != PLAIN}
    spreads = ((look, spread_or_none(values)) for look, values in drifts.items())
    return Own(
        error,
        tuple(LookDrift(look=look, drift=found) for look, found in spreads if found is not None),
        spread_or_none(np.concatenate([drifts[look] for look in floor_looks])),
    )


def agreement_of(measures: pa.Table, drifts: Mapping[str, Means] = DRIFTS) -> tuple[Agreement, ...]:
    """Whether the witnesses single out the same samples, pair by pair."""
    found = []
    for (first, a), (second, b) in combinations(drifts.items(), 2):
        one, other = values_of(measures, a.drift), values_of(measures, b.drift)
        both = np.isfinite(one) & np.isfinite(other)
        if both.sum() < 3:
            continue
        one, other = one[both], other[both]
        varies = np.ptp(one) > 0 and np.ptp(other) > 0
        found.append(
            Agreement(
                first=first,
                second=second,
                num=int(both.sum()),
                rank_correlation=float(spearmanr(one, other).statistic) if varies else None,
                median_difference_px=float(np.median(np.abs(one - other)))
                if a.unit == b.unit == "px"
                else None,
            )
        )
    return tuple(found)


def drift_lines(witnesses: Iterable[tuple[str, Witness | None]]) -> list[str]:
    """Every drift beside its floor, for a terminal."""
    lines = []
    for name, witness in witnesses:
        if witness is None:
            continue
        if witness.drift is None:
            lines.append(f"drift by {name}: nothing could be measured")
            continue
        drift, floor = witness.drift, witness.floor
        lines.append(
            f"drift by {name} ({witness.num_measured} of {witness.num_samples} samples): "
            f"{drift.mean:.2f} ± {drift.sd:.2f} {witness.unit}, median {drift.median:.2f}, 95 % "
            f"below {drift.p95:.2f}; floor: "
            + ("not measured" if floor is None else f"{floor.median:.2f}, {floor.p95:.2f}")
        )
    return lines


def _unmeasured(measures: pa.Table, name: str) -> dict[str, int]:
    if name == "pupil":
        return dict(sorted(Counter(filter(None, measures["pupil_reason"].to_pylist())).items()))
    missing = measures[DRIFTS[name].drift].null_count
    return {"too little of the picture to match": missing} if missing else {}


def _mean_shift(measures: pa.Table, means: Means) -> tuple[float, float] | None:
    if means.drift == "pupil_drift_px":
        shift = [
            values_of(measures, f"pupil_refined_{axis}_px")
            - values_of(measures, f"pupil_parent_{axis}_px")
            for axis in "xy"
        ]
    else:
        return shift_of(measures, means)
    return _mean_of(shift)


def shift_of(measures: pa.Table, means: Means) -> tuple[float, float] | None:
    """The mean signed displacement; None where a witness has none, or nothing was measured."""
    if means.shift is None:
        return None
    return _mean_of([values_of(measures, column) for column in means.shift])


def _mean_of(shift: Sequence[Values]) -> tuple[float, float] | None:
    known = np.isfinite(shift[0])
    return (float(shift[0][known].mean()), float(shift[1][known].mean())) if known.any() else None


def _conditions(measures: pa.Table) -> tuple[Condition, ...]:
    """What drifts are binned by."""
    angles = [
        Condition(f"{words}, deg", np.degrees(values_of(measures, column)), ANGLE_EDGES_DEG)
        for words, column in (
            ("gaze yaw", "gaze_yaw_rad"),
            ("gaze pitch", "gaze_pitch_rad"),
            ("head yaw", "head_yaw_rad"),
            ("head pitch", "head_pitch_rad"),
        )
    ]
    others = []
    for words, column in (
        ("lid opening, share of the eye's width", "opening"),
        ("brightness of the render, grey levels", "brightness"),
    ):
        values = values_of(measures, column)
        others.append(Condition(words, values, quantile_edges(values, NUM_QUANTILE_BINS)))
    return (*angles, *others)
