"""Which samples a gate keeps, and whether it drops too many of them.

A gate's `[[sample]]` tables say what a sample may measure. How many may miss a limit is judged by
counting: the dataset fails when more do than chance would give if a share of `max_share` did, and
so does a shard on its own, so one bad shard in a thousand good ones is not averaged away.

A bound is a number, or it is relative: so many spreads beyond the median of the set. What a refiner
does to all of its images differs by a factor of ten between refiners that hold labels and those
that redraw; how far the rarest sample lies beyond the others does not (docs/validation.md).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import binom

from factory.dataset.columns import values_of
from schemas.gate import SampleLimit
from schemas.report import SampleCheck, ShardCount
from schemas.verdicts import VERDICT_SCHEMA

CHANCE = 1e-6
"""how rarely counts of a clean dataset may pass what is allowed; there is one for each limit and
shard, so it must be small"""
MAX_SHARDS_NAMED = 20


def resolved(
    limit: SampleLimit, values: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> SampleLimit:
    """A limit with its bounds in the unit of the measure.

    Args:
        values: (N,) of the measure, of the whole set; what was not measured is NaN. Without any
            value a relative bound stays as it is.
        weights: (N,) how often each value is in the set; each once when None.
    """
    if not limit.is_relative:
        return limit
    is_known = np.isfinite(values)
    if weights is not None:
        is_known &= weights > 0
        weights = weights[is_known]
    if not is_known.any():
        return limit
    low, median, high = np.quantile(
        values[is_known], (0.25, 0.5, 0.75), weights=weights, method="inverted_cdf"
    ).tolist()
    bounds = {}
    if limit.at_most_spreads is not None:
        bounds["at_most"] = median + limit.at_most_spreads * (high - median)
    if limit.at_least_spreads is not None:
        bounds["at_least"] = median - limit.at_least_spreads * (median - low)
    return limit.model_copy(update=bounds)


def resolved_all(measures: pa.Table, limits: Sequence[SampleLimit]) -> list[SampleLimit]:
    """Limits with their bounds in the units of their measures, for the set of these samples."""
    return [resolved(limit, values_of(measures, limit.measure)) for limit in limits]


def missed(measures: pa.Table, limit: SampleLimit) -> NDArray[np.bool_]:
    """(N,) which samples miss a limit.

    What could not be measured (null) does not miss it. A measurement that is not finite does: it is
    a fault of the measurer and shows nothing good of the sample.

    Args:
        limit: with bounds in the measure's unit (`resolved`).
    """
    column = measures[limit.measure]
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    with np.errstate(invalid="ignore"):
        is_kept = np.isfinite(values)
        if limit.at_most is not None:
            is_kept &= values <= limit.at_most
        if limit.at_least is not None:
            is_kept &= values >= limit.at_least
    return np.asarray(~is_kept & column.is_valid().to_numpy(), bool)


@cache
def most_allowed(num: int, share: float) -> int:
    """How many of `num` samples may miss a limit that a share of them misses by nature.

    More than this have a chance of one in a million (a binomial count's upper tail).
    """
    return int(binom.isf(CHANCE, num, share)) if num else 0


def verdicts_of(measures: pa.Table, limits: Sequence[SampleLimit]) -> pa.Table:
    """Rows of `VERDICT_SCHEMA`, sorted by key: keep or drop, and why.

    Args:
        limits: with bounds in the measures' units (`resolved_all`).
    """
    dropping = [limit for limit in limits if limit.drop]
    misses = [missed(measures, limit) for limit in dropping]
    drop = np.any(misses, axis=0) if misses else np.zeros(len(measures), bool)
    reasons: list[list[str]] = [[] for _ in range(len(measures))]
    for limit, missing in zip(dropping, misses, strict=True):
        for row in np.flatnonzero(missing):
            reasons[row].append(limit.name)
    return pa.table(
        {
            "key": measures["key"].combine_chunks(),
            "keep": pa.array(~drop),
            "reasons": pa.array(reasons, pa.list_(pa.string())),
        },
        schema=VERDICT_SCHEMA,
    ).sort_by("key")


def check_samples(measures: pa.Table, limits: Sequence[SampleLimit]) -> tuple[SampleCheck, ...]:
    """Every limit on samples against the whole set and against each of its shards.

    A limit on a measure that no sample has is missed: the network that measures it was not given.

    Args:
        limits: with bounds in the measures' units (`resolved_all`).
    """
    shards, which = np.unique(_shards(measures), return_inverse=True)
    sizes = np.bincount(which, minlength=len(shards))
    checks = []
    for limit in limits:
        missing = missed(measures, limit)
        counts = np.bincount(which[missing], minlength=len(shards))
        bad = [
            ShardCount(shard=int(shard), num_missed=int(count), num_samples=int(size))
            for shard, count, size in zip(shards, counts, sizes, strict=True)
            if limit.shard_share is not None and count > most_allowed(int(size), limit.shard_share)
        ]
        num, num_missed = len(measures), int(missing.sum())
        measured = int(pc.count(measures[limit.measure]).as_py())
        allowed = None if limit.max_share is None else most_allowed(num, limit.max_share)
        few_missed = allowed is None or num_missed <= allowed
        judges = limit.max_share is not None or limit.shard_share is not None
        blind = judges and num > 0 and measured == 0  # a network that the gate needs is missing
        checks.append(
            SampleCheck(
                **limit.model_dump(exclude={"at_most_spreads", "at_least_spreads"}),
                limit=limit.name,
                num_measured=measured,
                num_missed=num_missed,
                share=num_missed / num if num else 0.0,
                most_allowed=allowed,
                num_bad_shards=len(bad),
                bad_shards=tuple(
                    sorted(bad, key=lambda shard: -shard.num_missed / shard.num_samples)
                )[:MAX_SHARDS_NAMED],
                passed=few_missed and not bad and not blind,
            )
        )
    return tuple(checks)


def _shards(measures: pa.Table) -> NDArray[np.int64]:
    """(N,) the shard that each key names."""
    shards = pc.list_element(pc.split_pattern(measures["key"], "-"), 0)
    return np.asarray(shards.cast(pa.int64()).to_numpy())
