"""Pictures of what the joint network finds, beside the labels."""

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.images.contact_sheet import shown_bgr
from factory.images.mosaic import FOUND_RGB, NUM_TILES, TRUE_RGB, mosaic_png


def joints_png(images: NDArray[np.uint16], truth_px: np.ndarray, found_px: np.ndarray) -> bytes:
    """The first hands, nearer as brighter, with the joints of their labels (rings), each tied by a
    line to where the network finds it (dots). Joints that are NaN are not drawn.

    Args:
        images: (N, H, W) depth as stored.
        truth_px, found_px: (N, k, 2), x and y in px.
    """
    tiles = []
    for image, truth, estimate in zip(images[:NUM_TILES], truth_px, found_px, strict=False):
        # Drawn at twice the size and shown at the size of the picture, so that lines are thin.
        tile = np.ascontiguousarray(shown_bgr(image)[:, :, ::-1]).repeat(2, 0).repeat(2, 1)
        for true_xy, found_xy in zip(_doubled(truth), _doubled(estimate), strict=True):
            if true_xy is not None and found_xy is not None:
                cv2.line(tile, true_xy, found_xy, FOUND_RGB, 2, cv2.LINE_AA)
            if true_xy is not None:
                cv2.circle(tile, true_xy, 6, TRUE_RGB, 2, cv2.LINE_AA)
            if found_xy is not None:
                cv2.circle(tile, found_xy, 3, FOUND_RGB, -1, cv2.LINE_AA)
        tiles.append(cv2.resize(tile, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return mosaic_png(tiles)


def _doubled(points_px: np.ndarray) -> list[tuple[int, int] | None]:
    """Pixels of points (k, 2) in the picture of twice the size; None for those that are NaN."""
    return [
        (round(2 * float(x) + 0.5), round(2 * float(y) + 0.5)) if np.isfinite(x + y) else None
        for x, y in points_px
    ]
