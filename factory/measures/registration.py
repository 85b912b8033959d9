"""How far a picture moved against another of the same scene in another look, by its edges.

Both pictures become maps of edge strength, in which a change of light, skin or grain matters
little, and one is slid over the other until they match best (normalised cross-correlation, with a
parabola through the peak for the fraction of a pixel). Unlike the other witnesses, this one looks
at both pictures at once: it knows nothing of eyes, and answers finer than they do.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
REACH_PX = 5
"""largest displacement looked for, in x and in y"""
IRIS_RADIUS = 0.28
"""half width of the iris' window over the eye's width: the iris and a little of what is around"""
SIGMA_PX = 0.7
FADE_PX = 2
"""the border of a picture that is left out: what a network makes of it is not the scene's"""


class Registered(NamedTuple):
    """N displacements."""

    shift_N2: Values  # noqa: N815
    """(x, y) px, second picture less first; NaN where there is nothing to match"""
    match_N: Values  # noqa: N815
    """correlation of the edges there, -1 to 1"""

    @property
    def distance_px(self) -> Values:
        """(N,)"""
        return np.asarray(np.hypot(*self.shift_N2.T), np.float32)


def registered(before_NHW: NDArray[np.uint8], after_NHW: NDArray[np.uint8]) -> Registered:
    """Displacement of whole pictures, (N, H, W) uint8 each."""
    _, height, width = before_NHW.shape
    margin = FADE_PX + REACH_PX
    if min(height, width) <= 2 * margin:
        raise ValueError(f"pictures of {height}x{width} are too small to register")
    box = np.array([margin, margin, width - margin, height - margin])
    return _registered(before_NHW, after_NHW, np.tile(box, (len(before_NHW), 1)))


def registered_iris(
    before_NHW: NDArray[np.uint8],
    after_NHW: NDArray[np.uint8],
    center_N2: NDArray[np.floating],
    eye_width_px_N: NDArray[np.floating],
) -> Registered:
    """Displacement of what lies around the iris.

    Args:
        center_N2: (x, y) of the irises in the first pictures, px: the labels.
    """
    _, height, width = before_NHW.shape
    half = IRIS_RADIUS * np.asarray(eye_width_px_N, np.float64)[:, None]
    low = np.floor(np.asarray(center_N2, np.float64) - half).astype(int)
    high = np.ceil(np.asarray(center_N2, np.float64) + half).astype(int) + 1
    margin = FADE_PX + REACH_PX // 2
    size = np.array([width, height])
    return _registered(
        before_NHW,
        after_NHW,
        np.concatenate([np.maximum(low, margin), np.minimum(high, size - margin)], axis=1),
    )


def _registered(
    before_NHW: NDArray[np.uint8], after_NHW: NDArray[np.uint8], box_N4: NDArray[np.int_]
) -> Registered:
    """Find each box (x0, y0, x1, y1) of a first picture in the second."""
    shift = np.full((len(before_NHW), 2), np.nan, np.float32)
    match = np.full(len(before_NHW), np.nan, np.float32)
    for i, (before, after, (x0, y0, x1, y1)) in enumerate(
        zip(before_NHW, after_NHW, box_N4.tolist(), strict=True)
    ):
        if x1 - x0 < 5 or y1 - y0 < 5:
            continue
        edges, there = _edges(before)[y0:y1, x0:x1], _edges(after)
        if edges.std() < 1e-3 or there.std() < 1e-3:
            continue
        padded = np.pad(there, REACH_PX, mode="edge")
        search = padded[y0 : y1 + 2 * REACH_PX, x0 : x1 + 2 * REACH_PX]
        scores = cv2.matchTemplate(search, edges, cv2.TM_CCOEFF_NORMED)
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        shift[i] = _peak(scores[row], int(column)), _peak(scores[:, column], int(row))
        match[i] = scores[row, column]
    return Registered(shift - REACH_PX, match)


def _edges(image: NDArray[np.uint8]) -> Values:
    """Edge strength, whose square root keeps one strong border from standing for all."""
    _, gx, gy = rank_gradient(image, SIGMA_PX)
    return np.asarray(np.sqrt(np.sqrt(gx * gx + gy * gy)), np.float32)


def _peak(scores: Values, place: int) -> float:
    """Where the parabola through a maximum and its neighbours is highest."""
    if not 0 < place < len(scores) - 1:
        return float(place)
    left, middle, right = (float(score) for score in scores[place - 1 : place + 2])
    bend = left - 2 * middle + right
    return place + (0.5 * (left - right) / bend if bend < 0 else 0.0)


def rank_gradient(image_HW: NDArray[np.uint8], sigma_px: float) -> tuple[Values, Values, Values]:
    """The equalised and smoothed picture, and its gradient in x and in y, ranks of 255 per px."""
    ranks = cv2.equalizeHist(image_HW).astype(np.float32)
    smooth = cv2.GaussianBlur(ranks, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth), np.asarray(gx), np.asarray(gy)
