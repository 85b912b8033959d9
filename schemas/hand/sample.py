"""The json member of a hand: the cube that its depth lies in, and the positions of 36 joints."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Float, Model, Vector
from schemas.sample import Envelope

NUM_JOINTS = 36
EVALUATED_JOINTS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""the 14 joints on which estimators are scored on the NYU set (Tompson et al., ACM TOG 2014)"""
MAX_CUBE_MM = 2000
"""largest side of a cube"""
ROUNDING = 0.01
"""largest difference, in pixels and mm, between labels that agree up to the rounding of float32"""

Joints = Annotated[tuple[Vector, ...], Field(min_length=NUM_JOINTS, max_length=NUM_JOINTS)]
Joints14 = Annotated[
    tuple[Vector, ...],
    Field(min_length=len(EVALUATED_JOINTS), max_length=len(EVALUATED_JOINTS)),
]
Positive = Annotated[Float, Field(gt=0)]


class HandCamera(Model):
    """The pinhole camera of the crop: u = fx x / z + cx, v = fy y / z + cy."""

    fx_px: Positive
    fy_px: Positive
    cx_px: Float
    """coordinates of the principal point, which may lie outside the crop"""
    cy_px: Float


class UnlabelledHand(Envelope):
    """A depth picture of a hand: stored = depth_mm - z_near_mm + 1, and 0 for the background."""

    schema_: Literal["hand/1"] = Field(alias="schema")
    z_near_mm: Annotated[int, Field(ge=1, le=0xFFFF)]
    """depth of the cube's front, which is stored as 1"""
    cube_mm: Annotated[int, Field(ge=1, le=MAX_CUBE_MM)]
    """side of the cube; the depth of its back is stored as cube_mm + 1"""
    camera: HandCamera


class Hand(UnlabelledHand):
    """A labelled hand. The joints in their order are those of NYU's `joint_names`."""

    joints_uvd: Joints
    """(x, y) in crop pixels, and depth as pixels store it"""
    joints_xyz_mm: Joints
    """(x, y, z) in the camera frame"""
    joints14_uvd: Joints14
    """those of `joints_uvd` with the numbers `EVALUATED_JOINTS`"""
    joints14_xyz_mm: Joints14
    """those of `joints_xyz_mm` with the numbers `EVALUATED_JOINTS`"""

    @model_validator(mode="after")
    def _say_the_same(self) -> Self:
        fx, fy, cx, cy = vars(self.camera).values()
        pairs = zip(self.joints_uvd, self.joints_xyz_mm, strict=True)
        for joint, ((u, v, d), (x, y, z)) in enumerate(pairs):
            if z <= 0:
                raise ValueError(f"joint {joint} is at depth {z:.1f} mm")
            projected = fx * x / z + cx, fy * y / z + cy, z - self.z_near_mm + 1
            if math.dist(projected, (u, v, d)) > ROUNDING:
                raise ValueError(f"joint {joint} is at {(u, v, d)} and projects to {projected}")
        some = EVALUATED_JOINTS
        if self.joints14_uvd != tuple(self.joints_uvd[joint] for joint in some) or (
            self.joints14_xyz_mm != tuple(self.joints_xyz_mm[joint] for joint in some)
        ):
            raise ValueError("the evaluated joints are not 14 of the 36")
        return self
