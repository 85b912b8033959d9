"""What models estimate of eyes in evaluations. Axes: N images."""

import numpy as np
import pyarrow as pa

from factory.domains.eye.networks.gaze import angle_deg, gaze_of
from factory.networks.evaluation_kinds import Quantity, Values


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


def distance_px(estimates: Values, truth: Values) -> Values:
    """(N,) distances between points (N, 2)."""
    return np.asarray(np.hypot(*(estimates - truth).T))


GAZE = Quantity(name="gaze", unit="deg", columns=("gaze",), read=gaze_of, errors=angle_deg)
"""unit vectors in the camera frame"""
IRIS = Quantity(
    name="iris", unit="px", columns=("iris_px",), read=iris_center_px, errors=distance_px
)
"""the centre of the iris"""
