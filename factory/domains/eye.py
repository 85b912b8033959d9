"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from factory.domain import Domain
from factory.renderers.eye import EyeRenderer
from factory.sources.mpiigaze import MpiiGazeSource
from factory.sources.pictures import PicturesSource
from factory.sources.unityeyes import UnityEyesSource
from schemas.dataset import ImageSpec
from schemas.index import EYE_LABELS
from schemas.sample import Eye, UnlabelledEye

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
)
