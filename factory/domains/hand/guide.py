"""What outside readers are told of hands: the meaning of their labels, and which are points."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.hand.sample import EVALUATED_JOINTS, NUM_JOINTS
from schemas.labels import KeypointLayout, LabelGuide, LabelNote, Outline

CROP = "crop: x right, y down, pixel centres at integers; depth as pixels store it"
CAMERA = "camera: x right, y down, z away from the camera"
EVALUATED = ", ".join(map(str, EVALUATED_JOINTS))

NOTES = {
    "z_near_mm": LabelNote("mm", CAMERA, "depth of the front of the cube, which is stored as 1"),
    "cube_mm": LabelNote(
        "mm", "", "side of the cube; the depth of its back is stored as cube_mm + 1"
    ),
    "camera": LabelNote(
        "px",
        "crop: x right, y down, pixel centres at integers",
        "pinhole camera of the crop: u = fx_px x / z + cx_px, v = fy_px y / z + cy_px",
    ),
    "joints_uvd": LabelNote("px, px, mm", CROP, "36 joints in the order of NYU's `joint_names`"),
    "joints_xyz_mm": LabelNote("mm", CAMERA, "the same joints"),
    "joints14_uvd": LabelNote(
        "px, px, mm", CROP, f"the 14 joints that are scored on NYU's set: {EVALUATED}"
    ),
    "joints14_xyz_mm": LabelNote("mm", CAMERA, "the same 14 joints"),
}


def hand_guide() -> LabelGuide:
    """Notes of every label; keypoints: the joints by NYU's names, with a box around all of them."""
    from factory.domains.hand.renderer.shape import (
        JOINT_NAMES,
        PALM,
        PALM_CENTRE,
        WRIST_RADIAL,
        WRIST_ULNAR,
    )

    along = [(joint, joint + 1) for joint in range(PALM) if joint % 6 < 5]
    roots = [(joint, PALM_CENTRE) for joint in range(5, PALM, 6)]
    wrist = [(WRIST_ULNAR, PALM_CENTRE), (WRIST_RADIAL, PALM_CENTRE)]
    return LabelGuide(
        notes=NOTES,
        pixels=(
            "Pixels are 16-bit depth: 0 is the background, where nothing was measured or what lies "
            "outside the cube; others are `depth_mm = stored + z_near_mm - 1`, one step a mm. "
            "Joints are inside the hand, so the surface before a joint is a little nearer."
        ),
        keypoints=KeypointLayout(
            "hand", tuple(JOINT_NAMES), (*along, *roots, *wrist), hand_outline
        ),
    )


def hand_outline(labels: Mapping[str, Any]) -> Outline:
    """The joints of a hand, with a box around them. What lies in front of a joint is not known."""
    points_xy = np.array(labels["joints_uvd"], np.float64)[:, :2]
    (left, top), (right, bottom) = points_xy.min(axis=0).tolist(), points_xy.max(axis=0).tolist()
    return Outline(points_xy, np.zeros(NUM_JOINTS, np.bool_), (left, top, right, bottom))
