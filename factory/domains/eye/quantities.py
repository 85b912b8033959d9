"""What models estimate of eyes in evaluations, and by what content renders are chosen.

Axes: N images.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from factory.domains.eye.networks.gaze import angle_deg, gaze_of
from factory.networks.evaluation_kinds import ContentLabel, Quantity, Values


def iris_center_px(index: pa.Table) -> Values:
    """(N, 2): x and y of the iris centre, the mean of the 32 points of its circle, in crop px.

    Raises:
        ValueError: an eye has no such points.
    """
    column = index["iris_px"].combine_chunks()
    if column.null_count:
        raise ValueError(f"{column.null_count} samples have no iris to learn from")
    points = column.flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(points.reshape(len(index), -1, 2).mean(axis=1))


def lid_opening(index: pa.Table) -> Values:
    """(N,): height of the lids over the width of the eye, as `--keep-opening` measures it: from the
    highest to the lowest of the 16 points of the lids, over the distance from the mean of the
    caruncle to the outer corner. A crop only moves and scales an eye, so its labels have the ratio
    of the render's.

    Raises:
        ValueError: an eye has no lids, or no width.
    """
    lids, width = index["lid_px"].combine_chunks(), index["eye_width_px"].combine_chunks()
    if lids.null_count or width.null_count:
        raise ValueError(
            f"{max(lids.null_count, width.null_count)} samples have no lids to measure how far "
            "they are open"
        )
    points = lids.flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    height_px = np.ptp(points.reshape(len(index), -1, 2)[:, :, 1], axis=1)
    return np.asarray(height_px / width.to_numpy(zero_copy_only=False))


def _degrees_of(column: str, index: pa.Table) -> Values:
    """(N,) a column of radians in degrees."""
    return np.asarray(np.degrees(index[column].to_numpy().astype(np.float64)))


def distance_px(estimates: Values, truth: Values) -> Values:
    """(N,) distances between points (N, 2)."""
    return np.asarray(np.hypot(*(estimates - truth).T))


GAZE = Quantity(name="gaze", unit="deg", columns=("gaze",), read=gaze_of, errors=angle_deg)
"""unit vectors in the camera frame"""
IRIS = Quantity(
    name="iris", unit="px", columns=("iris_px",), read=iris_center_px, errors=distance_px
)
"""the centre of the iris"""
CONTENT = (
    ContentLabel(
        name="opening",
        unit="eye widths",
        columns=("lid_px", "eye_width_px"),
        read=lid_opening,
        option="keep_opening",
        step=0.02,
        pays=True,
    ),
    *(
        ContentLabel(
            name=f"gaze_{angle}_deg",
            unit="deg",
            columns=(f"gaze_{angle}_rad",),
            read=partial(_degrees_of, f"gaze_{angle}_rad"),
            option=f"keep_gaze_{angle}_deg",
            step=5.0,
        )
        for angle in ("yaw", "pitch")
    ),
)
"""how far lids are open, and where eyes look"""
