"""Lids drawn over open eyes."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from factory.domains.eye.damage.iris import CHUNK, blended
from factory.domains.eye.damage.opening import Opening, grown
from factory.domains.eye.damage.pairs import Images, Pairs, Values

RIM_PX = 2.0
"""around the labelled opening, still no skin: its edge, blurred, and a refiner's drift"""
SKIN_PX = 4
"""height of the strips of skin above and below from which the lid takes its brightness"""
EVEN_PX = 2.0
"""sigma, along the lid, by which those strips are evened out"""
LASH_GREY = 70.0
"""by which the line where the lids meet is darker than skin"""
LASH_PX = 0.8
"""sigma of that line"""
LASH_ABOVE_PX = 1.0
"""height of that line over the lower border, which is outside the lower lid's edge"""
LINER_PX = 2.5
"""height of the dark edge of the upper lid in the middle of the eye, above the rim"""
FULL_PX = 8.0
"""height of an opening that has both in full; they fade towards the corners"""
SOFT_PX = 2.0
"""over which old skin gives way to the drawn one"""
BULGE_GREY = 14.0
"""by which the lid is brighter over the eyeball's middle"""
MOTTLE_GREY = 4.0
"""standard deviation of the skin's texture"""
MOTTLE_PX = 0.6
"""sigma of its smoothing"""


def lids_closed(pairs: Pairs, rng: np.random.Generator) -> Images:
    """The refined images with closed eyes.

    Skin that takes its brightness from above and below covers lid edges, eyeball and caruncle; the
    lids meet in a dark line along the lower one.
    """
    _, height, width = pairs.refined_NHW.shape
    outline_NP2 = grown(_corner_to_corner(pairs), RIM_PX)
    result = pairs.refined_NHW.copy()
    for start in range(0, len(pairs), CHUNK):
        rows = slice(start, start + CHUNK)
        opening = _with_upper_edge(Opening.of(outline_NP2[rows], width))
        lid_NHW = _skin(result[rows], opening) + _mottle((len(result[rows]), height, width), rng)
        lid_NHW -= _lash_line(opening, height)
        cover_NHW = gaussian_filter1d(opening.inside(0.0, height, SOFT_PX), 1.0, axis=2)
        result[rows] = blended(result[rows], np.clip(lid_NHW, 0, 255), cover_NHW)
    return result


def _corner_to_corner(pairs: Pairs) -> Values:
    """(N, P, 2) hulls of lids and caruncle, whose last point is repeated up to P."""
    points_NP2 = np.concatenate([pairs.numbers("lid_px"), pairs.numbers("caruncle_px")], axis=1)
    hulls_NP2 = np.empty_like(points_NP2)
    for i, points_P2 in enumerate(points_NP2.astype(np.float32)):
        hull = cv2.convexHull(points_P2)[:, 0]
        hulls_NP2[i, : len(hull)], hulls_NP2[i, len(hull) :] = hull, hull[-1]
    return hulls_NP2


def _with_upper_edge(opening: Opening) -> Opening:
    """The opening and the dark edge above it, which narrows towards the corners."""
    edge_NW = LINER_PX * _fullness(opening)
    return opening._replace(upper_NW=opening.upper_NW - edge_NW)


def _fullness(opening: Opening) -> Values:
    """(N, W) 1 where the opening is high, towards 0 at the corners."""
    return np.clip((opening.lower_NW - opening.upper_NW) / FULL_PX, 0, 1)


def _skin(images_NHW: Images, opening: Opening) -> Values:
    """(N, H, W) grey from the skin above the opening to that below, brighter midway."""
    above_N1W = _strip(images_NHW, np.floor(opening.upper_NW), -1)
    below_N1W = _strip(images_NHW, np.ceil(opening.lower_NW), 1)
    share_NHW = _way_down(opening, images_NHW.shape[1])
    bulge_NHW = BULGE_GREY * 4 * share_NHW * (1 - share_NHW)
    return above_N1W + share_NHW * (below_N1W - above_N1W) + bulge_NHW


def _strip(images_NHW: Images, border_NW: Values, step: int) -> Values:
    """(N, 1, W) mean grey of the rows that begin at a border and go up (-1) or down (1)."""
    reach_1S1 = step * np.arange(SKIN_PX)[:, None]
    y_NSW = np.clip(border_NW[:, None] + reach_1S1, 0, images_NHW.shape[1] - 1).astype(np.intp)
    mean_NW = np.take_along_axis(images_NHW, y_NSW, axis=1).mean(axis=1)
    return np.asarray(gaussian_filter1d(mean_NW, EVEN_PX, axis=1, mode="nearest"))[:, None]


def _way_down(opening: Opening, height: int) -> Values:
    """(N, H, W) 0 at the upper border and above, 1 at the lower one and below."""
    upper_N1W, lower_N1W = opening.upper_NW[:, None], opening.lower_NW[:, None]
    y_H1 = np.arange(height)[:, None]
    return np.clip((y_H1 - upper_N1W) / np.maximum(lower_N1W - upper_N1W, 1e-6), 0, 1)


def _lash_line(opening: Opening, height: int) -> Values:
    """(N, H, W) grey to take away."""
    y_H1, line_N1W = np.arange(height)[:, None], opening.lower_NW[:, None] - LASH_ABOVE_PX
    return (
        LASH_GREY * _fullness(opening)[:, None] * np.exp(-0.5 * ((y_H1 - line_N1W) / LASH_PX) ** 2)
    )


def _mottle(shape: tuple[int, int, int], rng: np.random.Generator) -> Values:
    noise_NHW = gaussian_filter(rng.normal(size=shape), MOTTLE_PX, axes=(1, 2))
    return np.asarray(MOTTLE_GREY * noise_NHW / noise_NHW.std())
