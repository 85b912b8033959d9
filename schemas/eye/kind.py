"""The sample kind of eyes: grey crops, 35 x 55 pixels by default."""

from schemas.dataset import ImageSpec
from schemas.eye.columns import EYE_LABELS
from schemas.eye.sample import Eye, UnlabelledEye
from schemas.kinds import SampleKind

EYE = SampleKind(
    name="eye",
    schema="eye/1",
    labelled=Eye,
    unlabelled=UnlabelledEye,
    label_columns=EYE_LABELS,
    repeated_columns=("pupil_from", "eye_side"),
    image=ImageSpec(height=35, width=55),
    shard_size=16384,
)
