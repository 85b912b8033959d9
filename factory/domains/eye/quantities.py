"""What models estimate of eyes in evaluations, and by what content renders are chosen.

Axes: N images.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from factory.dataset.columns import lists_of
from factory.domains.eye.networks.gaze import angle_deg, gaze_of
from factory.networks.evaluation_kinds import ContentLabel, Quantity, Values


def iris_center_px(index: pa.Table) -> Values:
    """(N, 2): x and y of the iris centre, the mean of the 32 points of its circle, in crop px.

    Raises:
        ValueError: an eye has no such points.
    """
    points = lists_of(index, "iris_px", "iris to learn from").astype(np.float64)
    return np.asarray(points.mean(axis=1))


def lid_opening(index: pa.Table) -> Values:
    """(N,): height of the lids over the width of the eye, as `--keep-opening` measures it: from the
    highest to the lowest of the 16 points of the lids, over the distance from the mean of the
    caruncle to the outer corner. A crop only moves and scales an eye, so its labels have the ratio
    of the render's.

    Raises:
        ValueError: an eye has no lids, or no width.
    """
    lacking = max(index[name].null_count for name in ("lid_px", "eye_width_px"))
    if lacking:
        raise ValueError(f"{lacking} samples have no lids to measure how far they are open")
    lids = lists_of(index, "lid_px", "lids").astype(np.float64)
    return np.asarray(np.ptp(lids[:, :, 1], axis=1) / index["eye_width_px"].to_numpy())


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
