"""What a domain brings for measuring the power of its validation: `Domain.damage` gives it.

The power of a validation is the smallest share of damaged samples that it catches. A domain says
which kinds of damage there are, damages refined images by them, and names the side of each
measurement on which damage shows.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.images.png import Pixels

_Pairs = TypeVar("_Pairs")
_Changed = TypeVar("_Changed")


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


def changed(
    damage: Damage,
    changes: Mapping[str, Callable[[_Pairs, float, np.random.Generator], _Changed]],
    pairs: _Pairs,
    rng: np.random.Generator,
    *,
    sized: Set[str],
) -> _Changed:
    """What the change of a damage's kind makes of some pairs.

    Args:
        changes: by kind; each takes the size of the damage, 0 where it has none.
        sized: the kinds that need a size.

    Raises:
        ValueError: the kind is unknown, or needs a size and has none.
    """
    if damage.kind not in changes:
        raise ValueError(f"no damage of kind {damage.kind!r}, only {', '.join(changes)}")
    if damage.size is None and damage.kind in sized:
        raise ValueError(f"damage of kind {damage.kind} needs a size, it has none")
    return changes[damage.kind](pairs, damage.size or 0.0, rng)


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


class DamagedRows(NamedTuple):
    """Measurements of N samples after they were damaged."""

    measures: pa.Table
    """rows of the witnesses' schema, in the order of the samples"""
    is_harmed: NDArray[np.bool_]
    """(N,) which samples the damage changes by as much as it should"""


class Damager(Protocol):
    """Damages samples and measures them. Lives in a worker of one core."""

    def __call__(
        self,
        damage: Damage,
        labels: pa.Table,
        parent: Pixels,
        refined: Pixels,
        rng: np.random.Generator,
        *,
        parent_sha256: str,
    ) -> DamagedRows:
        """Measure some samples after all of them were damaged; equal generators damage equally.

        Args:
            damage: one of the domain's.
            labels: index rows of the refined images.
            parent: (N, H, W) in the order of the rows; refined likewise.
            parent_sha256: of the parent's shard: names the parent images, so that what is measured
                in them alone may be remembered from one damage to the next.
        """


class DamagedImages(Protocol):
    """N refined images after they were damaged."""

    @property
    def refined_NHW(self) -> Pixels:  # noqa: N802
        """(N, H, W) the images"""

    @property
    def label_rows_N(self) -> NDArray[np.intp]:  # noqa: N802
        """(N,) the row of the labels that now belongs to each image: its own, unless labels were
        swapped"""


DamageImages = Callable[[Damage, pa.Table, Pixels, Pixels, np.random.Generator], DamagedImages]
"""damages refined images, all of them, and measures none; its arguments are those that a `Damager`
is given without a name, and it raises ValueError where the kind needs a size, or the labels lack
what it needs"""


@dataclass(frozen=True)
class Damages:
    """The damage that a domain offers. It is sent to the workers."""

    damages: Sequence[Damage]
    """every kind and size, smaller sizes first"""
    tails: Sequence[Tail]
    """every measure with the side or sides on which damage lies"""
    damager: Callable[[Any], Damager]
    """from the witnesses that the clean samples were measured with to what a worker damages and
    measures with; a function of a module, which should give the same one for all damages"""
    damaged: DamageImages
    """by which the damager damages, for those who do not measure"""
