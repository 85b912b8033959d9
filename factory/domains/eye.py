"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from typing import TYPE_CHECKING

from factory.domain import Domain
from factory.renderers.eye import EyeRenderer
from factory.sources.mpiigaze import MpiiGazeSource
from factory.sources.pictures import PicturesSource
from factory.sources.unityeyes import UnityEyesSource
from schemas.dataset import ImageSpec
from schemas.index import EYE_LABELS
from schemas.sample import Eye, UnlabelledEye

if TYPE_CHECKING:
    from factory.validator import Validator


def _validator() -> "Validator":
    from factory.eye_validation import EyeValidator

    return EyeValidator()


EYE = Domain(
    name="eye",
    schema="eye/1",
    labelled=Eye,
    unlabelled=UnlabelledEye,
    label_columns=EYE_LABELS,
    image=ImageSpec(height=35, width=55),
    shard_size=16384,
    sources=(UnityEyesSource, MpiiGazeSource, PicturesSource),
    renderer=EyeRenderer,
    validator=_validator,
)
