"""What models estimate of hands in evaluations. Axes: N images, D = 28 numbers: x and y in crop px
of each of the 14 evaluated joints."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.domains.hand.networks.joints import NUM_JOINTS, labelled_joints_px
from factory.networks.evaluation_kinds import Quantity, Values


def joints_px(index: pa.Table) -> Values:
    """(N, 28) labelled joints, those outside the picture too.

    Raises:
        ValueError: a hand has none.
    """
    return np.asarray(labelled_joints_px(index), np.float64).reshape(len(index), -1)


def distances_px(estimates: Values, truth: Values) -> NDArray[np.float64]:
    """(N, 14) distances of estimated from true joints, both (N, 28)."""
    away = (estimates - truth).reshape(-1, NUM_JOINTS, 2)
    return np.asarray(np.hypot(away[..., 0], away[..., 1]))


def mean_distance_px(estimates: Values, truth: Values) -> Values:
    """(N,) mean distances over the joints."""
    return np.asarray(distances_px(estimates, truth).mean(axis=1))


JOINTS = Quantity(
    name="joints",
    unit="px",
    columns=("joints14_uvd",),
    read=joints_px,
    errors=mean_distance_px,
)
"""the 14 joints on which estimators are scored on the NYU set"""
