"""Means and quantiles with bootstrap intervals, of all samples and of bins of them.

Samples of one identity (skin texture, subject) resemble each other, so the bootstrap resamples
whole identities (a cluster bootstrap, Field and Welsh 2007); where there are too few identities, it
resamples single samples. Values are sorted first, so that results are the same to the last bit
however shards and workers divide the samples.

Axes in names: N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.report import Estimate, Spread, ValueBin

Values = NDArray[np.floating]
NUM_RESAMPLES = 400
MIN_CLUSTERS = 8
"""with fewer identities than this, samples are resampled in place of identities"""
QUANTILES = (0.5, 0.95, 0.99)
LEVELS = (0.025, 0.975)
"""ends of a 95 % interval"""


def estimate(values_N: Values, clusters_N: NDArray[np.integer]) -> Estimate | None:
    """Mean, standard deviation and quantiles of the measured values, with 95 % intervals.

    Args:
        values_N: (N,) floats, NaN where nothing was measured.
        clusters_N: (N,) number of each value's identity, counted from 0; see `clusters_of`.

    Returns:
        None where nothing was measured.
    """
    known = np.isfinite(values_N)
    values, clusters = np.asarray(values_N[known], np.float64), clusters_N[known]
    if not len(values):
        return None
    order = np.lexsort((clusters, values))
    values, clusters = values[order], clusters[order]
    low, high = _intervals(values, clusters)
    median, p95, p99 = np.quantile(values, QUANTILES)
    return Estimate(
        num=len(values),
        mean=float(values.mean()),
        mean_low=float(low[0]),
        mean_high=float(high[0]),
        sd=float(values.std()),
        median=float(median),
        median_low=float(low[1]),
        median_high=float(high[1]),
        p95=float(p95),
        p95_low=float(low[2]),
        p95_high=float(high[2]),
        p99=float(p99),
    )


def clusters_of(identities: Sequence[str | None]) -> NDArray[np.int64]:
    """(N,) number of each sample's identity. A sample without one (None) counts as an identity."""
    names = [name if name is not None else f"\0{k}" for k, name in enumerate(identities)]
    return np.asarray(np.unique(np.asarray(names, dtype=object), return_inverse=True)[1], np.int64)


def _intervals(
    values: Values, clusters: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high bounds, (3,) each, of the mean, the median and the 95th percentile.

    Args:
        values: (N,) in ascending order.
    """
    rng = np.random.default_rng(0)
    _, which = np.unique(clusters, return_inverse=True)
    num_clusters = int(which.max()) + 1
    resampled = np.empty((NUM_RESAMPLES, 3))
    for k in range(NUM_RESAMPLES):
        if num_clusters >= MIN_CLUSTERS:
            weights = np.bincount(rng.integers(num_clusters, size=num_clusters),
                                  minlength=num_clusters)[which]  # fmt: skip
        else:
            weights = np.bincount(rng.integers(len(values), size=len(values)),
                                  minlength=len(values))  # fmt: skip
        below = np.cumsum(weights)
        ranks = np.searchsorted(below, np.array([0.5, 0.95]) * below[-1])
        resampled[k, 0] = values @ weights / below[-1]
        resampled[k, 1:] = values[np.minimum(ranks, len(values) - 1)]
    low, high = np.quantile(resampled, LEVELS, axis=0)
    return low, high


@dataclass(frozen=True)
class Condition:
    """A property of samples by whose value they are put into bins."""

    name: str
    """what the property is, in words, with its unit"""
    values_N: Values  # noqa: N815
    """(N,) its value for each sample"""
    edges: tuple[float, ...]
    """the edges of the bins in ascending order; the first and the last may be infinite"""


def binned(
    values_N: Values, clusters_N: NDArray[np.integer], conditions: Sequence[Condition]
) -> tuple[ValueBin, ...]:
    """The estimate of `values_N` in each bin of each condition. Bins without samples are left out.

    Args:
        values_N, clusters_N: as for `estimate`.
    """
    bins = []
    for condition in conditions:
        which = np.digitize(condition.values_N, condition.edges) - 1
        for number in range(len(condition.edges) - 1):
            in_bin = which == number
            if in_bin.any():
                bins.append(
                    ValueBin(
                        by=condition.name,
                        low=_finite(condition.edges[number]),
                        high=_finite(condition.edges[number + 1]),
                        num_samples=int(in_bin.sum()),
                        estimate=estimate(values_N[in_bin], clusters_N[in_bin]),
                    )
                )
    return tuple(bins)


def quantile_edges(values_N: Values, num: int) -> tuple[float, ...]:
    """Edges of `num` bins that hold about equally many samples, from -inf to inf.

    Edges are rounded to two digits, so that people can read them; equal ones are merged. NaN in
    `values_N` are ignored.
    """
    known = values_N[np.isfinite(values_N)]
    if not len(known):
        return (-np.inf, np.inf)
    inner = np.quantile(known, np.arange(1, num) / num)
    return (-np.inf, *sorted({float(f"{edge:.2g}") for edge in inner}), np.inf)


def _finite(edge: float) -> float | None:
    return float(edge) if np.isfinite(edge) else None


def spread(values: NDArray[np.floating]) -> Spread:
    """Count, mean, standard deviation, median and 95th percentile of the finite values.

    Raises:
        ValueError: there is no finite value.
    """
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if not len(finite):
        raise ValueError("nothing was measured")
    return Spread(
        num=len(finite),
        mean=float(finite.mean()),
        sd=float(finite.std()),
        median=float(np.median(finite)),
        p95=float(np.percentile(finite, 95)),
    )


def spread_or_none(values: NDArray[np.floating]) -> Spread | None:
    """`spread` of the values, or None where none of them is finite."""
    return spread(values) if np.isfinite(values).any() else None
