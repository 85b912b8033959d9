"""What outside readers are told of eyes: the meaning of their labels, and which are points."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.labels import KeypointLayout, LabelGuide, LabelNote, Outline

CROP = "crop: x right, y down, pixel centres at integers"
CAMERA = "camera: x right, y down, z away from the camera"
NUM_IRIS, NUM_LID, NUM_CARUNCLE = 32, 16, 7

NOTES = {
    "pupil_px": LabelNote("px", CROP, "centre of the pupil"),
    "pupil_from": LabelNote(
        "",
        "",
        "how that centre is known: `iris_mean` is the mean of the iris circle, `source` is stated "
        "by the source",
    ),
    "eye_side": LabelNote(
        "", "", "the person's own `left` or `right`, before the picture was mirrored"
    ),
    "mirrored": LabelNote("", "", "whether the picture was mirrored"),
    "iris_px": LabelNote(
        "px", CROP, "32 points on the full circle of the iris, also where a lid covers it"
    ),
    "lid_px": LabelNote(
        "px",
        CROP,
        "16 points along the margins of the lids; the one with index 8 is the outer corner",
    ),
    "caruncle_px": LabelNote("px", CROP, "7 points around the caruncle"),
    "eye_width_px": LabelNote("px", CROP, "from the mean of the caruncle to the outer corner"),
    "gaze": LabelNote("", CAMERA, "unit vector of the gaze; looking into the camera is (0, 0, -1)"),
    "gaze_pitch_rad": LabelNote("rad", CAMERA, "asin(-y) of the gaze, positive upwards"),
    "gaze_yaw_rad": LabelNote(
        "rad", CAMERA, "atan2(-x, -z) of the gaze, positive towards the left of the image"
    ),
    "head_pitch_rad": LabelNote(
        "rad", CAMERA, "of the direction that the face points to, as for the gaze"
    ),
    "head_yaw_rad": LabelNote(
        "rad", CAMERA, "of the direction that the face points to, as for the gaze"
    ),
    "pupil_size": LabelNote("as the source states it", "", "size of the pupil"),
    "iris_size": LabelNote("as the source states it", "", "size of the iris"),
}


def eye_guide() -> LabelGuide:
    """Notes of every label; keypoints: pupil, iris, lids, caruncle, with a box around the iris."""
    names = ["pupil"]
    skeleton = []
    rings = (("iris", NUM_IRIS), ("lid", NUM_LID), ("caruncle", NUM_CARUNCLE))
    for name, count in rings:
        first = len(names)
        names += [f"{name}_{number:02d}" for number in range(count)]
        skeleton += [(first + k, first + (k + 1) % count) for k in range(count)]
    return LabelGuide(
        notes=NOTES,
        pixels="Pixels are 8-bit grey, or RGB, without a defined exposure.",
        keypoints=KeypointLayout("eye", tuple(names), tuple(skeleton), eye_outline),
    )


def eye_outline(labels: Mapping[str, Any]) -> Outline | None:
    """The points of an eye, of which those of pupil and iris are hidden where they lie outside the
    lids; the box is around the iris. None where neither pupil nor landmarks are known."""
    parts = (("pupil_px", 1), ("iris_px", NUM_IRIS), ("lid_px", NUM_LID),
             ("caruncle_px", NUM_CARUNCLE))  # fmt: skip
    if all(labels[name] is None for name, _ in parts):
        return None
    points_xy = np.concatenate([_points(labels[name], count) for name, count in parts])
    hidden = np.zeros(len(points_xy), np.bool_)
    if labels["lid_px"] is not None:
        behind = slice(0, 1 + NUM_IRIS)
        lids = _points(labels["lid_px"], NUM_LID)
        hidden[behind] = ~is_inside(points_xy[behind], lids)
    box = None
    if labels["iris_px"] is not None:
        iris = points_xy[1 : 1 + NUM_IRIS]
        (left, top), (right, bottom) = iris.min(axis=0).tolist(), iris.max(axis=0).tolist()
        box = (left, top, right, bottom)
    return Outline(points_xy, hidden, box)


def _points(label: Any, count: int) -> NDArray[np.float64]:
    """(count, 2), NaN where the label is null."""
    if label is None:
        return np.full((count, 2), np.nan)
    return np.array(label, np.float64).reshape(count, 2)


def is_inside(points_xy: NDArray[np.float64], polygon_xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) whether each of (n, 2) points lies in a polygon of (m, 2) corners.

    It does if a ray from it to the right crosses the outline an odd number of times. A point of NaN
    lies outside.
    """
    x, y = points_xy[:, None, 0], points_xy[:, None, 1]
    x0, y0 = polygon_xy.T
    x1, y1 = np.roll(polygon_xy, -1, axis=0).T
    rises = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return np.asarray((rises & (x < at_x)).sum(axis=1) % 2 == 1)
