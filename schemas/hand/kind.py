"""The sample kind of hands: depth in a cube around the hand, 224 x 224 pixels by default."""

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
