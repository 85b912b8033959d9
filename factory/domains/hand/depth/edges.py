"""How far the outlines in a depth picture moved against those of its parent.

A ragged outline is not a moved one. So the whole silhouette is registered by its signed distance,
and single edges (silhouette, and one finger before another) answer with an area: what the near
side won or lost along the normal, averaged over stretches that are longer than the teeth.

Legend of shapes: H height, W width, P edge points, T steps along a normal.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.uint16]
"""(H, W) stored depth, mm from the cube's front plus 1; 0 is background"""
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

MAX_HOLE_PX = 100
"""enclosed background of so many pixels at most is a hole; more is seen between fingers"""
MAX_SPECK_PX = 30
"""pieces of a hand that are no larger are specks"""
REACH_PX = 12
"""largest displacement of a silhouette looked for, in x and in y"""
BAND_PX = 8
"""signed distances are cut here: what is far from the outline says nothing about it"""
FIT_PX, FIT_ROUNDS = 2.0, 5
"""half width of the band at the outline that fractions of a pixel are fitted in, and how often"""
STEP_MM = 20
"""a difference of depth between neighbours from which on there is an edge"""
MAX_STEP_MM = 60
"""where the background begins, for want of a depth of its own"""
PROFILE_PX = 6.0
"""how far along a normal an edge is looked for: it answers with no more than this"""
_PROFILE = np.arange(-PROFILE_PX + 0.25, PROFILE_PX, 0.5)
_MIN_RANGE_PX = 3.0
"""of a profile, on either side, before another edge begins"""
_AROUND = np.array([(y, x) for y in range(-4, 5) for x in range(-4, 5) if x * x + y * y <= 16])
_CELL_PX = 56
"""side of the squares whose edges of one direction are averaged"""
_MIN_STRETCH = 8
"""edge points, to be averaged"""


def solid(hand_HW: Mask) -> Mask:
    """The hand without holes and specks."""
    filled = hand_HW | _small(~hand_HW, MAX_HOLE_PX, connectivity=4)
    return filled & ~_small(filled, MAX_SPECK_PX, connectivity=8, at_border=True)


def _small(mask_HW: Mask, most_px: int, *, connectivity: int, at_border: bool = False) -> Mask:
    """The pieces of a mask of at most so many pixels; those that touch the border on demand."""
    num, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask_HW.astype(np.uint8), connectivity=connectivity
    )
    small = stats[:, cv2.CC_STAT_AREA] <= most_px
    if not at_border:
        left, top, width, height = stats[:, :4].T
        touches = (left == 0) | (top == 0)
        touches |= (left + width == mask_HW.shape[1]) | (top + height == mask_HW.shape[0])
        small &= ~touches
    small[0] = False
    return np.asarray(small[labels]) if num > 1 else np.zeros_like(mask_HW)


