"""How small a damage validation catches: limits are fitted on one half of the clean samples; on the
other half false alarms are counted and damaged samples are mixed in.

The halves are of different identities. A limit is a measure, a threshold that only so many clean
samples pass, and the share of them that does. A set is refused where more of its samples pass the
threshold than that share explains (`factory.validation.sample_checks`). Sets are drawn anew many
times: identities first, with replacement, then samples of these, so that a set varies as sets of
other people would. Bounds that are relative to a set are those of the whole half, mixed with the
damaged samples, and not of every set that is drawn from it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import beta

from factory.dataset.columns import values_of
from factory.measures.statistics import clusters_of
from factory.validation.power.damages import Tail
from factory.validation.sample_checks import missed, most_allowed, resolved, resolved_all
from schemas.gate import SampleLimit
from schemas.power import SHARES, Bound, PowerSettings

Flags = NDArray[np.bool_]
"""(N, L) which samples miss which limits"""
MIN_CLEAN = 100
"""measured clean samples without which a measure gets no limits"""
COUNTED_RATE = 0.005
"""rates of clean samples below this are extrapolated rather than counted"""


class CleanHalves(NamedTuple):
    """Rows of the clean samples, split by identity."""

    fit: NDArray[np.intp]
    test: NDArray[np.intp]


def halves_of(measures: pa.Table, seed: int) -> CleanHalves:
    """Two halves of the identities, at random.

    Raises:
        ValueError: fewer than four identities.
    """
    clusters = clusters_of(measures["identity"].to_pylist())
    num = int(clusters.max(initial=-1)) + 1
    if num < 4:
        raise ValueError(f"{num} identities cannot be split into halves that vary")
    order = np.random.default_rng(seed).permutation(num)
    is_fit = np.isin(clusters, order[: num // 2])
    return CleanHalves(np.flatnonzero(is_fit), np.flatnonzero(~is_fit))


def fitted_limits(
    clean: pa.Table, tails: Sequence[Tail], settings: PowerSettings
) -> tuple[SampleLimit, ...]:
    """Limits that the clean samples keep, for a gate: one for each tail and rate.

    Only the rarest rate of a measure drops a sample; the others count. A measure that depends on
    who is shown gets no others: how many of other people lie there cannot be told.

    Raises:
        ValueError: no measure has `MIN_CLEAN` measured samples.
    """
    clusters = clusters_of(clean["identity"].to_pylist())
    rng = np.random.default_rng([settings.seed, 1])
    limits = []
    for tail in tails:
        values = values_of(clean, tail.measure)
        if np.isfinite(values).sum() < MIN_CLEAN:
            continue
        for rate in settings.rates:
            if tail.personal and rate >= COUNTED_RATE:
                continue
            threshold = float(f"{_threshold(values, tail, rate, settings.tail):.3g}")
            limit = SampleLimit(
                measure=tail.measure,
                at_most=threshold if tail.high else None,
                at_least=None if tail.high else threshold,
                why=tail.why,
                drop=rate == min(settings.rates),
            )
            if rate < COUNTED_RATE:
                share = rare_share(missed(clean, limit), rate, tail.light)
                shares = {
                    "max_share": share,
                    "shard_share": min(1.0, settings.shard_factor * share),
                }
            else:
                shares = _shares(missed(clean, limit), clusters, settings, rng)
            limits.append(limit.model_copy(update=shares))
    if not limits:
        raise ValueError(
            f"{len(clean)} clean samples in one half of the identities; limits need "
            f"{MIN_CLEAN} measured ones there"
        )
    return tuple(limits)


def rare_share(misses: NDArray[np.bool_], rate: float, light: bool) -> float:
    """The share that an extrapolated threshold may be passed by: its rate, or what so few clean
    samples cannot rule out; of a light tail the rate, unless more of them pass than it explains."""
    num, trials = int(misses.sum()), len(misses)
    if light and num <= max(1, rate * trials):
        return rate
    return max(rate, float(f"{bound_of(num, trials).upper:.2g}"))


def _threshold(values: NDArray[np.float64], tail: Tail, rate: float, heavier: float) -> float:
    """What a share of `rate` of the clean samples passes.

    Rates that a few hundred samples cannot show are extrapolated: in an exponential tail every
    tenth of the rate lies as much further out as the one before.
    """
    sign = 1.0 if tail.high else -1.0
    known = sign * values[np.isfinite(values)]
    if rate >= COUNTED_RATE:
        return sign * float(np.quantile(known, 1 - rate))
    tenth, hundredth = np.quantile(known, (0.9, 0.99))
    decades = np.log10(0.01 / rate)
    return sign * float(hundredth + heavier * decades * (hundredth - tenth))


def _shares(
    misses: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    settings: PowerSettings,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Shares that sets, and shards of them, of other identities may be expected to keep.

    An identity thrice as bad as the worst one seen is taken to be among them.
    """
    seen = np.bincount(clusters, misses) / np.bincount(clusters)
    rate = np.append(seen, min(1.0, 3 * float(seen.max())))
    draws = rng.integers(len(rate), size=(2_000, len(rate)))
    of_sets = rate[draws].mean(axis=1)
    of_set = min(1.0, float(of_sets.mean() + settings.margin_sd * of_sets.std()))
    of_shard = max(of_set, float(rate.max()))
    return {"max_share": float(f"{of_set:.2g}"), "shard_share": float(f"{of_shard:.2g}")}


