"""Statistics of the boundary and the surface of a hand in a depth picture.

Real depth pictures differ from renders where surfaces are seen at grazing angles or are hidden from
the projector: they have holes, ragged outlines, flying pixels (pixels whose depth lies between two
surfaces) and noise. Each of these is measured as a number of one picture, so that sets of pictures
can be compared as distributions. The distance of two halves of the real set is the floor.

Axes in names: N images, H height, W width, K points of an outline.
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
"""(N,) values of each statistic by its name; NaN for a picture on which it cannot be measured"""
NAMES: Mapping[str, str] = {
    "raggedness_px": "raggedness, px",
    "outline_ratio": "outline over smoothed, ratio",
    "hole_rate_edge": "holes at the edge, share",
    "hole_rate_inside": "holes inside, share",
    "flying_share": "flying pixels, share",
    "noise_mm": "noise of surfaces, mm",
}
"""the names of the statistics, and their labels in a report"""
EDGE_PX = 4
"""pixels at most this far from the outline count as the edge"""
WINDOW = 15
"""number of points of an outline to which a parabola is fitted to smooth it"""
_PARABOLA = savgol_coeffs(WINDOW, 2)
"""weights that give the value of such a parabola at its middle point (Savitzky and Golay)"""
FLYING_MM = 10
"""neighbours whose depths differ by more than this are on different surfaces"""
MAX_SUPPORT = 2
"""a pixel is flying where at most this many of its eight neighbours are on its surface"""
_PLANE = 5
"""side of the windows to which planes are fitted to measure noise"""
NUM_RESAMPLES = 200
"""of the bootstrap"""
NUM_BINS = 32
"""of the histograms"""


def statistics_of(images_NHW: Depth) -> Statistics:
    """Every statistic of every picture of (N, H, W) stored depth."""
    rows = [statistics(image) for image in images_NHW]
    return {name: np.array([row[name] for row in rows], np.float64) for name in NAMES}


def statistics(depth_HW: Depth) -> dict[str, float]:
    """The statistics of one picture, with the names of `NAMES`; NaN where there is no hand."""
    hand = depth_HW > 0
    solid_HW = solid(hand)
    if not solid_HW.any():
        return dict.fromkeys(NAMES, float("nan"))
    raggedness, ratio = raggedness_of(solid_HW)
    inside = cv2.distanceTransform(np.pad(solid_HW, 1, mode="edge").astype(np.uint8),
                                   cv2.DIST_L2, 5)[1:-1, 1:-1]  # fmt: skip
    near = solid_HW & (inside <= EDGE_PX)
    holes = solid_HW & ~hand
    return {
        "raggedness_px": raggedness,
        "outline_ratio": ratio,
        "hole_rate_edge": _share(holes, near),
        "hole_rate_inside": _share(holes, solid_HW & ~near),
        "flying_share": flying_share(depth_HW),
        "noise_mm": noise_mm(depth_HW),
    }


def _share(of: Mask, within: Mask) -> float:
    """The share of the pixels `within` that are `of` too; NaN where there are none."""
    num = int(within.sum())
    return float((of & within).sum()) / num if num else float("nan")


def hole_rate(depth_HW: Depth) -> float:
    """The share of the hand's solid shape that has no depth; NaN where there is no hand."""
    hand = depth_HW > 0
    solid_HW = solid(hand)
    return _share(~hand, solid_HW)