def signed_distance(mask_HW: Mask) -> NDArray[np.float32]:
    """(H, W) px to the outline: positive outside, negative inside, 0 between the pixels."""
    outside = cv2.distanceTransform((~mask_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.where(mask_HW, 0.5 - inside, outside - 0.5), np.float32)


class Moved(NamedTuple):
    """A displacement of a silhouette."""

    shift_px: tuple[float, float]
    """(x, y), second less first"""
    match: float
    """correlation of the signed distances there, -1 to 1"""


def registered_silhouette(before_HW: Mask, after_HW: Mask) -> Moved | None:
    """Displacement of a whole outline; None where a picture has none.

    Args:
        before_HW, after_HW: `solid` masks.
    """
    if not all(mask.any() and not mask.all() for mask in (before_HW, after_HW)):
        return None
    before, after = (
        np.clip(signed_distance(mask), -BAND_PX, BAND_PX) for mask in (before_HW, after_HW)
    )
    part = before[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    if np.ptp(part) < 1:
        return None
    scores = cv2.matchTemplate(after, part, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    start = np.array([column, row], np.float64) - REACH_PX
    x, y = _refined_shift(before, after, start).tolist()
    return Moved((x, y), float(scores[row, column]))


def _refined_shift(
    before: NDArray[np.float32], after: NDArray[np.float32], start: Values
) -> Values:
    """(x, y) from whole pixels to fractions: least squares over the band at the outline, outliers
    weighted down, with a term of its own for growth, which is no displacement."""
    gy, gx = (np.asarray(slope) for slope in np.gradient(before))
    band = (np.abs(before) <= FIT_PX) & (np.hypot(gx, gy) > 0.5)
    for side in (band[:REACH_PX], band[-REACH_PX:], band[:, :REACH_PX], band[:, -REACH_PX:]):
        side[:] = False  # what comes in from beyond the border is not known
    terms_K3 = np.stack([-gx[band], -gy[band], -np.ones(int(band.sum()))], axis=1)
    shift, (height, width) = start, before.shape
    for _ in range(FIT_ROUNDS):
        matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]])
        there = cv2.warpAffine(after, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        error_K = (there - before)[band]
        growth = -float(np.median(error_K))
        weights_K = 1 / np.maximum(1, np.abs(error_K + growth))
        weighted = terms_K3 * weights_K[:, None]
        step = np.linalg.lstsq(weighted.T @ terms_K3, weighted.T @ error_K, rcond=None)[0]
        shift = shift + step[:2].clip(-1, 1)
    return np.asarray(shift)


@dataclass(frozen=True)
class Edges:
    """Where one picture has edges, each to be found again in another."""

    place_P2: NDArray[np.int64]  # noqa: N815
    """(row, column) of the near side"""
    normal_P2: Values  # noqa: N815
    """unit vectors (y, x) from near to far"""
    limit_mm_P: Values  # noqa: N815
    """stored depth from which on a pixel is of the far side"""
    near_PT: Mask  # noqa: N815
    """which steps of a profile are of the near side"""
    counts_PT: Mask  # noqa: N815
    """which steps lie before the next edge"""


def edges_of(depth_HW: Depth) -> Edges:
    """The edges of a picture, but for those too close to another to be looked for."""
    depth = _with_far_background(without_holes(depth_HW))
    step = _step_behind(depth)
    place = np.argwhere(step >= STEP_MM)
    inside = ((place >= PROFILE_PX) & (place < np.array(depth.shape) - PROFILE_PX)).all(axis=1)
    place = place[inside]
    rows, columns = place.T
    limit_mm = depth[rows, columns] + np.minimum(step[rows, columns], MAX_STEP_MM) / 2
    normal = _normals(depth, place, limit_mm)
    near = _profiles(depth, place, normal) < limit_mm[:, None]
    counts = _before_next_edge(near)
    half = near.shape[1] // 2
    enough = np.minimum(counts[:, :half].sum(1), counts[:, half:].sum(1)) * 0.5 >= _MIN_RANGE_PX
    enough &= np.isfinite(normal).all(axis=1)
    return Edges(place[enough], normal[enough], limit_mm[enough], near[enough], counts[enough])


class EdgeChange(NamedTuple):
    """What became of the edges of a picture."""

    drift_px: float
    """median over stretches of edge of the distance that they moved along their normals"""
    growth_px: float
    """mean movement outwards, negative where the near side shrank"""


def edge_change(edges: Edges, after_HW: Depth) -> EdgeChange | None:
    """Where edges are in another picture of the same scene; None where there are too few."""
    after = _with_far_background(without_holes(after_HW))
    near = _profiles(after, edges.place_P2, edges.normal_P2) < edges.limit_mm_P[:, None]
    won = (near.astype(np.int8) - edges.near_PT) * edges.counts_PT
    outwards_px_P = 0.5 * won.sum(axis=1)
    stretch = _stretches(edges)
    num = np.bincount(stretch)
    mean_px = np.bincount(stretch, outwards_px_P) / np.maximum(num, 1)
    long = num >= _MIN_STRETCH
    if not long.any():
        return None
    return EdgeChange(_weighted_median(np.abs(mean_px[long]), num[long]), outwards_px_P.mean())


def without_holes(depth_HW: Depth) -> Depth:
    """Holes filled with the nearest depth, specks removed."""
    hand = depth_HW > 0
    whole = solid(hand)
    filled = np.where(whole, depth_HW, 0).astype(np.uint16)
    holes = whole & ~hand
    if holes.any():
        filled[holes] = nearest_depth(depth_HW)[holes]
    return filled


def nearest_depth(depth_HW: Depth) -> Depth:
    """(H, W) of each pixel, the depth of the hand's nearest; there has to be a hand."""
    hand = depth_HW > 0
    _, nearest = cv2.distanceTransformWithLabels(
        (~hand).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depths = np.zeros(nearest.max() + 1, np.uint16)
    depths[nearest[hand]] = depth_HW[hand]
    return np.asarray(depths[nearest], np.uint16)


def _with_far_background(depth_HW: Depth) -> NDArray[np.float32]:
    return np.where(depth_HW > 0, depth_HW, np.inf).astype(np.float32)


def _step_behind(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) how much deeper the deepest of the four neighbours is."""
    padded = np.pad(depth, 1, mode="edge")
    around = np.max([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(around - depth, nan=0.0, posinf=np.inf), np.float32)


def _normals(depth: NDArray[np.float32], place: NDArray[np.int64], limit_mm: Values) -> Values:
    """Away from the middle of what is near within 4 px; NaN where that is all around."""
    rows, columns = np.moveaxis(place[:, None] + _AROUND, -1, 0)
    near = depth[rows, columns] < limit_mm[:, None]
    away = -(near @ _AROUND) / np.maximum(near.sum(axis=1, keepdims=True), 1)
    length = np.hypot(*away.T)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(length > 0.3, away / length, np.nan))


def _profiles(depth: NDArray[np.float32], place: NDArray[np.int64], normal: Values) -> Values:
    """(P, T) depth along normals, half a pixel apart; step 0 is the middle of two pixels."""
    known = np.nan_to_num(normal)
    at = place[:, None] + (_PROFILE[:, None] + 0.5) * known[:, None]
    rows, columns = np.moveaxis(np.floor(at + 0.5).astype(np.intp), -1, 0)
    height, width = depth.shape
    return np.asarray(depth[rows.clip(0, height - 1), columns.clip(0, width - 1)], np.float64)


def _before_next_edge(near: Mask) -> Mask:
    """From the middle inwards while it is near, outwards while it is far; the step at an outline
    of whole pixels may lie one place off."""
    half = near.shape[1] // 2
    inwards = np.logical_or.accumulate(~near[:, : half - 2][:, ::-1], axis=1)[:, ::-1]
    outwards = np.logical_or.accumulate(near[:, half + 2 :], axis=1)
    middle = np.ones((len(near), 4), bool)
    return np.concatenate([~inwards, middle, ~outwards], axis=1)


def _stretches(edges: Edges) -> NDArray[np.int64]:
    """(P,) number of the stretch: points of one square whose normals point into one quadrant."""
    square = edges.place_P2 // _CELL_PX
    y, x = edges.normal_P2.T
    quadrant = 2 * (y > x) + (y > -x)
    return np.asarray((square[:, 0] * 64 + square[:, 1]) * 4 + quadrant)


def _weighted_median(values: Values, weights: NDArray[np.int64]) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
