"""Intervals for measures of two sets, by leaving half of both out.

Drawing images with replacement, as a bootstrap does, puts copies into a set: it seems less varied
than it is, so Frechet and Wasserstein distances of resampled sets lie above those of the sets. The
delete-d jackknife (Shao and Wu 1989) draws without replacement. Its rounds have half of the images,
so that their values lie higher too, but only their scatter is used: kept / dropped times their
variance estimates that of the value, which is close to 1 for halves. The scatter is of both sets.
Where the sets hardly differ, distances that cannot be negative fall faster with n than that
assumes, and the intervals err on the wide side.

Images of one identity (a face, a scene) are alike: where identities are known, whole ones are kept
or left out, and the interval says what other identities would have given.

Axes in names: R rounds, N images, M measures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from factory.measures.two_sample import Z95, wilson
from schemas.realism import Compared, Distance

Keep = NDArray[np.bool_]
"""(R, N): the images that each round keeps"""
Groups = NDArray[np.intp]
"""(N,) number of each image's identity"""
Values = NDArray[np.float64]
Statistic = Callable[[Keep, Keep], Values]
"""of what is kept of a set and of its reference, as many of each in a round: (R, M) values"""
Bounds = tuple[float, float]
POSITIVE: Bounds = 0, float("inf")
MIN_IDENTITIES = 4
X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Rounds:
    """The rounds of a jackknife over a set and its reference, both of N images."""

    other: Keep
    reference: Keep
    num_units: int
    """images, or identities, of which `num_kept` are in each round"""
    num_kept: int

    @classmethod
    def draw(cls, num_rounds: int, num_images: int, groups: Groups | None, seed: int) -> "Rounds":
        """
        Args:
            groups: of the set's images; None where each is by itself, as in the reference.
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
        """Of the 95 % interval of a value, from those of the rounds."""
        ratio = self.num_kept / (self.num_units - self.num_kept)
        sd = float(np.sqrt(ratio * np.var(values_R, ddof=1)))
        return float(stats.t.ppf(0.975, self.num_units - 1)) * sd

    def distances(self, statistic: Statistic, bounds: Sequence[Bounds]) -> list[Distance]:
        """Each of the M measures, of all images, with its interval.

        Args:
            bounds: of what each measure can be, which cut its interval.
        """
        everything = np.ones((1, self.other.shape[1]), bool)
        values_M, values_RM = (
            statistic(everything, everything)[0],
            statistic(self.other, self.reference),
        )
        found = []
        for value, values_R, (least, most) in zip(values_M, values_RM.T, bounds, strict=True):
            half = self.half_width(values_R)
            low, high = max(value - half, least), min(value + half, most)
            found.append(Distance(value=value, low=min(low, value), high=max(high, value)))
        return found

    def share(self, is_so: NDArray[np.bool_]) -> Distance:
        """Share of the set's images of which something is so, with a Wilson interval of as many
        independent images as the rounds scatter by; of as many as there are units for 0 and 1."""
        share = float(is_so.mean())
        worth = float(self.num_units)
        if 0 < share < 1:
            half = self.half_width((self.other @ is_so) / self.other.sum(axis=1))
            worth = share * (1 - share) * (Z95 / half) ** 2 if half > 0 else worth
        low, high = wilson(share, min(worth, len(is_so)))
        return Distance(value=share, low=min(low, share), high=max(high, share))


class Sets(NamedTuple, Generic[X]):
    """Four sets of N images each, or what was made of them."""

    synthetic: X
    refined: X
    other_half: X
    """of the real images"""
    reference: X
    """the half of the real images that the others are compared with"""

    def map(self, function: Callable[[X], Y]) -> "Sets[Y]":
        return Sets(*(function(one) for one in self))


@dataclass(frozen=True)
class Jackknife:
    """The same rounds for every measure: of renders and refined ones, which are pairs, and of real
    images."""

    num_rounds: int
    num_images: int
    groups: Groups | None
    """identities of the renders"""
    seed: int
    of_renders: Rounds = field(init=False)
    of_real: Rounds = field(init=False)

    def __post_init__(self) -> None:
        of_real = Rounds.draw(self.num_rounds, self.num_images, None, self.seed)
        of_renders = (
            of_real
            if self.groups is None
            else Rounds.draw(self.num_rounds, self.num_images, self.groups, self.seed)
        )
        object.__setattr__(self, "of_real", of_real)
        object.__setattr__(self, "of_renders", of_renders)

    def compare(
        self,
        sets: Sets[X],
        statistic_of: Callable[[X, X], Statistic],
        *bounds: Bounds,
    ) -> list[Compared]:
        """Each of the M measures of all sets against the reference.

        Args:
            statistic_of: makes the measures of (a set, the reference).
            bounds: of each of the M measures.
        """
        found = [
            rounds.distances(statistic_of(one, sets.reference), bounds)
            for one, rounds in (
                (sets.synthetic, self.of_renders),
                (sets.refined, self.of_renders),
                (sets.other_half, self.of_real),
            )
        ]
        return [
            Compared(synthetic=synthetic, refined=refined, floor=floor)
            for synthetic, refined, floor in zip(*found, strict=True)
        ]


def groups_of(identities: Sequence[str]) -> Groups:
    """Identities as numbers from 0.

    Raises:
        ValueError: too few to say anything of others.
    """
    names, groups = np.unique(np.asarray(identities, dtype=str), return_inverse=True)
    if len(names) < MIN_IDENTITIES:
        raise ValueError(
            f"{len(names)} identities; intervals over identities need {MIN_IDENTITIES} "
            "(leave identities out for intervals over images)"
        )
    return groups