def raggedness_of(solid_HW: Mask) -> tuple[float, float]:
    """How ragged an outline is.

    The outline is compared with itself after smoothing. Smoothing fits parabolas to short
    stretches, so that round fingertips do not count as ragged.

    Args:
        solid_HW: see `edges.solid`.

    Returns:
        The root mean square distance of the two outlines in px, and the length of the outline over
        that of the smoothed one. A circle drawn in pixels has about 0.3 and 1.1. Both are NaN where
        the outline is too short.
    """
    squares, raw, smooth_length = [], 0.0, 0.0
    for outline_K2, counts_K in _outlines(solid_HW):
        smooth = convolve1d(outline_K2, _PARABOLA, axis=0, mode="wrap")
        squares.append(((outline_K2 - smooth) ** 2).sum(axis=1)[counts_K])
        steps = counts_K & np.roll(counts_K, -1)
        raw += _length(outline_K2, steps)
        smooth_length += _length(smooth, steps)
    squared_px = np.concatenate(squares) if squares else np.empty(0)
    if not len(squared_px) or not smooth_length:
        return float("nan"), float("nan")
    return float(np.sqrt(squared_px.mean())), raw / smooth_length


def _outlines(solid_HW: Mask) -> Iterator[tuple[Values, Mask]]:
    """The closed outlines of a mask.

    Yields:
        (K, 2) points (x, y), and (K,) whether each is part of the hand's outline rather than of the
        border of the crop.
    """
    contours, _ = cv2.findContours(solid_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    last = np.array(solid_HW.shape[::-1]) - 1
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
    """The share of the hand's pixels that are flying; NaN where there is no hand.

    A flying pixel has at most `MAX_SUPPORT` of its eight neighbours within `FLYING_MM` of its
    depth.
    """
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
    """The noise of surfaces: the deviation of the depth from planes, in mm.

    A plane is fitted to each window of 5 x 5 pixels that lies on one surface. The result is the
    root of the median variance of the residuals; NaN where there is no such window.
    """
    size = (_PLANE, _PLANE)
    depth = depth_HW.astype(np.float64)
    window_full = cv2.erode((depth_HW > 0).astype(np.uint8), np.ones(size, np.uint8)) > 0
    ramp = np.arange(_PLANE) - _PLANE // 2.0
    level = np.ones(_PLANE) / _PLANE
    tilt = ramp / (_PLANE * (ramp**2).mean())
    mean = cv2.sepFilter2D(depth, -1, level, level)
    variance = cv2.sepFilter2D(depth**2, -1, level, level) - mean**2
    slopes = [cv2.sepFilter2D(depth, -1, *pair) for pair in ((tilt, level), (level, tilt))]
    explained = (ramp**2).mean() * (slopes[0] ** 2 + slopes[1] ** 2)
    left = np.maximum(variance - explained, 0) * _PLANE**2 / (_PLANE**2 - 3)
    kernel = np.ones(size, np.uint8)
    one_surface = window_full & (
        cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) < 2 * FLYING_MM
    )
    noise_mm2 = left[one_surface]
    return float(np.sqrt(np.median(noise_mm2))) if len(noise_mm2) else float("nan")


# --- comparison of sets ---------------------------------------------------------------------------


def boundary_of(
    synthetic: Statistics, refined: Statistics, real: Statistics, *, seed: int
) -> Boundary:
    """Compare the distribution of each statistic between sets.

    Renders, refined images and one half of the real images are each compared with the other half
    of the real images. A distance is the Wasserstein-1 distance of the two distributions, in
    standard deviations of the statistic over the real set; its 95 % interval is over images.

    Args:
        seed: of the halves and the bootstrap.
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
    """The Wasserstein-1 distance of two samples in units of `unit`, with a 95 % bootstrap interval.

    It is never negative, so for equal distributions it is above 0 by what chance adds.
    """
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
    """Histograms of a statistic for synthetic, refined and real images, as shares of the images.

    The bins reach from the least value to the largest 99th percentile of the three sets; what lies
    beyond is in the last bin.
    """
    low = min(values.min() for values in sets)
    high = max(float(np.quantile(values, 0.99)) for values in sets)
    edges = np.linspace(low, max(high, low + 1e-6), NUM_BINS + 1)
    shares = [
        np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        for values in sets
    ]
    synthetic, refined, real = (tuple(share.tolist()) for share in shares)
    return Curves(at=tuple(edges[:-1].tolist()), synthetic=synthetic, refined=refined, real=real)
