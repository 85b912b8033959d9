"""Movement of outlines and edges in a depth picture against those of its parent.

A ragged outline must not count as a moved one. So the silhouette as a whole is registered by its
signed distance. Single edges (of the silhouette, or of one finger before another) are measured by
area: how much the near side gained or lost along the normal, averaged over stretches that are
longer than the teeth of a ragged edge.

Axes in names: H height, W width, P edge points, T steps along a normal, K pixels of a band.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.uint16]
"""(H, W) uint16 depth as it is stored: mm from the cube's front plus 1, and 0 for the background"""
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

MAX_HOLE_PX = 100
"""enclosed background of at most this many pixels is a hole; more is a gap between fingers"""
MAX_SPECK_PX = 30
"""pieces of a hand of at most this many pixels are specks"""
REACH_PX = 12
"""the largest displacement of a silhouette that is searched, in x and in y"""
BAND_PX = 8
"""signed distances are clipped at this value, because pixels far from the outline do not help"""
FIT_PX, FIT_ROUNDS = 2.0, 5
"""half width of the band around the outline in which fractions of a pixel are fitted, and the
number of rounds of that fit"""
STEP_MM = 20
"""neighbours whose depths differ by at least this have an edge between them"""
MAX_STEP_MM = 60
"""the step that is assumed where the far side is the background, which has no depth"""
PROFILE_PX = 6.0
"""how far along the normal, to either side, an edge is searched; no larger movement is measured"""
_PROFILE = np.arange(-PROFILE_PX + 0.25, PROFILE_PX, 0.5)
"""positions of the T steps along a normal"""
_MIN_RANGE_PX = 3.0
"""the least length of a profile on either side of an edge before the next edge begins"""
_AROUND = np.array([(y, x) for y in range(-4, 5) for x in range(-4, 5) if x * x + y * y <= 16])
_CELL_PX = 56
"""side of the squares; edges of one direction in one square form a stretch"""
_MIN_STRETCH = 8
"""the least number of edge points of a stretch"""


def solid(hand_HW: Mask) -> Mask:
    """The mask of a hand with its holes filled and specks removed."""
    filled = hand_HW | _small(~hand_HW, MAX_HOLE_PX, connectivity=4)
    return filled & ~_small(filled, MAX_SPECK_PX, connectivity=8, at_border=True)


