"""What every domain's witnesses have in common.

A witness is one way of telling how far a refined picture and its labels have come apart, by means
of its own. Beside what it says of the dataset stand its own error, where the truth is known, and
its floor: what it says of two looks of one geometry, where nothing moved.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr

from factory.dataset.columns import values_of
from factory.measures.statistics import (
    Condition,
    binned,
    clusters_of,
    estimate,
    spread_or_none,
)
from schemas.report import Agreement, LookDrift, Spread, Witness

Values = NDArray[np.float64]
NUM_QUANTILE_BINS = 4
"""into which samples are cut by a condition that has no natural ranges"""


class Means(NamedTuple):
    """How a witness measures, and which columns of the measurements hold its answers."""

    unit: Literal["px", "deg", "mm"]
    means: str
    """in words, for the report"""
    drift: str
    """column of the distance between what it finds in the parent and in the refined picture"""
    error: str | None = None
    """column of its distance from the label; None for a witness that only compares two pictures"""
    shift: tuple[str, str] | None = None
    """columns of the signed displacement, (x, y) or (yaw, pitch); None where it has none"""


NullMeasures = Mapping[str, pa.Table]
"""By look: measurements of images whose look was changed and whose geometry was not; the unchanged
images against themselves under `PLAIN`."""
PLAIN = "unchanged"


class OwnError(NamedTuple):
    """What a witness says where the truth is known."""

    error: Spread | None
    """of the parents' pictures against their labels"""
    null_drift: tuple[LookDrift, ...]
    """of two looks of one geometry"""
    floor: Spread | None
    """null drift over the looks that are most like a refiner's change"""


def witness_of(
    measures: pa.Table,
    means: Means,
    own: OwnError,
    conditions: Sequence[Condition],
    *,
    network: str | None,
    unmeasured: Mapping[str, int],
    mean_shift: tuple[float, float] | None,
) -> Witness:
    """What one witness says of all measured samples.

    Args:
        measures: rows of the domain's measurements.
        conditions: by which the drifts are binned.
        network: sha256 of the network by which it measures; None for one without a network.
        unmeasured: reason to number of samples.
        mean_shift: mean signed displacement, in the unit of `means`.
    """
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


def own_by_looks(null: NullMeasures, means: Means, floor_looks: Sequence[str]) -> OwnError:
    """The own error and the floor of a witness that measures in the same way whatever the look.

    Args:
        floor_looks: names of the looks whose drifts together make the floor.
    """
    error = None if means.error is None else spread_or_none(values_of(null[PLAIN], means.error))
    drifts = {look: values_of(rows, means.drift) for look, rows in null.items() if look != PLAIN}
    spreads = ((look, spread_or_none(values)) for look, values in drifts.items())
    return OwnError(
        error,
        tuple(LookDrift(look=look, drift=drift) for look, drift in spreads if drift is not None),
        spread_or_none(np.concatenate([drifts[look] for look in floor_looks])),
    )


def agreement_of(measures: pa.Table, drifts: Mapping[str, Means]) -> tuple[Agreement, ...]:
    """Whether the witnesses single out the same samples, pair by pair; pairs of witnesses that have
    fewer than three samples in common are left out."""
    agreements = []
    for (first, a), (second, b) in combinations(drifts.items(), 2):
        one, other = values_of(measures, a.drift), values_of(measures, b.drift)
        both = np.isfinite(one) & np.isfinite(other)
        if both.sum() < 3:
            continue
        one, other = one[both], other[both]
        varies = np.ptp(one) > 0 and np.ptp(other) > 0
        agreements.append(
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
    return tuple(agreements)


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


def shift_of(measures: pa.Table, means: Means) -> tuple[float, float] | None:
    """The mean signed displacement; None where a witness has none, or nothing was measured."""
    if means.shift is None:
        return None
    return mean_shift_of([values_of(measures, column) for column in means.shift])


def mean_shift_of(shift: Sequence[Values]) -> tuple[float, float] | None:
    """The mean of two columns (N,) of displacements, NaN left out; None where all are NaN."""
    known = np.isfinite(shift[0])
    return (float(shift[0][known].mean()), float(shift[1][known].mean())) if known.any() else None


def worst_rows(measures: pa.Table, drifts: Mapping[str, Means], most: int) -> list[tuple[int, str]]:
    """The samples with the largest drift by each witness, the worst of every witness first.

    Args:
        drifts: the witnesses by name.
        most: how many samples in all.

    Returns:
        The row in `measures`, and the drift in words, e.g. `2.30 px by the witness iris`.
    """
    ranked = []
    for order, (name, means) in enumerate(drifts.items()):
        drift = np.nan_to_num(values_of(measures, means.drift), nan=-1.0)
        for rank, row in enumerate(np.argsort(-drift, kind="stable")[: most // len(drifts)]):
            if drift[row] > 0:
                unit = "°" if means.unit == "deg" else f" {means.unit}"
                words = f"{drift[row]:.2f}{unit} by the witness {name.replace('_', ' ')}"
                ranked.append((rank, order, int(row), words))
    return [(row, words) for _, _, row, words in sorted(ranked)]
