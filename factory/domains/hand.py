"""Hands: 224x224 depth in a cube around the hand, with 36 joints in pixels and in space."""

from typing import TYPE_CHECKING

from factory.domain import Domain
from factory.pixel_scale import scale_of_depth
from factory.renderers.hand import HandRenderer
from factory.sources.nyu import NyuSource
from schemas.dataset import ImageSpec
from schemas.hand import Hand, UnlabelledHand
from schemas.index import HAND_FRAME, HAND_LABELS

if TYPE_CHECKING:
    from factory.validator import Validator


def _validator() -> "Validator":
    from factory.hand_validation import HandValidator

    return HandValidator()


HAND = Domain(
    name="hand",
    schema="hand/1",
    labelled=Hand,
    unlabelled=UnlabelledHand,
    label_columns=HAND_LABELS,
    unlabelled_columns=HAND_FRAME,
    image=ImageSpec(height=224, width=224, bits=16),
    shard_size=1024,
    full_scale=scale_of_depth,
    sources=(NyuSource,),
    renderer=HandRenderer,
    validator=_validator,
)
