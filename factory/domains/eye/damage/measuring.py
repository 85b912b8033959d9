"""Damaged eyes, measured with the witnesses of eyes."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from factory.dataset.columns import points_of
from factory.domains.eye.damage.kinds import CHANGES, DAMAGES
from factory.domains.eye.damage.pairs import Pairs
from factory.domains.eye.damage.tails import TAILS
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses, Seen
from factory.images.png import Pixels, grey
from factory.validation.power.damages import Damages


@dataclass(frozen=True)
class DamagedEyeMeasurer:
    """Measures damaged eyes, and remembers what it saw in their parents, which stay the same."""

    measurer: EyeMeasurer
    _seen: dict[bytes, Seen] = field(default_factory=dict)
    """by digest of the parents and of the places of their pupils, which swapped labels change"""

    def __call__(self, rows: pa.Table, parent: Pixels, refined: Pixels) -> pa.Table:
        """As `EyeMeasurer.__call__`."""
        parent_NHW = grey(parent)
        looked_at = parent_NHW.tobytes() + points_of(rows, "pupil_px").tobytes()
        digest = hashlib.sha256(looked_at).digest()
        if digest not in self._seen:
            self._seen[digest] = self.measurer.seen(rows, parent_NHW)
        return self.measurer(rows, parent_NHW, refined, self._seen[digest])


@lru_cache(maxsize=1)
def _measurer(witnesses: EyeWitnesses) -> DamagedEyeMeasurer:
    """One for all damages that a worker measures."""
    return DamagedEyeMeasurer(witnesses.measurer())


def _pairs(parent: Pixels, refined: Pixels, labels: pa.Table) -> Pairs:
    return Pairs(grey(parent), grey(refined), labels)


EYE_DAMAGES = Damages(DAMAGES, TAILS, CHANGES, _pairs, _measurer)
"""what is damaged to measure the power of the validation of eyes"""
