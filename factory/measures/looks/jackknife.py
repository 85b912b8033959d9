"""Intervals for measures of two sets, by a jackknife that leaves half of both sets out.

A bootstrap draws images with replacement. That puts copies into a set, which then seems less
varied than it is, and its Fréchet and Wasserstein distances become too large. The delete-d
jackknife (Shao and Wu 1989) draws without replacement. Each of its rounds keeps half of the images,
so its values are too large as well, but only their variance over the rounds is used: multiplied by
the number kept over the number left out (about 1 for halves), it estimates the variance of the
value. Both sets vary in every round. Where the sets hardly differ, distances that cannot be
negative shrink faster with the number of images than this assumes, and the intervals are too wide
rather than too narrow.

Images of one identity (a person, a scene) resemble each other. Where identities are known, a round
keeps or leaves out whole identities, and the interval says what other identities would have given.

Axes in names: R rounds, N images, M measures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from factory.measures.two_sample import Z95, wilson
from schemas.realism import Compared, Distance

Keep = NDArray[np.bool_]
"""(R, N) which images each round keeps"""
Groups = NDArray[np.intp]
"""(N,) number of each image's identity"""
Values = NDArray[np.float64]
Statistic = Callable[[Keep, Keep], Values]
"""gives (R, M) values from what the rounds keep of a set and of its reference, equally many images
of each in a round"""
Bounds = tuple[float, float]
"""the least and the greatest value that a measure can have"""
POSITIVE: Bounds = 0, float("inf")
MIN_IDENTITIES = 4
"""with fewer, an interval over identities would mean nothing"""
X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Rounds:
    """The rounds of a jackknife over a set and its reference, both of N images."""

    other: Keep
    """which images of the set each round keeps"""
    reference: Keep
    """which images of the reference each round keeps"""
    num_units: int
    """number of images, or of identities where these are known"""
    num_kept: int
    """how many of these units each round keeps"""

    @classmethod
    def draw(cls, num_rounds: int, num_images: int, groups: Groups | None, seed: int) -> "Rounds":
        """Draw which images the rounds keep.

        Args:
            groups: identities of the set's images; None where every image counts as its own, as
                the images of the reference do.
        """
        rng = np.random.default_rng((seed, num_images))
        members = np.arange(num_images) if groups is None else groups
        num_units = int(members.max()) + 1
        num_kept = (num_units + 1) // 2
        other = np.zeros((num_rounds, num_images), bool)
        reference = np.zeros_like(other)
        for kept, like in zip(other, reference, strict=True):
            kept[:] = (rng.permutation(num_units) < num_kept)[members]
            like[rng.permutation(num_images)[: kept.sum()]] = True
        return cls(other, reference, num_units, num_kept)

    def half_width(self, values_R: Values) -> float:
        """Half the width of the 95 % interval of a value, from the values of the R rounds."""
        ratio = self.num_kept / (self.num_units - self.num_kept)
        sd = float(np.sqrt(ratio * np.var(values_R, ddof=1)))
        return float(stats.t.ppf(0.975, self.num_units - 1)) * sd

    def distances(self, statistic: Statistic, bounds: Sequence[Bounds]) -> list[Distance]:
        """The M measures of all images, each with its 95 % interval.

        Args:
            statistic: of the set and its reference.
            bounds: of the M measures; intervals are clipped to them.
        """
        everything = np.ones((1, self.other.shape[1]), bool)
        values_M, values_RM = (
            statistic(everything, everything)[0],
            statistic(self.other, self.reference),
        )
        distances = []
        for value, values_R, (least, most) in zip(values_M, values_RM.T, bounds, strict=True):
            half = self.half_width(values_R)
            low, high = max(value - half, least), min(value + half, most)
            distances.append(Distance(value=value, low=min(low, value), high=max(high, value)))
        return distances

    def share(self, is_so: NDArray[np.bool_]) -> Distance:
        """The share of the set's images for which something is true, with a 95 % interval.

        It is a Wilson interval. The number of independent images that it assumes is the one that
        explains the variance over the rounds; for shares of 0 and 1, it is the number of units.

        Args:
            is_so: (N,) for which images it is true.
        """
        share = float(is_so.mean())
        worth = float(self.num_units)
        if 0 < share < 1:
            half = self.half_width((self.other @ is_so) / self.other.sum(axis=1))
            worth = share * (1 - share) * (Z95 / half) ** 2 if half > 0 else worth
        low, high = wilson(share, min(worth, len(is_so)))
        return Distance(value=share, low=min(low, share), high=max(high, share))