def flags_of(measures: pa.Table, limits: Sequence[SampleLimit]) -> Flags:
    """(N, L) which samples miss which limits, each a part of the set of them all."""
    return _flags_of(measures, resolved_all(measures, limits))


def _flags_of(measures: pa.Table, limits: Sequence[SampleLimit]) -> Flags:
    """The same of limits with bounds in the units of their measures."""
    return np.stack([missed(measures, limit) for limit in limits], axis=1)


class DamagedFlags(NamedTuple):
    """Which limits the same samples miss once they are damaged."""

    flags: Flags
    is_harmed: NDArray[np.bool_]
    """(N,) which samples the damage changes by as much as it should"""
    in_mixture: Callable[[float], tuple[Flags, Flags]] | None = None
    """for limits with bounds that depend on the set: the flags of clean and of damaged samples in a
    set of which such a share, 0 to 1, is damaged"""


def damaged_flags(
    clean: pa.Table,
    damaged: pa.Table,
    is_harmed: NDArray[np.bool_],
    limits: Sequence[SampleLimit],
) -> DamagedFlags:
    """Which limits samples miss once they are damaged.

    Args:
        clean: measurements of N samples.
        damaged: measurements of the same samples, in the same order, once they are damaged.
    """
    flags = flags_of(damaged, limits)
    if not any(limit.is_relative for limit in limits):
        return DamagedFlags(flags, is_harmed)
    values = [
        np.append(values_of(clean, limit.measure), values_of(damaged, limit.measure))
        for limit in limits
    ]

    def in_mixture(share: float) -> tuple[Flags, Flags]:
        weights = np.append(
            np.full(len(clean), (1 - share) / len(clean)), share * is_harmed / is_harmed.sum()
        )
        fitting = [resolved(limit, of, weights) for limit, of in zip(limits, values, strict=True)]
        return _flags_of(clean, fitting), _flags_of(damaged, fitting)

    return DamagedFlags(flags, is_harmed, in_mixture)


def bound_of(num: int, trials: int) -> Bound:
    """Of `num` events in so many trials."""
    upper = 1.0 if num == trials else float(beta.ppf(0.95, num + 1, trials - num))
    return Bound(num=num, trials=trials, share=num / trials, upper=upper)


