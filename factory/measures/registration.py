"""Registration: how far the edges of a picture moved against those of another look of its scene.

Both pictures become maps of edge strength, in which a change of light, texture or grain matters
little. One map is slid over the other until they match best: normalised cross-correlation finds
the whole pixel, and a parabola through its peak the fraction. The method compares two pictures
directly and needs to know nothing of what they show.

Axes in names: N pictures, H height, W width.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
REACH_PX = 5
"""the largest displacement that is searched, in x and in y"""
SIGMA_PX = 0.7
"""standard deviation of the smoothing before edges are taken"""
FADE_PX = 2
"""width of the border that is left out, because a refiner's padding changes it"""


class Registered(NamedTuple):
    """The displacements of N pairs of pictures."""

    shift_N2: Values  # noqa: N815
    """(N, 2) float32, position (x, y) in the second picture minus that in the first, px; NaN where
    a picture has no edges to match"""
    match_N: Values  # noqa: N815
    """(N,) float32, correlation of the edges at that displacement, -1 to 1; NaN where `shift_N2`
    is"""

    @property
    def distance_px(self) -> Values:
        """(N,) float32, length of each displacement; NaN where there is none."""
        return np.asarray(np.hypot(*self.shift_N2.T), np.float32)


def registered(before_NHW: NDArray[np.uint8], after_NHW: NDArray[np.uint8]) -> Registered:
    """Displacements of whole pictures.

    Args:
        before_NHW, after_NHW: (N, H, W) uint8; image k of both shows one scene.

    Raises:
        ValueError: the pictures are too small to be slid by `REACH_PX`.
    """
    _, height, width = before_NHW.shape
    margin = FADE_PX + REACH_PX
    if min(height, width) <= 2 * margin:
        raise ValueError(f"pictures of {height}x{width} are too small to register")
    box = np.array([margin, margin, width - margin, height - margin])
    return registered_boxes(before_NHW, after_NHW, np.tile(box, (len(before_NHW), 1)))


def registered_boxes(
    before_NHW: NDArray[np.uint8], after_NHW: NDArray[np.uint8], box_N4: NDArray[np.int_]
) -> Registered:
    """Displacements of one box of each pair of pictures.

    Args:
        before_NHW, after_NHW: (N, H, W) uint8; image k of both shows one scene.
        box_N4: (N, 4) edges (left, top, right, bottom) of each box in px, the last two exclusive.
            A box of fewer than 5 pixels in width or height is not measured.
    """
    import cv2

    shift = np.full((len(before_NHW), 2), np.nan, np.float32)
    match = np.full(len(before_NHW), np.nan, np.float32)
    for i, (before, after, (x0, y0, x1, y1)) in enumerate(
        zip(before_NHW, after_NHW, box_N4.tolist(), strict=True)
    ):
        if x1 - x0 < 5 or y1 - y0 < 5:
            continue
        edges_before, edges_after = _edges(before)[y0:y1, x0:x1], _edges(after)
        if edges_before.std() < 1e-3 or edges_after.std() < 1e-3:
            continue
        padded = np.pad(edges_after, REACH_PX, mode="edge")
        search = padded[y0 : y1 + 2 * REACH_PX, x0 : x1 + 2 * REACH_PX]
        scores = cv2.matchTemplate(search, edges_before, cv2.TM_CCOEFF_NORMED)
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        shift[i] = peak(scores[row], int(column)), peak(scores[:, column], int(row))
        match[i] = scores[row, column]
    return Registered(shift - REACH_PX, match)


def _edges(image: NDArray[np.uint8]) -> Values:
    """(H, W) edge strength. Its square root keeps one strong edge from outweighing all others."""
    _, gx, gy = rank_gradient(image, SIGMA_PX)
    return np.asarray(np.sqrt(np.sqrt(gx * gx + gy * gy)), np.float32)


def peak(scores: Values, index: int) -> float:
    """The position where the parabola through a maximum and its two neighbours is highest."""
    if not 0 < index < len(scores) - 1:
        return float(index)
    left, middle, right = (float(score) for score in scores[index - 1 : index + 2])
    bend = left - 2 * middle + right
    return index + (0.5 * (left - right) / bend if bend < 0 else 0.0)


def rank_gradient(image_HW: NDArray[np.uint8], sigma_px: float) -> tuple[Values, Values, Values]:
    """Equalise the histogram of a picture, smooth it, and take its gradient.

    Args:
        image_HW: (H, W) uint8.
        sigma_px: standard deviation of the Gaussian smoothing.

    Returns:
        (H, W) float32 each: the smooth equalised picture, 0 to 255, and its slopes in x and in y,
        per pixel. Equalised values are ranks, so a change of gamma or contrast hardly moves them.
    """
    import cv2

    ranks = cv2.equalizeHist(image_HW).astype(np.float32)
    smooth = cv2.GaussianBlur(ranks, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth), np.asarray(gx), np.asarray(gy)
