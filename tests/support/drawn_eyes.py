"""Eyes drawn around a centre of our choice."""

import cv2
import numpy as np

ZOOM = 8
CENTERS = [(27.0, 17.0), (24.3, 16.6), (30.75, 17.4), (26.5, 18.1), (28.2, 16.2)]


def drawn_eyes(centers_px=CENTERS, seed=0):
    """(N, 35, 55) uint8: an eye around each centre, each with a texture of its own."""
    return np.stack([drawn_eye(center, seed=seed + n) for n, center in enumerate(centers_px)])


def drawn_eye(center_px, radius_px=9.0, aspect=1.0, lids_px=(-7.0, 7.0), seed=0):
    """(35, 55) uint8: iris with a pupil and a glint, lids that lie `lids_px` from the middle row,
    and texture; every border antialiased."""
    y, x = np.mgrid[0 : 35 * ZOOM, 0 : 55 * ZOOM].astype(np.float32)
    x, y = (x + 0.5) / ZOOM - 0.5, (y + 0.5) / ZOOM - 0.5
    rng = np.random.default_rng(seed)
    distance = np.hypot((x - center_px[0]) / aspect, y - center_px[1])
    eye = np.where(distance < radius_px, 60.0, 215.0)
    eye[distance < 0.4 * radius_px] = 25.0
    eye[np.hypot(x - center_px[0] - 2, y - center_px[1] + 2) < 1.2] = 255.0
    across = (x - 27.0) / 22.0
    opening = 1 - across * across
    skin = (y < 17 + lids_px[0] * opening) | (y > 17 + lids_px[1] * opening)
    eye[skin] = 140.0
    small = cv2.resize(eye, (55, 35), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.6) + rng.normal(0, 2, small.shape)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
