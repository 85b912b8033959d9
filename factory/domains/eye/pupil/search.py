"""The search for circles whose outlines lie on edges; they are the starts of the finder's fits.

Axes in names: C candidate centres, A angles, R sampled radii, K radii of candidate circles.
"""

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.pupil.ellipse import Ellipse, Floats, strength

NUM_ANGLES = 40
STEP_PX = 0.5
NUM_RADII = 9
REST = 0.1
"""weight of the arcs towards the lids, relative to those at the sides"""
SIDE = 0.6
"""a point belongs to a side arc where the horizontal part of its normal is larger than this"""


def sides_of(normals_P2: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(P,) which points belong to the left arc, and (P,) which to the right arc.

    These are the points whose normals are within 53 degrees of the horizontal.
    """
    return normals_P2[:, 0] < -SIDE, normals_P2[:, 0] > SIDE


class CircleSearch:
    """Scores every centre and radius of a grid that covers the window evenly.

    Sampling positions depend only on the window's size, so they are computed once.
    """

    def __init__(self, window_radius_px: float, min_radius_px: float, max_radius_px: float):
        reach = int(np.ceil(window_radius_px))
        offsets = np.linspace(-window_radius_px, window_radius_px, 2 * reach + 1, dtype=np.float32)
        self._size = len(offsets)
        self._centers_C2 = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
        angle = (np.arange(NUM_ANGLES) + 0.5) * (2 * np.pi / NUM_ANGLES)
        normals_A2 = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        left, right = sides_of(normals_A2)
        order = np.argsort(np.select([left, right], [0, 1], 2), kind="stable")
        self._normals_A2 = normals_A2[order]
        self._ends = np.cumsum([left.sum(), right.sum()]).tolist()
        self._radii_K = np.geomspace(min_radius_px, max_radius_px, NUM_RADII)
        radii = np.arange(min_radius_px - 2 * STEP_PX, max_radius_px + 2 * STEP_PX, STEP_PX)
        tent = np.maximum(0, 1 - np.abs(radii[:, None] - self._radii_K) / (2 * STEP_PX))
        larger = self._radii_K / self._radii_K.mean()
        self._tent_RK = np.asarray(tent / tent.sum(axis=0) * larger, np.float32)
        rays = self._normals_A2[:, None, :] * radii[None, :, None]
        at = self._centers_C2[:, None, None, :] + rays
        self._at_CAR2 = np.asarray(at, np.float32)

    def best(self, field_HW2: Floats, window_px: tuple[float, float], count: int) -> list[Ellipse]:
        """The best candidates: local maxima over the centres, each with its best radius.

        Args:
            field_HW2: see `ellipse.edge_field`.
            window_px: (x, y) of the window's centre.
            count: the largest number of candidates.

        Returns:
            Circles, the best first.
        """
        import cv2

        num = len(self._centers_C2)
        at = (self._at_CAR2 + np.array(window_px, np.float32)).reshape(num, -1, 2)
        field = cv2.remap(field_HW2, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = np.asarray(field, np.float32).reshape(self._at_CAR2.shape)
        nx, ny = self._normals_A2[:, None, 0], self._normals_A2[:, None, 1]
        arcs = np.split(strength(field, nx, ny), self._ends, axis=1)
        left, right, rest = (arc.mean(axis=1) @ self._tent_RK for arc in arcs)
        score_CK = np.sqrt(left * right) + REST * rest
        radius_C = self._radii_K[score_CK.argmax(axis=1)]
        score = score_CK.max(axis=1).reshape(self._size, self._size)
        peaks = np.flatnonzero(
            (score == cv2.dilate(score, np.ones((3, 3), np.uint8))) & (score > 0)
        )
        peaks = peaks[np.argsort(-score.ravel()[peaks], kind="stable")][:count]
        centers = self._centers_C2 + np.array(window_px)
        return [
            Ellipse(float(x), float(y), float(r))
            for (x, y), r in zip(centers[peaks], radius_C[peaks], strict=True)
        ]
