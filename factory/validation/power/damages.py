"""What a domain brings for measuring the power of its validation: `Domain.damage` gives it.

The power of a validation is the smallest share of damaged samples that it catches. A domain says
which kinds of damage there are, damages refined images by them, and names the side of each
measurement on which damage shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.images.png import Pixels


@dataclass(frozen=True)
class Damage:
    """One way to damage refined images, in one size."""

    kind: str
    size: float | None
    """in `unit`; None where a kind has one size only"""
    unit: str
    must_catch: bool
    """whether a validation that lets it pass is broken"""
    why: str
    """what would cause it in practice"""

    @property
    def name(self) -> str:
        """For instance `shift 0.5 px`."""
        return self.kind if self.size is None else f"{self.kind} {self.size:g} {self.unit}"


def in_sizes(kind: str, unit: str, must_catch: dict[float, bool], why: str) -> tuple[Damage, ...]:
    """One kind of damage in several sizes.

    Args:
        must_catch: by size.
    """
    return tuple(Damage(kind, size, unit, must, why) for size, must in must_catch.items())


def unsized(kind: str, why: str, *, must_catch: bool) -> Damage:
    """A kind of damage that has no sizes."""
    return Damage(kind, None, "", must_catch, why)


def swapped_rows(count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(count,) rows that change places within random pairs; of an odd number one keeps its own."""
    order = rng.permutation(count)
    one, other = order[0 : count - 1 : 2], order[1::2]
    rows_N = np.arange(count)
    rows_N[one], rows_N[other] = other, one
    return rows_N


class Tail(NamedTuple):
    """The side of a measure on which damage lies."""

    measure: str
    high: bool
    """whether large values mean damage, or small ones"""
    why: str
    personal: bool = False
    """it depends on who is shown, so that samples of some people tell little about those of others;
    limits that only many samples may pass cannot be fitted to it"""
    light: bool = False
    """few clean samples lie far out, whoever is shown, so its extrapolated rate is believed where
    there are too few samples to prove it"""


class Damaged(NamedTuple):
    """N refined images after they were damaged."""

    refined_NHW: Pixels  # noqa: N815
    label_rows_N: NDArray[np.intp]  # noqa: N815
    """(N,) the row of the labels that now belongs to each image: its own, unless labels were
    swapped"""
    is_harmed_N: NDArray[np.bool_]  # noqa: N815
    """(N,) which images the damage changes by as much as it should"""

    @classmethod
    def with_own_labels(
        cls, refined_NHW: Pixels, is_harmed_N: NDArray[np.bool_] | None = None
    ) -> Self:
        """Args: is_harmed_N: all are harmed when None."""
        num = len(refined_NHW)
        harmed_N = np.ones(num, bool) if is_harmed_N is None else is_harmed_N
        return cls(refined_NHW, np.arange(num), harmed_N)


Change = Callable[[Any, float, np.random.Generator], Damaged]
"""damages all refined images of a domain's pairs; takes the size of the damage too, 0 for a kind
that has none, and raises ValueError where the labels lack what it needs"""
Measure = Callable[[pa.Table, Pixels, Pixels], pa.Table]
"""as `factory.validation.protocols.Measurer.__call__`"""


@dataclass(frozen=True)
class Damages:
    """The damage that a domain offers. It is sent to the workers."""

    damages: Sequence[Damage]
    """every kind and size, smaller sizes first"""
    tails: Sequence[Tail]
    """every measure with the side or sides on which damage lies"""
    changes: Mapping[str, Change]
    """what each kind of damage does"""
    pairs: Callable[[Pixels, Pixels, pa.Table], Any]
    """what changes are given, from parents, refined images and labels"""
    measurer: Callable[[Any], Measure]
    """from the witnesses that the clean samples were measured with to what a worker measures with:
    a function of a module, which should give the same one for all damages"""

    def damaged(
        self,
        damage: Damage,
        labels: pa.Table,
        parent: Pixels,
        refined: Pixels,
        rng: np.random.Generator,
    ) -> Damaged:
        """Refined images, all of them damaged; equal generators damage them equally.

        Args:
            labels: index rows of the refined images.
            parent: (N, H, W) in the order of the rows; refined likewise.

        Raises:
            ValueError: the kind is unknown, or needs a size and has none; or the labels lack what
                it needs.
        """
        kind = damage.kind
        if kind not in self.changes:
            raise ValueError(f"no damage of kind {kind!r}, only {', '.join(self.changes)}")
        is_sized = any(known.size is not None for known in self.damages if known.kind == kind)
        if damage.size is None and is_sized:
            raise ValueError(f"damage of kind {kind} needs a size, it has none")
        return self.changes[kind](self.pairs(parent, refined, labels), damage.size or 0.0, rng)
