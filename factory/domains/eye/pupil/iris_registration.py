"""Registration of what lies around the iris, in two pictures of one eye."""

import numpy as np
from numpy.typing import NDArray

from factory.measures.registration import FADE_PX, REACH_PX, Registered, registered_boxes

IRIS_RADIUS = 0.28
"""half width of the window around the iris, as a share of the eye's width: the window holds the
iris and a little of its surroundings"""


def registered_iris(
    before_NHW: NDArray[np.uint8],
    after_NHW: NDArray[np.uint8],
    center_N2: NDArray[np.floating],
    eye_width_px_N: NDArray[np.floating],
) -> Registered:
    """Displacements of what lies around the iris.

    Args:
        before_NHW, after_NHW: (N, H, W) uint8; image k of both shows one eye.
        center_N2: (N, 2) position (x, y) of the iris in the first pictures, px, by the labels.
        eye_width_px_N: (N,) distance of the eye corners, px.

    Returns:
        NaN for an eye whose window holds fewer than 5 pixels in width or height.
    """
    _, height, width = before_NHW.shape
    half = IRIS_RADIUS * np.asarray(eye_width_px_N, np.float64)[:, None]
    low = np.floor(np.asarray(center_N2, np.float64) - half).astype(int)
    high = np.ceil(np.asarray(center_N2, np.float64) + half).astype(int) + 1
    margin = FADE_PX + REACH_PX // 2
    size = np.array([width, height])
    return registered_boxes(
        before_NHW,
        after_NHW,
        np.concatenate([np.maximum(low, margin), np.minimum(high, size - margin)], axis=1),
    )
