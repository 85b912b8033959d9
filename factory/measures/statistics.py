"""Means and quantiles with bootstrap intervals, in all and bin by bin.

Samples of one identity (skin texture, subject) resemble each other, so whole identities are drawn
anew (a cluster bootstrap, Field and Welsh 2007); where there are too few of them for that, samples
are. Everything is computed from the values themselves, in an order of their own: the same to the
last bit however shards and workers cut them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.report import Estimate, Spread, ValueBin

Values = NDArray[np.floating]
NUM_RESAMPLES = 400
MIN_CLUSTERS = 8
"""fewer identities than this say too little about others"""
QUANTILES = (0.5, 0.95, 0.99)
LEVELS = (0.025, 0.975)


def estimate(values_N: Values, clusters_N: NDArray[np.integer], seed: int = 0) -> Estimate | None:
    """Mean, standard deviation and quantiles of what was measured, with 95 % intervals.

    Args:
        values_N: NaN where nothing was measured.
        clusters_N: number of each value's identity, from 0; see `clusters_of`.

    Returns:
        None where nothing was measured.
    """
    known = np.isfinite(values_N)
    values, clusters = np.asarray(values_N[known], np.float64), clusters_N[known]
    if not len(values):
        return None
    order = np.lexsort((clusters, values))
    values, clusters = values[order], clusters[order]
    low, high = _intervals(values, clusters, seed)
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
    """(N,) number of each sample's identity; a sample without one is its own."""
    names = [name if name is not None else f"\0{k}" for k, name in enumerate(identities)]
    return np.asarray(np.unique(np.asarray(names, dtype=object), return_inverse=True)[1], np.int64)


def _intervals(
    values: Values, clusters: NDArray[np.integer], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the mean, the median and the 95th percentile of values in order."""
    rng = np.random.default_rng(seed)
    _, which = np.unique(clusters, return_inverse=True)
    num_clusters = int(which.max()) + 1
    found = np.empty((NUM_RESAMPLES, 3))
    for k in range(NUM_RESAMPLES):
        if num_clusters >= MIN_CLUSTERS:
            weights = np.bincount(rng.integers(num_clusters, size=num_clusters),
                                  minlength=num_clusters)[which]  # fmt: skip
        else:
            weights = np.bincount(rng.integers(len(values), size=len(values)),
                                  minlength=len(values))  # fmt: skip
        below = np.cumsum(weights)
        places = np.searchsorted(below, np.array([0.5, 0.95]) * below[-1])
        found[k, 0] = values @ weights / below[-1]
        found[k, 1:] = values[np.minimum(places, len(values) - 1)]
    low, high = np.quantile(found, LEVELS, axis=0)
    return low, high


@dataclass(frozen=True)
class Condition:
    """What values are binned by."""

    name: str
    """in words, with its unit"""
    values_N: Values  # noqa: N815
    edges: tuple[float, ...]
    """of the bins; the first and the last may be infinite"""


def binned(
    values_N: Values, clusters_N: NDArray[np.integer], conditions: Sequence[Condition]
) -> tuple[ValueBin, ...]:
    """The estimates of each bin of each condition; bins without samples are left out."""
    bins = []
    for condition in conditions:
        which = np.digitize(condition.values_N, condition.edges) - 1
        for place in range(len(condition.edges) - 1):
            here = which == place
            if here.any():
                bins.append(
                    ValueBin(
                        by=condition.name,
                        low=_finite(condition.edges[place]),
                        high=_finite(condition.edges[place + 1]),
                        num_samples=int(here.sum()),
                        estimate=estimate(values_N[here], clusters_N[here]),
                    )
                )
    return tuple(bins)


def quantile_edges(values_N: Values, num: int) -> tuple[float, ...]:
    """Edges of bins with about as many samples each, rounded to two digits to be read."""
    known = values_N[np.isfinite(values_N)]
    if not len(known):
        return (-np.inf, np.inf)
    inner = np.quantile(known, np.arange(1, num) / num)
    return (-np.inf, *sorted({float(f"{edge:.2g}") for edge in inner}), np.inf)


def _finite(edge: float) -> float | None:
    return float(edge) if np.isfinite(edge) else None


def spread(values: NDArray[np.floating]) -> Spread:
    """Five numbers of a sample; NaN where nothing was measured are left out.

    Raises:
        ValueError: no finite value.
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
    """`spread`, or None where nothing was measured."""
    return spread(values) if np.isfinite(values).any() else None
