"""`power.json`: how little damage a validation catches, and the limits by which it does."""

from typing import Annotated

from pydantic import Field

from schemas.base import Float, Model, Versioned
from schemas.gate import SampleLimit

MIN_SETS = 300
"""clean sets that are needed to tell a rate of false alarms"""
SHARES = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0,
)  # fmt: skip
"""shares of damaged samples that are tried"""


class PowerSettings(Model):
    """How limits are fitted and tried."""

    set_sizes: tuple[Annotated[int, Field(gt=0)], ...] = (1_000, 10_000)
    """samples in a set"""
    rates: tuple[Annotated[Float, Field(gt=0, lt=1)], ...] = (0.1, 0.01, 0.001)
    """shares of clean samples that may lie beyond the thresholds of a measure"""
    tail: Annotated[Float, Field(ge=1)] = 3.0
    """how much heavier than exponential a tail may be where too few clean samples can show it"""
    num_clean: Annotated[int, Field(ge=MIN_SETS)] = 2_000
    """clean sets in which false alarms are counted"""
    num_damaged: Annotated[int, Field(ge=100)] = 300
    """sets with damaged samples, for each kind, size of set and share"""
    power: Annotated[Float, Field(gt=0, lt=1)] = 0.95
    """share of the damaged sets that must be refused for a damage to count as caught"""
    shards: Annotated[int, Field(gt=0)] = 100
    """shards of a set in which one is all damaged"""
    num_splits: Annotated[int, Field(ge=1)] = 5
    """random halves; of the first everything is reported, of the others only the false alarms"""
    margin_sd: Annotated[Float, Field(ge=0)] = 6.0
    """standard deviations between sets of other identities that are added to the share of clean
    samples: both halves and each set are draws of a few identities"""
    shard_factor: Annotated[Float, Field(ge=1)] = 10.0
    """by how much the share of a shard, which may be of one identity, may exceed a set's"""
    seed: Annotated[int, Field(ge=0)] = 0


class Bound(Model):
    """A share of trials with its one-sided 95 % upper bound (Clopper and Pearson 1934)."""

    num: int
    trials: int
    share: Float
    upper: Float


class Caught(Model):
    """What becomes of one kind and size of damage in sets of one size."""

    damage: str
    kind: str
    must_catch: bool
    set_size: int
    smallest_share: Float | None
    """of damaged samples that is caught with the asked power; None: not even all of them"""
    by_measure: dict[str, Float]
    """the same by each measure alone; measures that catch nothing are left out"""
    curve: tuple[Float, ...]
    """share of the sets refused at each of `shares`"""
    bad_shard: Float
    """share of the sets refused in which one shard is all damaged and the others are clean"""


class PowerReport(Versioned):
    """`power.json`."""

    dataset: str
    """digest of the dataset card"""
    witnesses: str
    """digest of what was measured with"""
    num_samples: int
    num_identities: int
    settings: PowerSettings
    shares: tuple[Float, ...] = SHARES
    is_fitted: bool = True
    """False where the limits of a gate were tried, on all samples"""
    limits: tuple[SampleLimit, ...]
    false_alarms: dict[int, Bound]
    """by size of set, on the half that the limits were not fitted on"""
    of_other_splits: dict[int, Bound]
    """the same of limits fitted on and sets drawn from other random halves, together"""
    caught: tuple[Caught, ...]

    def misses(self) -> list[str]:
        """Damage that must be caught at 1 % of the largest sets, and is not."""
        size = max(self.settings.set_sizes)
        return [
            line.damage
            for line in self.caught
            if line.must_catch
            and line.set_size == size
            and not (line.smallest_share is not None and line.smallest_share <= 0.01)
        ]
