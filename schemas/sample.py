"""The json member of a sample: a promise to outside readers."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from schemas.base import Float, Key, Model, Point, Sha256, Split, Vector


class SourceRef(Model):
    """Where a sample came from."""

    name: str
    """the source that read it: unityeyes, mpiigaze, images, nyu"""
    id: str
    """its name inside that source, e.g. `imgs/18`"""
    image_sha256: Sha256
    """of the image bytes as they lay in the source"""
    label_sha256: Sha256 | None
    """of the label bytes as they lay in the source; null for unlabelled eyes. Of a hand, also an
    unlabelled one: of what says where it is in the picture"""


class Made(Model):
    """Which ingest wrote a sample."""

    config: Sha256
    writer: str


class Refined(Model):
    """Which refiner changed a sample, and which shard it read."""

    refiner: Sha256
    parent: Sha256
    """sha256 of the parent shard's tar"""


class Envelope(Model):
    """What every sample carries, labelled or not."""

    key: Key
    source: SourceRef
    identity: str | None
    """skin texture, person or subject; all renders of one identity share a split"""
    split: Split
    crop_affine: tuple[Vector, Vector]
    """maps source pixels (x, y, 1), y down, to crop pixels"""
    extra: dict[str, JsonValue]
    """fields of the source, kept as they came"""
    made: Made
    refined: Refined | None = None
    """absent from datasets that were not refined"""


def _unit(gaze: Vector) -> Vector:
    length = sum(v * v for v in gaze) ** 0.5
    if abs(length - 1) > 1e-3:
        raise ValueError(f"a gaze vector has length 1, this one {length:.4f}")
    return gaze


class UnlabelledEye(Envelope):
    """A camera image of an eye: the envelope alone."""

    schema_: Literal["eye/1"] = Field(alias="schema")


class Eye(UnlabelledEye):
    """A labelled eye. A label its source does not know is null, in every sample alike."""

    pupil_px: Point | None
    pupil_from: Literal["iris_mean", "source"] | None
    """`iris_mean`: the mean of the iris circle; `source`: stated by the source itself"""
    eye_side: Literal["left", "right"]
    """the person's own left or right, before any mirroring"""
    mirrored: bool
    iris_px: Annotated[tuple[Point, ...], Field(min_length=32, max_length=32)] | None
    """the full iris circle in projection, also where a lid covers it"""
    lid_px: Annotated[tuple[Point, ...], Field(min_length=16, max_length=16)] | None
    """the lid margins"""
    caruncle_px: Annotated[tuple[Point, ...], Field(min_length=7, max_length=7)] | None
    eye_width_px: Float | None
    """mean of the caruncle to the outer corner (lid_px[8])"""
    gaze: Annotated[Vector, AfterValidator(_unit)]
    """unit vector, camera frame; into the camera is (0, 0, -1)"""
    gaze_pitch_rad: Float
    gaze_yaw_rad: Float
    head_pitch_rad: Float | None
    head_yaw_rad: Float | None
    pupil_size: Float | None
    iris_size: Float | None
