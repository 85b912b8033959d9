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
    """how the pupil centre is known: `iris_mean` is the mean of the iris circle, `source` is stated
    by the source itself"""
    eye_side: Literal["left", "right"]
    """the person's own left or right, before any mirroring"""
    mirrored: bool
    iris_px: Annotated[tuple[Point, ...], Field(min_length=32, max_length=32)] | None
    """the projection of the full iris circle, also where a lid covers it"""
    lid_px: Annotated[tuple[Point, ...], Field(min_length=16, max_length=16)] | None
    """the lid margins; lid_px[8] is the outer corner"""
    caruncle_px: Annotated[tuple[Point, ...], Field(min_length=7, max_length=7)] | None
    """the outline of the caruncle"""
    eye_width_px: Float | None
    """distance from the mean of the caruncle to the outer corner"""
    gaze: Annotated[Vector, AfterValidator(_unit)]
    """unit vector in the camera frame; looking into the camera is (0, 0, -1)"""
    gaze_pitch_rad: Float
    """asin(-y) of the gaze, positive upwards"""
    gaze_yaw_rad: Float
    """atan2(-x, -z) of the gaze, positive towards image left"""
    head_pitch_rad: Float | None
    head_yaw_rad: Float | None
    """of the direction of the face, by the same formulas"""
    pupil_size: Float | None
    """as the source states it"""
    iris_size: Float | None
    """as the source states it"""
