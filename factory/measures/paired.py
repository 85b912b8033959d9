"""Means and differences of errors with intervals over blocks and seeds.

Several models are trained with several seeds and are scored on the same test images. Images come
in blocks that resemble each other (consecutive frames, images of one person), so blocks are
resampled, not images; seeds are resampled beside them. A difference of two arms is paired: each
resample has the same blocks and the same seeds of both. Of n blocks (or seeds) n - 1 are drawn, so
that the variance of a mean is unbiased where there are few (the rescaling bootstrap of Rao and Wu
1988 for the mean).

Axes in names: S seeds, B blocks, M units, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas.evaluation import Interval

Values = NDArray[np.float64]
NUM_RESAMPLES = 10_000
LEVELS = (0.025, 0.975)
"""ends of a 95 % interval"""


class ByBlock(NamedTuple):
    """The errors of one arm, summed over the units of each block."""

    seeds: tuple[int, ...]
    sums_SB: Values  # noqa: N815
    counts_B: Values  # noqa: N815
    """number of units of each block"""

    @classmethod
    def of(cls, seeds: Sequence[int], errors_SM: Values, groups_M: NDArray[np.str_]) -> Self:
        """
        Args:
            errors_SM: (S, M) one row for each seed.
            groups_M: (M,) the block of each unit.

        Raises:
            ValueError: an error is not finite, or there are no units.
        """
        if not errors_SM.size or not np.isfinite(errors_SM).all():
            raise ValueError("errors have to be finite, and there has to be one at least")
        blocks, of_unit = np.unique(groups_M, return_inverse=True)
        sums = [np.bincount(of_unit, row, len(blocks)) for row in errors_SM]
        counts = np.bincount(of_unit, minlength=len(blocks)).astype(np.float64)
        return cls(tuple(seeds), np.asarray(sums, np.float64), counts)

    def with_seeds(self, seeds: Sequence[int]) -> Self:
        """The rows of some seeds. An arm that has a single row, as it does not depend on a seed,
        gives it for each of them."""
        if len(self.seeds) == 1 and self.seeds != tuple(seeds):
            rows = [0] * len(seeds)
        else:
            rows = [self.seeds.index(seed) for seed in seeds]
        return self._replace(seeds=tuple(seeds), sums_SB=self.sums_SB[rows])

    @property
    def mean(self) -> float:
        """The mean error over units and seeds."""
        return float(self.sums_SB.mean(axis=0).sum() / self.counts_B.sum())


class Resamples(NamedTuple):
    """How often each seed and each block is in each resample."""

    seeds_RS: Values  # noqa: N815
    blocks_RB: Values  # noqa: N815

    @classmethod
    def draw(cls, num_seeds: int, num_blocks: int) -> Self:
        """The same draws at every call."""
        rng = np.random.default_rng(0)
        return cls(_draw(num_seeds, rng), _draw(num_blocks, rng))

    def means_of(self, table: ByBlock) -> Values:
        """(R,) mean errors of an arm."""
        sums = np.einsum("rs,sb,rb->r", self.seeds_RS, table.sums_SB, self.blocks_RB)
        return np.asarray(sums / self.seeds_RS.sum(axis=1) / (self.blocks_RB @ table.counts_B))


def _draw(num: int, rng: np.random.Generator) -> Values:
    """(R, num) counts of n - 1 draws of n; all ones where there is one alone."""
    if num == 1:
        return np.ones((NUM_RESAMPLES, 1))
    drawn = rng.multinomial(num - 1, np.full(num, 1 / num), size=NUM_RESAMPLES)
    return drawn.astype(np.float64)


def interval(value: float, resampled_R: Values) -> Interval:
    """A number with the 95 % percentile interval of its resamples."""
    low, high = np.quantile(resampled_R, LEVELS)
    return Interval(value=value, low=float(low), high=float(high))


def mean_interval(table: ByBlock) -> Interval:
    """The mean error of an arm."""
    resamples = Resamples.draw(*table.sums_SB.shape)
    return interval(table.mean, resamples.means_of(table))


def shared(*tables: ByBlock) -> tuple[ByBlock, ...]:
    """The tables with the seeds that all have, in order. A table of a single seed counts as having
    them all.

    Raises:
        ValueError: no seed is in all, or the units differ.
    """
    several = [table for table in tables if len(table.seeds) > 1] or list(tables[:1])
    seeds = [s for s in several[0].seeds if all(s in table.seeds for table in several)]
    if not seeds:
        raise ValueError("no seed has a result in every arm that is compared")
    if any(not np.array_equal(table.counts_B, tables[0].counts_B) for table in tables):
        raise ValueError("arms were scored on different images")
    return tuple(table.with_seeds(seeds) for table in tables)


class Comparison(NamedTuple):
    """An arm's error less another one's, and the same as a share of the other's."""

    difference: Interval
    relative: Interval
    num_seeds: int


def compared(arm: ByBlock, other: ByBlock) -> Comparison:
    """The paired difference of two arms. Raises ValueError as `shared`."""
    arm, other = shared(arm, other)
    resamples = Resamples.draw(*arm.sums_SB.shape)
    ours, theirs = resamples.means_of(arm), resamples.means_of(other)
    return Comparison(
        interval(arm.mean - other.mean, ours - theirs),
        interval(arm.mean / other.mean - 1, ours / theirs - 1),
        len(arm.seeds),
    )


def share_closed(arm: ByBlock, baseline: ByBlock, best: ByBlock) -> Interval | None:
    """(baseline - arm) / (baseline - best); None where `best` is not better than the baseline.

    Raises:
        ValueError: as `shared`.
    """
    arm, baseline, best = shared(arm, baseline, best)
    resamples = Resamples.draw(*arm.sums_SB.shape)
    of_arm, of_baseline, of_best = map(resamples.means_of, (arm, baseline, best))
    gaps = of_baseline - of_best
    if baseline.mean <= best.mean or (gaps <= 0).any():
        return None
    share = (baseline.mean - arm.mean) / (baseline.mean - best.mean)
    return interval(share, (of_baseline - of_arm) / gaps)