class Refusals:
    """Draws sets from one half of the clean samples and says which are refused."""

    def __init__(
        self,
        clean: Flags,
        identities: Sequence[str | None],
        limits: Sequence[SampleLimit],
        settings: PowerSettings,
    ) -> None:
        self.clean, self.settings = clean.astype(np.float32), settings
        self.limits = limits
        self._clusters = clusters_of(identities)
        self._num_clusters = int(self._clusters.max()) + 1
        self._size_of = np.bincount(self._clusters)
        self._allowed: dict[tuple[int, str], NDArray[np.int_]] = {}

    def of_clean(self, size: int, num_sets: int) -> Bound:
        """How many clean sets of a size are refused, as wholes or for one of their shards."""
        rng = self._rng(size)
        refused = 0
        for _ in range(num_sets):
            weights = self._drawn(size, rng)
            is_refused = self._too_many(weights @ self.clean, size, "max_share").any()
            refused += bool(is_refused or self._bad_shard(size, rng))
        return bound_of(refused, num_sets)

    def of_damaged(self, damaged: DamagedFlags, size: int, share: float) -> NDArray[np.float64]:
        """(L + 1,) share of the damaged sets that each limit refuses, and any of them.

        Args:
            share: of the samples of a set that are damaged, one at least.
        """
        rng = self._rng(size)
        num_bad = max(1, round(share * size))
        clean, harmed = self._flags(damaged, num_bad / size)
        refused = np.zeros(len(self.limits) + 1)
        for _ in range(self.settings.num_damaged):
            counts = self._drawn(size - num_bad, rng) @ clean
            counts += self._drawn(num_bad, rng, damaged.is_harmed) @ harmed
            refusing = self._too_many(counts, size, "max_share")
            refused[:-1] += refusing
            refused[-1] += refusing.any()
        return refused / self.settings.num_damaged

    def of_bad_shard(self, damaged: DamagedFlags, size: int) -> float:
        """Share of the sets that are refused when one of their shards is all damaged."""
        rng = self._rng(size)
        num = size // self.settings.shards
        _, harmed = self._flags(damaged, 1 / self.settings.shards)
        refused = 0
        for _ in range(self.settings.num_damaged):
            counts = self._drawn(num, rng, damaged.is_harmed) @ harmed
            refused += bool(self._too_many(counts, num, "shard_share").any())
        return refused / self.settings.num_damaged

    def smallest_share(
        self, damaged: DamagedFlags, size: int
    ) -> tuple[NDArray[np.float64], float | None, NDArray[np.float64]]:
        """Smallest share of damaged samples that is caught: by any limit, and by each.

        Returns:
            The share of sets refused at each of `SHARES`; the smallest share of them that is
            caught, None where even a set that is all damaged passes; and (L,) the same by limit,
            NaN for such.
        """
        shares = np.maximum(SHARES, 1 / size)
        caught = np.stack([self.of_damaged(damaged, size, share) for share in shares.tolist()])
        enough = caught >= self.settings.power
        first = np.where(enough.any(axis=0), enough.argmax(axis=0), -1)
        smallest = np.where(first >= 0, shares[first], np.nan)
        smallest_of_any = None if np.isnan(smallest[-1]) else float(smallest[-1])
        return caught[:, -1], smallest_of_any, smallest[:-1]

    def _flags(
        self, damaged: DamagedFlags, share: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Flags of the clean and of the damaged samples in a set of which a share is damaged."""
        if damaged.in_mixture is None:
            return self.clean, damaged.flags.astype(np.float32)
        of_clean, of_damaged = damaged.in_mixture(share)
        return of_clean.astype(np.float32), of_damaged.astype(np.float32)

    def _drawn(
        self, size: int, rng: np.random.Generator, among: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """(N,) how often each sample is in a set of `size`: identities first, then samples.

        Args:
            among: (N,) the samples that may be drawn; all when None.
        """
        times = np.bincount(
            rng.integers(self._num_clusters, size=self._num_clusters),
            minlength=self._num_clusters,
        )
        chance = (times / self._size_of)[self._clusters]
        if among is not None:
            chance = chance * among if (chance * among).any() else among.astype(np.float64)
        return rng.multinomial(size, chance / chance.sum()).astype(np.float32)

    def _bad_shard(self, size: int, rng: np.random.Generator) -> bool:
        num = size // self.settings.shards
        for _ in range(self.settings.shards):
            counts = self._drawn(num, rng) @ self.clean
            if self._too_many(counts, num, "shard_share").any():
                return True
        return False

    def _too_many(self, counts: NDArray[np.float32], size: int, share: str) -> Flags:
        if (size, share) not in self._allowed:
            shares = (getattr(limit, share) for limit in self.limits)
            self._allowed[size, share] = np.asarray(
                [size if allowed is None else most_allowed(size, allowed) for allowed in shares]
            )
        return np.asarray(np.rint(counts) > self._allowed[size, share])

    def _rng(self, size: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, 2, size])


def by_measure(limits: Sequence[SampleLimit], smallest: NDArray[np.float64]) -> Mapping[str, float]:
    """The smallest share that each measure catches by one of its limits; without those that
    catch nothing."""
    shares: dict[str, float] = {}
    for limit, share in zip(limits, smallest.tolist(), strict=True):
        if not np.isnan(share):
            shares[limit.measure] = min(share, shares.get(limit.measure, 1.0))
    return shares
