"""Damaged hands, measured with the witnesses of hands."""

from functools import lru_cache

import pyarrow as pa

from factory.domains.hand.damage.kinds import CHANGES, DAMAGES, Pairs
from factory.domains.hand.damage.tails import TAILS
from factory.domains.hand.measures import HandMeasurer, HandWitnesses, depth_of
from factory.images.png import Pixels
from factory.validation.power.damages import Damages


@lru_cache(maxsize=1)
def _measurer(witnesses: HandWitnesses) -> HandMeasurer:
    """One for all damages that a worker measures, so that its network is loaded once."""
    return witnesses.measurer()


def _pairs(parent: Pixels, refined: Pixels, labels: pa.Table) -> Pairs:
    return Pairs(depth_of(parent), depth_of(refined), labels)


HAND_DAMAGES = Damages(DAMAGES, TAILS, CHANGES, _pairs, _measurer)
"""what is damaged to measure the power of the validation of hands"""
