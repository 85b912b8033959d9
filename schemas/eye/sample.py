"""The json member of an eye: a grey crop with pupil, iris, lids, gaze and head pose."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.base import Float, Point, Vector
from schemas.sample import Envelope


def _unit(gaze: Vector) -> Vector:
    """Check that a gaze is a unit vector, up to the rounding of float32."""
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
