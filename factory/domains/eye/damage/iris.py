"""Irises moved inside eyes whose lids stay: by a distance, or as a turning eyeball moves them."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.damage.opening import Opening
from factory.domains.eye.damage.pairs import Images, Pairs, Values

IRIS_DEPTH = 1.85
"""distance from the eyeball's centre to the iris plane, in radii of the iris. Regressing the iris
centre within the lids on gaze and head direction gives 1.9 for UnityEyes renders and 1.8 for the
built-in ones; an eyeball of 12 mm radius with an iris of 5.9 mm has 1.8"""
MAX_GAZE_DEG = 60.0
"""from the camera's direction: past it an iris is too narrow to be drawn from another view"""
LID_MARGIN_PX = 0.5
"""next to a lid, where nothing is moved: the lid's edge and lashes"""
RIGID = 1.2
"""radii around the iris centre that move as one; further out the white is stretched"""
MIN_FADE = 0.9
"""radii over which the movement fades to nothing, at the least"""
FADE_PER_PX = 2.5
"""px of fading for each px moved: under 1.5 the warp would fold"""
CHUNK = 256
"""pictures that are warped at a time, to bound memory"""


class Irises(NamedTuple):
    """The irises of N pictures, as their labels have them."""

    center_N2: Values  # noqa: N815
    """(x, y), px"""
    radius_N: Values  # noqa: N815
    """px, not foreshortened: the outline's larger semi-axis"""

    @classmethod
    def of(cls, pairs: Pairs) -> "Irises":
        """Of labels with `iris_px`, evenly spaced points of a circle in projection."""
        outline_NP2 = pairs.numbers("iris_px")
        center_N2 = outline_NP2.mean(axis=1)
        away_NP2 = outline_NP2 - center_N2[:, None]
        spread_N22 = away_NP2.transpose(0, 2, 1) @ away_NP2 / outline_NP2.shape[1]
        return cls(center_N2, np.sqrt(2 * np.linalg.eigvalsh(spread_N22)[:, 1]))


def irises_shifted(pairs: Pairs, shift_N2: Values) -> Images:
    """The refined images with each iris moved by its (x, y), px."""
    unturned_N22 = np.broadcast_to(np.eye(2), (len(pairs), 2, 2))
    return _moved(pairs, Irises.of(pairs), shift_N2, unturned_N22)


def gazes_turned(pairs: Pairs, angle_rad: float, rng: np.random.Generator) -> tuple[Images, Values]:
    """The refined images with each eyeball turned by an angle, in a random direction.

    The iris is a disc at a fixed distance from the eyeball's centre (`IRIS_DEPTH`), seen in
    parallel projection: it moves and is foreshortened anew. An eye that would turn further than
    `MAX_GAZE_DEG` from the camera turns the other way.

    Returns:
        The images, and the (N, 2) movement of the iris centres, px.
    """
    irises, gaze_N3 = Irises.of(pairs), pairs.numbers("gaze")
    gaze_N3 /= np.linalg.norm(gaze_N3, axis=1, keepdims=True)
    towards_N3 = np.cross(gaze_N3, rng.normal(size=gaze_N3.shape))
    towards_N3 /= np.linalg.norm(towards_N3, axis=1, keepdims=True)
    turned_N3 = np.cos(angle_rad) * gaze_N3 + np.sin(angle_rad) * towards_N3
    too_far_N = -turned_N3[:, 2] < np.cos(np.radians(MAX_GAZE_DEG))
    towards_N3[too_far_N] *= -1
    turned_N3 = np.cos(angle_rad) * gaze_N3 + np.sin(angle_rad) * towards_N3
    moved_N2 = IRIS_DEPTH * irises.radius_N[:, None] * (turned_N3 - gaze_N3)[:, :2]
    axis_N3 = np.cross(gaze_N3, towards_N3)
    along_N3 = np.cos(angle_rad) * towards_N3 - np.sin(angle_rad) * gaze_N3
    before_N22 = np.stack([towards_N3[:, :2], axis_N3[:, :2]], axis=2)
    after_N22 = np.stack([along_N3[:, :2], axis_N3[:, :2]], axis=2)
    back_N22 = before_N22 @ np.linalg.inv(after_N22)
    return _moved(pairs, irises, moved_N2, back_N22), moved_N2


def _moved(
    pairs: Pairs, irises: Irises, moved_N2: Values, back_N22: NDArray[np.floating]
) -> Images:
    """The refined images with their irises elsewhere.

    Args:
        back_N22: maps an offset from the new iris centre to the offset from the old one.
    """
    _, height, width = pairs.refined_NHW.shape
    lid_NP2 = pairs.numbers("lid_px")
    y_HW, x_HW = np.indices((height, width))
    result = pairs.refined_NHW.copy()
    for start in range(0, len(pairs), CHUNK):
        rows = slice(start, start + CHUNK)
        eyes = Irises(irises.center_N2[rows], irises.radius_N[rows])
        shift_N2HW = _shifts(eyes, moved_N2[rows], back_N22[rows], (height, width))
        opening = Opening.of(lid_NP2[rows], width)
        x_NHW, y_NHW = opening.nearest(
            x_HW + shift_N2HW[:, 0], y_HW + shift_N2HW[:, 1], LID_MARGIN_PX
        )
        moved_NHW = remapped(result[rows], x_NHW, y_NHW)
        result[rows] = blended(result[rows], moved_NHW, opening.inside(LID_MARGIN_PX, height))
    return result


def _shifts(
    irises: Irises, moved_N2: Values, back_N22: NDArray[np.floating], shape: tuple[int, int]
) -> Values:
    """(N, 2, H, W): from each place to the one whose content moves there, (x, y) px."""
    grid_2HW = np.indices(shape)[::-1]
    offset_N2HW = grid_2HW - (irises.center_N2 + moved_N2)[:, :, None, None]
    change_N22 = back_N22 - np.eye(2)
    rigid_N2HW = np.einsum("nab,nbhw->nahw", change_N22, offset_N2HW) - moved_N2[:, :, None, None]
    distance_NHW = np.hypot(offset_N2HW[:, 0], offset_N2HW[:, 1])
    fade_N = np.maximum(MIN_FADE * irises.radius_N, FADE_PER_PX * np.hypot(*moved_N2.T))
    beyond_NHW = distance_NHW - (RIGID * irises.radius_N)[:, None, None]
    left_NHW = np.clip(1 - beyond_NHW / fade_N[:, None, None], 0, 1)
    return np.asarray(rigid_N2HW * (left_NHW**2 * (3 - 2 * left_NHW))[:, None])


def remapped(images_NHW: Images, x_NHW: Values, y_NHW: Values) -> Images:
    """Each image as seen at the places (x, y), px: cubic, borders repeated."""
    result = np.empty_like(images_NHW)
    places = zip(images_NHW, x_NHW.astype(np.float32), y_NHW.astype(np.float32), strict=True)
    for i, (image, x_HW, y_HW) in enumerate(places):
        result[i] = cv2.remap(image, x_HW, y_HW, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return result


def blended(below_NHW: Images, above_NHW: Images | Values, cover_NHW: Values) -> Images:
    """`above` (0..255) where the cover is 1, `below` where it is 0."""
    mixed = below_NHW + cover_NHW * (above_NHW.astype(np.float64) - below_NHW)
    return np.asarray(np.rint(mixed), np.uint8)
