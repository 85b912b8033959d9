"""What a camera does to the boundary and the surface of a hand in a depth picture.

Real depth pictures differ from renders where light grazes or is hidden: holes, ragged outlines,
pixels that fly between surfaces, noise. Each is a number of one picture here, so that sets of
pictures can be compared as distributions, and the floor is what two halves of the real set show.

Legend of shapes: N images, H height, W width, K points of an outline.
"""

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.signal import savgol_coeffs
from scipy.stats import wasserstein_distance

from factory.domains.hand.depth.edges import Depth, Mask, solid
from schemas.hand.report import Boundary, BoundaryMedians
from schemas.realism import Compared, Curves, Distance

Values = NDArray[np.float64]
Statistics = Mapping[str, Values]
"""(N,) of each statistic by name; NaN where a picture has nothing to measure it on"""
NAMES: Mapping[str, str] = {
    "raggedness_px": "raggedness, px",
    "outline_ratio": "outline over smoothed one",
    "hole_rate_edge": "holes at the edge, share",
    "hole_rate_inside": "holes inside, share",
    "flying_share": "flying pixels, share",
    "noise_mm": "noise of surfaces, mm",
}
"""the statistics, and what they are called in a report"""
EDGE_PX = 4
"""what is nearer to the outline is near it"""
WINDOW = 15
"""points of an outline that a parabola is laid through to smooth it"""
_PARABOLA = savgol_coeffs(WINDOW, 2)
"""what a parabola through so many points has in the middle one, as weights (Savitzky and Golay)"""
FLYING_MM = 10
"""a neighbour whose depth differs by more is of another surface"""
MAX_SUPPORT = 2
"""neighbours of eight on its surface that a flying pixel has at most"""
_PLANE = 5
"""side of the windows in which noise is what a plane does not explain"""
NUM_RESAMPLES = 200
NUM_BINS = 32


def statistics_of(images_NHW: Depth) -> Statistics:
    """Every statistic of every picture."""
    rows = [statistics(image) for image in images_NHW]
    return {name: np.array([row[name] for row in rows], np.float64) for name in NAMES}


def statistics(depth_HW: Depth) -> dict[str, float]:
    """The statistics of one picture by the names of `NAMES`; NaN where there is no hand."""
    hand = depth_HW > 0
    whole = solid(hand)
    if not whole.any():
        return dict.fromkeys(NAMES, float("nan"))
    raggedness, ratio = raggedness_of(whole)
    inside = cv2.distanceTransform(np.pad(whole, 1, mode="edge").astype(np.uint8),
                                   cv2.DIST_L2, 5)[1:-1, 1:-1]  # fmt: skip
    near = whole & (inside <= EDGE_PX)
    holes = whole & ~hand
    return {
        "raggedness_px": raggedness,
        "outline_ratio": ratio,
        "hole_rate_edge": _share(holes, near),
        "hole_rate_inside": _share(holes, whole & ~near),
        "flying_share": flying_share(depth_HW),
        "noise_mm": noise_mm(depth_HW),
    }


def _share(of: Mask, within: Mask) -> float:
    num = int(within.sum())
    return float((of & within).sum()) / num if num else float("nan")


def hole_rate(depth_HW: Depth) -> float:
    """Share of the hand's solid shape that is without depth; NaN where there is no hand."""
    hand = depth_HW > 0
    whole = solid(hand)
    return _share(~hand, whole)


def raggedness_of(whole_HW: Mask) -> tuple[float, float]:
    """Root mean square distance, px, of an outline from itself smoothed, and the quotient of both
    lengths; NaN where the outline is too short. A circle in pixels has about 0.3 and 1.1.

    Smoothing lays parabolas through short stretches, so that round fingertips are not ragged.
    """
    squares, raw, smooth_length = [], 0.0, 0.0
    for outline_K2, counts_K in _outlines(whole_HW):
        smooth = convolve1d(outline_K2, _PARABOLA, axis=0, mode="wrap")
        squares.append(((outline_K2 - smooth) ** 2).sum(axis=1)[counts_K])
        steps = counts_K & np.roll(counts_K, -1)
        raw += _length(outline_K2, steps)
        smooth_length += _length(smooth, steps)
    found = np.concatenate(squares) if squares else np.empty(0)
    if not len(found) or not smooth_length:
        return float("nan"), float("nan")
    return float(np.sqrt(found.mean())), raw / smooth_length


