"""Depth pictures of hands, rotated, grown, or without a finger.

No change invents a depth between two surfaces: pixels are copied, never averaged.

Legend of shapes: N images, H height, W width, J joints, S joints of one finger.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.depth.edges import Depth, Mask, nearest_depth, signed_distance

Values = NDArray[np.float64]

FINGER_JOINTS = 6
"""labelled on each finger and on the thumb; the joints of the palm come after all of them"""
NUM_CHAINS = 5
"""four fingers, and the thumb"""
FINGER_RADIUS_MM = 14.0
"""around the line through a finger's joints, in which its skin lies"""
FINGER_DEPTH_MM = 30.0
"""before or behind that line, within which a pixel is of the finger"""


def rotated(images_NHW: Depth, centre_N2: Values, angle_deg_N: Values) -> Depth:
    """Hands turned about (x, y) centres, px, by the nearest pixels.

    Args:
        angle_deg_N: counter-clockwise as seen.

    What comes from beyond the border is what lies at it.
    """
    size = images_NHW.shape[2], images_NHW.shape[1]
    turned = [
        cv2.warpAffine(
            image_HW,
            cv2.getRotationMatrix2D((float(x), float(y)), float(angle_deg), 1.0),
            size,
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for image_HW, (x, y), angle_deg in zip(images_NHW, centre_N2, angle_deg_N, strict=True)
    ]
    return np.array(turned, np.uint16).reshape(images_NHW.shape)


def grown(images_NHW: Depth, by_px: float) -> Depth:
    """Hands whose outline lies further out; what is won has the depth of the nearest hand pixel."""
    return np.array([_grown(image_HW, by_px) for image_HW in images_NHW], np.uint16).reshape(
        images_NHW.shape
    )


def _grown(depth_HW: Depth, by_px: float) -> Depth:
    is_hand = depth_HW > 0
    if not is_hand.any():
        return depth_HW.copy()
    # The distance is to the outline, which is half a pixel from the centres of the hand's pixels.
    is_near = signed_distance(is_hand) <= by_px - 0.5
    return np.where(is_hand | is_near, nearest_depth(depth_HW), 0).astype(np.uint16)


def without_finger(depth_HW: Depth, joints_J3: Values, finger: int, cube_mm: float) -> Depth:
    """A hand with one of its fingers painted over by background.

    A pixel is of the finger where the line through the finger's joints is nearer than any other
    joint's line, at most `FINGER_RADIUS_MM` away, and about as deep as the pixel.

    Args:
        joints_J3: all 36 (x px, y px, stored depth).
        finger: 0 to 3: little, ring, middle, index; 4: the thumb.
        cube_mm: side of the cube that the picture shows.
    """
    chains = [
        joints_J3[first : first + FINGER_JOINTS]
        for first in range(0, NUM_CHAINS * FINGER_JOINTS, FINGER_JOINTS)
    ]
    palm = [joint[None] for joint in joints_J3[NUM_CHAINS * FINGER_JOINTS :]]
    distance_px, line_depth_mm = _to_line(chains[finger], depth_HW.shape)
    is_nearest = np.ones(depth_HW.shape, bool)
    for other in (*chains[:finger], *chains[finger + 1 :], *palm):
        is_nearest &= distance_px <= _to_line(other, depth_HW.shape)[0]
    px_per_mm = depth_HW.shape[1] / cube_mm
    is_finger: Mask = (
        is_nearest
        & (distance_px <= FINGER_RADIUS_MM * px_per_mm)
        & (np.abs(depth_HW - line_depth_mm) <= FINGER_DEPTH_MM)
    )
    return np.where(is_finger, 0, depth_HW).astype(np.uint16)


def _to_line(joints_S3: Values, shape: tuple[int, ...]) -> tuple[Values, Values]:
    """(H, W) px from each pixel to the line through some joints, and the line's depth there."""
    y_HW, x_HW = np.indices(shape).astype(np.float64)
    distance_px, depth_mm = np.full(shape, np.inf), np.full(shape, np.inf)
    ends_S3 = joints_S3[1:] if len(joints_S3) > 1 else joints_S3
    for (x0, y0, d0), (x1, y1, d1) in zip(joints_S3, ends_S3, strict=False):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        along = np.clip(((x_HW - x0) * (x1 - x0) + (y_HW - y0) * (y1 - y0)) / length, 0, 1)
        away = np.hypot(x_HW - x0 - along * (x1 - x0), y_HW - y0 - along * (y1 - y0))
        is_nearer = away < distance_px
        distance_px = np.where(is_nearer, away, distance_px)
        depth_mm = np.where(is_nearer, d0 + along * (d1 - d0), depth_mm)
    return distance_px, depth_mm
