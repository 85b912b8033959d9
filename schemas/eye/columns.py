"""The columns of an index for the labels of eyes."""

import pyarrow as pa

from schemas.index import VECTOR


def _points(count: int) -> pa.DataType:
    """The type of `count` points (x, y) in crop pixels."""
    return pa.list_(pa.list_(pa.float32(), 2), count)


EYE_LABELS: tuple[pa.Field, ...] = (
    pa.field("pupil_px", pa.list_(pa.float32(), 2)),
    pa.field("pupil_from", pa.string()),
    pa.field("eye_side", pa.string()),
    pa.field("mirrored", pa.bool_()),
    pa.field("iris_px", _points(32)),
    pa.field("lid_px", _points(16)),
    pa.field("caruncle_px", _points(7)),
    pa.field("eye_width_px", pa.float32()),
    pa.field("gaze", VECTOR),
    pa.field("gaze_pitch_rad", pa.float32()),
    pa.field("gaze_yaw_rad", pa.float32()),
    pa.field("head_pitch_rad", pa.float32()),
    pa.field("head_yaw_rad", pa.float32()),
    pa.field("pupil_size", pa.float32()),
    pa.field("iris_size", pa.float32()),
)
"""Columns of the labels of `schemas.eye.sample.Eye`, by the same names."""
