"""Hands as samples: 224x224 depth in a cube around the hand."""

from schemas.dataset import ImageSpec
from schemas.hand.columns import HAND_FRAME, HAND_LABELS
from schemas.hand.sample import Hand, UnlabelledHand
from schemas.kinds import SampleKind, scale_of_depth

HAND = SampleKind(
    name="hand",
    schema="hand/1",
    labelled=Hand,
    unlabelled=UnlabelledHand,
    label_columns=HAND_LABELS,
    unlabelled_columns=HAND_FRAME,
    image=ImageSpec(height=224, width=224, bits=16),
    shard_size=1024,
    full_scale=scale_of_depth,
)