def _small(mask_HW: Mask, most_px: int, *, connectivity: int, at_border: bool = False) -> Mask:
    """The pieces of a mask that have at most `most_px` pixels.

    Args:
        connectivity: 4 or 8 neighbours.
        at_border: whether pieces that touch the border of the picture are included.
    """
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
    """(H, W) float32 distance to the outline in px, positive outside and negative inside.

    It is 0 half way between a pixel inside and one outside.
    """
    outside = cv2.distanceTransform((~mask_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.where(mask_HW, 0.5 - inside, outside - 0.5), np.float32)


class Moved(NamedTuple):
    """The displacement of a silhouette."""

    shift_px: tuple[float, float]
    """position (x, y) in the second picture minus that in the first"""
    match: float
    """correlation of the signed distances at the best displacement in whole pixels, -1 to 1"""


def registered_silhouette(before_HW: Mask, after_HW: Mask) -> Moved | None:
    """The displacement of a silhouette between two pictures of one scene.

    Args:
        before_HW, after_HW: masks of the hand, see `solid`.

    Returns:
        None where a picture has no outline, or none in the part that is searched.
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
    """Refine a displacement (x, y) from whole pixels to fractions.

    This is a least squares fit over the band around the outline, in which outliers have less
    weight. A further term describes growth of the silhouette, so that growth does not count as
    displacement.
    """
    gy, gx = (np.asarray(slope) for slope in np.gradient(before))
    band = (np.abs(before) <= FIT_PX) & (np.hypot(gx, gy) > 0.5)
    for side in (band[:REACH_PX], band[-REACH_PX:], band[:, :REACH_PX], band[:, -REACH_PX:]):
        side[:] = False  # what moves in from beyond the border is not known
    terms_K3 = np.stack([-gx[band], -gy[band], -np.ones(int(band.sum()))], axis=1)
    shift, (height, width) = start, before.shape
    for _ in range(FIT_ROUNDS):
        matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]])
        registered = cv2.warpAffine(after, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        error_K = (registered - before)[band]
        growth = -float(np.median(error_K))
        weights_K = 1 / np.maximum(1, np.abs(error_K + growth))
        weighted = terms_K3 * weights_K[:, None]
        step = np.linalg.lstsq(weighted.T @ terms_K3, weighted.T @ error_K, rcond=None)[0]
        shift = shift + step[:2].clip(-1, 1)
    return np.asarray(shift)


@dataclass(frozen=True)
class Edges:
    """The edges of one picture, whose movement is measured in another."""

    pixel_P2: NDArray[np.int64]  # noqa: N815
    """(row, column) of the pixel on the near side"""
    normal_P2: Values  # noqa: N815
    """unit vectors (y, x) from the near to the far side"""
    limit_mm_P: Values  # noqa: N815
    """pixels with at least this stored depth belong to the far side"""
    near_PT: Mask  # noqa: N815
    """which steps along the normal are on the near side"""
    counts_PT: Mask  # noqa: N815
    """which steps count, because they lie before the next edge"""


def edges_of(depth_HW: Depth) -> Edges:
    """The edges of a picture, without those that are too close to another edge or the border."""
    depth = _with_far_background(without_holes(depth_HW))
    step = _step_behind(depth)
    pixels = np.argwhere(step >= STEP_MM)
    inside = ((pixels >= PROFILE_PX) & (pixels < np.array(depth.shape) - PROFILE_PX)).all(axis=1)
    pixels = pixels[inside]
    rows, columns = pixels.T
    limit_mm = depth[rows, columns] + np.minimum(step[rows, columns], MAX_STEP_MM) / 2
    normal = _normals(depth, pixels, limit_mm)
    near = _profiles(depth, pixels, normal) < limit_mm[:, None]
    counts = _before_next_edge(near)
    half = near.shape[1] // 2
    enough = np.minimum(counts[:, :half].sum(1), counts[:, half:].sum(1)) * 0.5 >= _MIN_RANGE_PX
    enough &= np.isfinite(normal).all(axis=1)
    return Edges(pixels[enough], normal[enough], limit_mm[enough], near[enough], counts[enough])


class EdgeChange(NamedTuple):
    """The movement of the edges of a picture."""

    drift_px: float
    """median over stretches of the absolute movement along the normals, 0 or larger"""
    growth_px: float
    """mean movement towards the far side; negative where the near side shrank"""


def edge_change(edges: Edges, after_HW: Depth) -> EdgeChange | None:
    """Measure the movement of edges in another picture of the same scene.

    Args:
        edges: of the first picture.
        after_HW: the second picture.

    Returns:
        None where no stretch has enough edge points.
    """
    after = _with_far_background(without_holes(after_HW))
    near = _profiles(after, edges.pixel_P2, edges.normal_P2) < edges.limit_mm_P[:, None]
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
    """A picture whose holes are filled with the nearest depth and whose specks are removed."""
    hand = depth_HW > 0
    solid_HW = solid(hand)
    filled = np.where(solid_HW, depth_HW, 0).astype(np.uint16)
    holes = solid_HW & ~hand
    if holes.any():
        filled[holes] = nearest_depth(depth_HW)[holes]
    return filled


def nearest_depth(depth_HW: Depth) -> Depth:
    """(H, W) for each pixel the depth of the nearest pixel of the hand; there must be a hand."""
    hand = depth_HW > 0
    _, nearest = cv2.distanceTransformWithLabels(
        (~hand).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depths = np.zeros(nearest.max() + 1, np.uint16)
    depths[nearest[hand]] = depth_HW[hand]
    return np.asarray(depths[nearest], np.uint16)


def _with_far_background(depth_HW: Depth) -> NDArray[np.float32]:
    """(H, W) depth whose background is infinitely far instead of 0."""
    return np.where(depth_HW > 0, depth_HW, np.inf).astype(np.float32)


def _step_behind(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) depth of the deepest of the four neighbours minus that of the pixel."""
    padded = np.pad(depth, 1, mode="edge")
    around = np.max([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(around - depth, nan=0.0, posinf=np.inf), np.float32)


def _normals(depth: NDArray[np.float32], pixels: NDArray[np.int64], limit_mm: Values) -> Values:
    """(P, 2) unit vectors away from the centroid of the near pixels within 4 px.

    They are NaN where the near pixels are on all sides.
    """
    rows, columns = np.moveaxis(pixels[:, None] + _AROUND, -1, 0)
    near = depth[rows, columns] < limit_mm[:, None]
    away = -(near @ _AROUND) / np.maximum(near.sum(axis=1, keepdims=True), 1)
    length = np.hypot(*away.T)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(length > 0.3, away / length, np.nan))


def _profiles(depth: NDArray[np.float32], pixels: NDArray[np.int64], normal: Values) -> Values:
    """(P, T) depth at steps of half a pixel along the normals.

    Position 0 is half a pixel from the edge's pixel, between the near and the far side.
    """
    known = np.nan_to_num(normal)
    at = pixels[:, None] + (_PROFILE[:, None] + 0.5) * known[:, None]
    rows, columns = np.moveaxis(np.floor(at + 0.5).astype(np.intp), -1, 0)
    height, width = depth.shape
    return np.asarray(depth[rows.clip(0, height - 1), columns.clip(0, width - 1)], np.float64)


def _before_next_edge(near: Mask) -> Mask:
    """(P, T) which steps lie before the next edge.

    From the middle, these are the steps inwards as long as they are near, and outwards as long as
    they are far. The four in the middle always count, because the outline follows whole pixels.
    """
    half = near.shape[1] // 2
    inwards = np.logical_or.accumulate(~near[:, : half - 2][:, ::-1], axis=1)[:, ::-1]
    outwards = np.logical_or.accumulate(near[:, half + 2 :], axis=1)
    middle = np.ones((len(near), 4), bool)
    return np.concatenate([~inwards, middle, ~outwards], axis=1)


def _stretches(edges: Edges) -> NDArray[np.int64]:
    """(P,) number of the stretch: the points of one square with normals in one quadrant."""
    square = edges.pixel_P2 // _CELL_PX
    y, x = edges.normal_P2.T
    quadrant = 2 * (y > x) + (y > -x)
    return np.asarray((square[:, 0] * 64 + square[:, 1]) * 4 + quadrant)


def _weighted_median(values: Values, weights: NDArray[np.int64]) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
