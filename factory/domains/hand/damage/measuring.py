"""Damaged hands, measured with the witnesses of hands."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from factory.domains.hand.damage.kinds import DAMAGES, Damaged, Pairs, damaged
from factory.domains.hand.damage.tails import TAILS
from factory.domains.hand.measures import HandMeasurer, HandWitnesses, depth_of
from factory.images.png import Pixels
from factory.validation.power.damages import Damage, DamagedRows, Damages


@dataclass(frozen=True)
class HandDamager:
    """`factory.validation.power.damages.Damager` of hands."""

    measurer: HandMeasurer

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
        """As `Damager.__call__`."""
        result = _damaged(damage, labels, parent, refined, rng)
        rows = labels.take(pa.array(result.label_rows_N))
        measures = self.measurer(rows, depth_of(parent), result.refined_NHW)
        return DamagedRows(measures, result.is_harmed_N)


@lru_cache(maxsize=1)
def _damager(witnesses: HandWitnesses) -> HandDamager:
    """One for all damages that a worker measures, so that its network is loaded once."""
    return HandDamager(witnesses.measurer())


def _damaged(
    damage: Damage, labels: pa.Table, parent: Pixels, refined: Pixels, rng: np.random.Generator
) -> Damaged:
    return damaged(damage, Pairs(depth_of(parent), depth_of(refined), labels), rng)


HAND_DAMAGES = Damages(DAMAGES, TAILS, _damager, _damaged)
"""what is damaged to measure the power of the validation of hands"""