class Sets(NamedTuple, Generic[X]):
    """Four sets of N images each, or something computed from each of them."""

    synthetic: X
    refined: X
    other_half: X
    """the other half of the real images, which gives the floor"""
    reference: X
    """the half of the real images that all other sets are compared with"""

    def map(self, function: Callable[[X], Y]) -> "Sets[Y]":
        """Apply a function to each of the four."""
        return Sets(*(function(one) for one in self))


@dataclass(frozen=True)
class Jackknife:
    """Rounds that are the same for every measure, so that measures can be compared."""

    num_rounds: int
    num_images: int
    """images of each set"""
    groups: Groups | None
    """identities of the renders; None where they are not known"""
    seed: int

    @cached_property
    def of_renders(self) -> Rounds:
        """The rounds of both renders and refined images, which are pairs."""
        return Rounds.draw(self.num_rounds, self.num_images, self.groups, self.seed)

    @cached_property
    def of_real(self) -> Rounds:
        """The rounds of the other half of the real images."""
        return Rounds.draw(self.num_rounds, self.num_images, None, self.seed)

    def compare(
        self,
        sets: Sets[X],
        statistic_of: Callable[[X, X], Statistic],
        *bounds: Bounds,
    ) -> list[Compared]:
        """The M measures of each set against the reference, with intervals.

        Args:
            sets: of what `statistic_of` takes.
            statistic_of: makes the statistic of M measures from a set and the reference.
            bounds: of each of the M measures.
        """
        distances = [
            rounds.distances(statistic_of(one, sets.reference), bounds)
            for one, rounds in (
                (sets.synthetic, self.of_renders),
                (sets.refined, self.of_renders),
                (sets.other_half, self.of_real),
            )
        ]
        return [
            Compared(synthetic=synthetic, refined=refined, floor=floor)
            for synthetic, refined, floor in zip(*distances, strict=True)
        ]

    def together(
        self, sets: Sets[X], statistic_of: Callable[[X, X], Statistic]
    ) -> tuple[Values, Values]:
        """One measure of each set against the reference, the same images kept in all three.

        A round keeps the same renders before and after refining, and one choice of the reference;
        of the other half of the real images it keeps as many. So what moves all three together
        cancels in their differences.

        Returns:
            (3,) values of all images and (R, 3) of the rounds: synthetic, refined, floor.
        """
        rounds = self.of_renders
        everything = np.ones((1, self.num_images), bool)
        columns = []
        for one in (sets.synthetic, sets.refined, sets.other_half):
            statistic = statistic_of(one, sets.reference)
            of_all, of_rounds = (
                statistic(everything, everything),
                statistic(rounds.other, rounds.reference),
            )
            columns.append(np.concatenate([of_all, of_rounds])[:, 0])
        values = np.stack(columns, axis=1)
        return values[0], values[1:]


def groups_of(identities: Sequence[str]) -> Groups:
    """(N,) numbers of identities, counted from 0.

    Args:
        identities: the N names.

    Raises:
        ValueError: there are fewer than `MIN_IDENTITIES` different ones.
    """
    names, groups = np.unique(np.asarray(identities, dtype=str), return_inverse=True)
    if len(names) < MIN_IDENTITIES:
        raise ValueError(
            f"there are {len(names)} identities, but intervals over identities need "
            f"{MIN_IDENTITIES} (leave identities out for intervals over images)"
        )
    return groups
