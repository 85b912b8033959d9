"""Where an eye shows its iris: what moves against the lids when an iris is drawn elsewhere."""

import cv2
import numpy as np
from numpy.typing import NDArray

RADII = 1.25
"""radius of the region around the iris centre, in radii of the iris: its border is inside"""
LID_PX = 1
"""next to the lids, which stay: not part of the region"""


def iris_regions(
    shape: tuple[int, int], iris_NK2: NDArray[np.floating], lids_NK2: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """(N, H, W) bool: the open part of each eye around its iris.

    Args:
        shape: (H, W), px.
        iris_NK2: (N, K, 2) points (x, y) evenly spaced along the outline of each iris, px.
        lids_NK2: (N, K, 2) points (x, y) along the margins of the lids, all round, px.
    """
    height, width = shape
    y_HW, x_HW = np.indices(shape)
    centre_N2 = iris_NK2.mean(axis=1)
    radius_N = np.linalg.norm(iris_NK2 - centre_N2[:, None], axis=2).max(axis=1)
    region_NHW = np.empty((len(iris_NK2), height, width), bool)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * LID_PX + 1, 2 * LID_PX + 1))
    for i, (lids_K2, (x, y), radius) in enumerate(zip(lids_NK2, centre_N2, radius_N, strict=True)):
        open_HW = np.zeros(shape, np.uint8)
        cv2.fillPoly(open_HW, [np.rint(lids_K2).astype(np.int32)], 1)
        open_HW = cv2.erode(open_HW, kernel)
        region_NHW[i] = (np.hypot(x_HW - x, y_HW - y) <= RADII * radius) & (open_HW > 0)
    return region_NHW
