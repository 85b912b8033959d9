"""Damaged eyes, measured with the witnesses of eyes."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from factory.domains.eye.damage.kinds import DAMAGES, Damaged, damaged
from factory.domains.eye.damage.pairs import Pairs
from factory.domains.eye.damage.tails import TAILS
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses, Seen
from factory.images.png import Pixels, grey
from factory.validation.power.damages import Damage, DamagedRows, Damages

LEAST_SWAP_DEG = 10.0
"""between the gazes of two samples whose labels are swapped; those of nearer ones are hardly
wrong"""


@dataclass
class EyeDamager:
    """`factory.validation.power.damages.Damager` of eyes."""

    measurer: EyeMeasurer
    _seen_by_shard: dict[str, Seen] = field(default_factory=dict)
    """by digest of the parent's shard: the same for every damage"""

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
        parent_NHW = grey(parent)
        result = _damaged(damage, labels, parent, refined, rng)
        rows = labels.take(pa.array(result.label_rows_N))
        is_harmed = np.ones(len(labels), bool)
        if damage.kind == "labels_swapped":
            # The windows of the pupil finder are at the labels, so the parents are looked at anew.
            measures = self.measurer(rows, parent_NHW, result.refined_NHW)
            assert result.gaze_change_deg_N is not None
            is_harmed = result.gaze_change_deg_N >= LEAST_SWAP_DEG
        else:
            if parent_sha256 not in self._seen_by_shard:
                self._seen_by_shard[parent_sha256] = self.measurer.seen(labels, parent_NHW)
            seen = self._seen_by_shard[parent_sha256]
            measures = self.measurer(rows, parent_NHW, result.refined_NHW, seen)
        return DamagedRows(measures, is_harmed)


@lru_cache(maxsize=1)
def _damager(witnesses: EyeWitnesses) -> EyeDamager:
    """One for all damages that a worker measures, which remembers what it saw in the parents."""
    return EyeDamager(witnesses.measurer())


def _damaged(
    damage: Damage, labels: pa.Table, parent: Pixels, refined: Pixels, rng: np.random.Generator
) -> Damaged:
    return damaged(damage, Pairs(grey(parent), grey(refined), labels), rng)


EYE_DAMAGES = Damages(DAMAGES, TAILS, _damager, _damaged)
"""what is damaged to measure the power of the validation of eyes"""