def _outlines(whole_HW: Mask) -> Iterator[tuple[Values, Mask]]:
    """Closed outlines as points (x, y), and which of these are not where the crop cuts the hand."""
    contours, _ = cv2.findContours(whole_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    last = np.array(whole_HW.shape[::-1]) - 1
    for contour in contours:
        points = contour[:, 0].astype(np.float64)
        if len(points) < 2 * WINDOW:
            continue
        cut = ((points <= 0) | (points >= last)).any(axis=1)
        near_cut = np.convolve(np.pad(cut, WINDOW // 2, mode="wrap"), np.ones(WINDOW), "valid") > 0
        yield points, ~near_cut


def _length(points_K2: Values, steps_K: Mask) -> float:
    return float(np.hypot(*(np.roll(points_K2, -1, axis=0) - points_K2).T)[steps_K].sum())


def flying_share(depth_HW: Depth) -> float:
    """Share of the hand's pixels with at most two of eight neighbours at their depth."""
    hand = depth_HW > 0
    if not hand.any():
        return float("nan")
    height, width = depth_HW.shape
    padded = np.pad(depth_HW.astype(np.int32), 1, constant_values=-(1 << 20))
    support = np.zeros(depth_HW.shape, np.int8)
    for y, x in np.argwhere(np.ones((3, 3))).tolist():
        if (y, x) != (1, 1):
            neighbour = padded[y : y + height, x : x + width]
            support += (np.abs(neighbour - depth_HW) <= FLYING_MM) & (neighbour > 0)
    return float((support[hand] <= MAX_SUPPORT).mean())


def noise_mm(depth_HW: Depth) -> float:
    """Median over 5 x 5 windows on one surface of what the best plane leaves, rms in mm; NaN where
    there are none."""
    size = (_PLANE, _PLANE)
    depth = depth_HW.astype(np.float64)
    there = cv2.erode((depth_HW > 0).astype(np.uint8), np.ones(size, np.uint8)) > 0
    ramp = np.arange(_PLANE) - _PLANE // 2.0
    level = np.ones(_PLANE) / _PLANE
    tilt = ramp / (_PLANE * (ramp**2).mean())
    mean = cv2.sepFilter2D(depth, -1, level, level)
    variance = cv2.sepFilter2D(depth**2, -1, level, level) - mean**2
    slopes = [cv2.sepFilter2D(depth, -1, *pair) for pair in ((tilt, level), (level, tilt))]
    explained = (ramp**2).mean() * (slopes[0] ** 2 + slopes[1] ** 2)
    left = np.maximum(variance - explained, 0) * _PLANE**2 / (_PLANE**2 - 3)
    kernel = np.ones(size, np.uint8)
    one_surface = there & (cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) < 2 * FLYING_MM)
    found = left[one_surface]
    return float(np.sqrt(np.median(found))) if len(found) else float("nan")


# --- sets against each other ----------------------------------------------------------------------


def boundary_of(
    synthetic: Statistics, refined: Statistics, real: Statistics, *, seed: int
) -> Boundary:
    """Each statistic of the renders and of the refined against one half of the real set, and of its
    other half as the floor.

    A distance is Wasserstein-1 between the distributions, in standard deviations of the real set's
    own; its interval is over images.
    """
    num_real = len(next(iter(real.values())))
    order = np.random.default_rng(seed).permutation(num_real)
    half, other = order[: num_real // 2], order[num_real // 2 :]
    distances, medians, histograms = {}, {}, {}
    for name in NAMES:
        sets = [_known(values) for values in (synthetic[name], refined[name])]
        mine, floor = _known(real[name][half]), _known(real[name][other])
        unit = float(_known(real[name]).std()) if len(mine) else 0.0
        if unit < 1e-6 or not all(len(values) for values in (*sets, mine, floor)):
            continue
        compared = [_distance(values, mine, unit, seed) for values in (*sets, floor)]
        distances[name] = Compared(synthetic=compared[0], refined=compared[1], floor=compared[2])
        of_sets = [float(np.median(values)) for values in (*sets, _known(real[name]))]
        medians[name] = BoundaryMedians(synthetic=of_sets[0], refined=of_sets[1], real=of_sets[2])
        histograms[name] = _histogram(name, [*sets, _known(real[name])])
    return Boundary.model_validate(
        {
            **{name: distances.get(name) for name in NAMES},
            "medians": medians,
            "histograms": histograms,
            "num_images": len(next(iter(refined.values()))),
            "num_real": num_real,
        }
    )


def _known(values: Values) -> Values:
    return values[np.isfinite(values)]


def _distance(values: Values, real: Values, unit: float, seed: int) -> Distance:
    """Zero, or as near to it as sets of their sizes come, for equal distributions."""
    rng = np.random.default_rng(seed)
    drawn = [
        wasserstein_distance(
            rng.choice(values, len(values)), rng.choice(real, len(real))
        ) / unit
        for _ in range(NUM_RESAMPLES)
    ]  # fmt: skip
    value = wasserstein_distance(values, real) / unit
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Distance(value=value, low=min(low, value), high=max(high, value))


def _histogram(name: str, sets: Sequence[Values]) -> Curves:
    """Shares of the images over the statistic, from the least to the 99th percentile of any."""
    low = min(values.min() for values in sets)
    high = max(float(np.quantile(values, 0.99)) for values in sets)
    edges = np.linspace(low, max(high, low + 1e-6), NUM_BINS + 1)
    shares = [
        np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        for values in sets
    ]
    synthetic, refined, real = (tuple(share.tolist()) for share in shares)
    return Curves(at=tuple(edges[:-1].tolist()), synthetic=synthetic, refined=refined, real=real)
