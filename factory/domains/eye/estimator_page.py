"""Pictures of what estimators find, beside the truth."""

from collections.abc import Iterable

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from factory.domains.eye.networks.gaze import Gaze, yaw_pitch_deg
from factory.images.png import encode_png
from factory.upkeep.contact_sheet import shown_bgr

NUM_COLUMNS, NUM_ROWS = 6, 3
NUM_TILES = NUM_COLUMNS * NUM_ROWS
ZOOM = 4
TRUE, FOUND = (255, 180, 0), (0, 220, 255)
"""RGB"""
_ARROW_SHARE = 0.4
"""length of a gaze across the line of sight, of the image's width"""

Rgb = NDArray[np.uint8]


def landmarks_png(images: np.ndarray, truth_px: np.ndarray, found_px: np.ndarray) -> bytes:
    """The first eyes with their landmarks (rings) and what the network finds (dots).

    Args:
        images: uint8 (n, H, W).
        truth_px, found_px: (n, k, 2).
    """
    tiles = []
    for image, truth, found in zip(images[:NUM_TILES], truth_px, found_px, strict=False):
        tile = _grown(image)
        for points, radius, colour, width in ((truth, 4, TRUE, 1), (found, 2, FOUND, -1)):
            for x, y in (points + 0.5) * ZOOM - 0.5:
                centre = round(float(x)), round(float(y))
                cv2.circle(tile, centre, radius, colour, width, cv2.LINE_AA)
        tiles.append(tile)
    return _mosaic_png(tiles)


def gaze_png(images: np.ndarray, truth_N3: Gaze, found_N3: Gaze) -> bytes:
    """The first eyes with arrows of their gaze (thick) and what the network finds (thin).

    Arrows begin in the centre of the image and have the length of the vector's x and y: into the
    camera is a dot.

    Args:
        images: uint8 (n, H, W).
    """
    tiles = []
    for image, truth, found in zip(images[:NUM_TILES], truth_N3, found_N3, strict=False):
        tile = _grown(image)
        height, width = tile.shape[:2]
        middle = round((width - 1) / 2), round((height - 1) / 2)
        for gaze, colour, thick in ((truth, TRUE, 3), (found, FOUND, 1)):
            end = np.array(middle) + gaze[:2] * _ARROW_SHARE * width
            tip = round(float(end[0])), round(float(end[1]))
            cv2.arrowedLine(tile, middle, tip, colour, thick, cv2.LINE_AA, tipLength=0.15)
        tiles.append(tile)
    return _mosaic_png(tiles)


def joints_png(images: NDArray[np.uint16], truth_px: np.ndarray, found_px: np.ndarray) -> bytes:
    """The first hands, nearer as brighter, with their joints (rings), each tied to where the
    network finds it (dots). NaN is not drawn.

    Args:
        images: (n, H, W) depth as stored.
        truth_px, found_px: (n, k, 2).
    """
    tiles = []
    for image, truth, found in zip(images[:NUM_TILES], truth_px, found_px, strict=False):
        # Twice the size is drawn, and once shown: thin lines on pictures that are large enough.
        tile = np.ascontiguousarray(shown_bgr(image)[:, :, ::-1]).repeat(2, 0).repeat(2, 1)
        for joint, place in zip(_places(truth), _places(found), strict=True):
            if joint is not None and place is not None:
                cv2.line(tile, joint, place, FOUND, 2, cv2.LINE_AA)
            if joint is not None:
                cv2.circle(tile, joint, 6, TRUE, 2, cv2.LINE_AA)
            if place is not None:
                cv2.circle(tile, place, 3, FOUND, -1, cv2.LINE_AA)
        tiles.append(cv2.resize(tile, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return _mosaic_png(tiles)


def _places(points: np.ndarray) -> list[tuple[int, int] | None]:
    """In the picture of twice the size; None for those without a place."""
    return [
        (round(2 * float(x) + 0.5), round(2 * float(y) + 0.5)) if np.isfinite(x + y) else None
        for x, y in points
    ]


def _grown(image: np.ndarray) -> Rgb:
    size = (image.shape[1] * ZOOM, image.shape[0] * ZOOM)
    large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), np.uint8)


def _mosaic_png(tiles: list[Rgb]) -> bytes:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % NUM_COLUMNS)
    rows: Iterable[Rgb] = (
        np.concatenate(tiles[first : first + NUM_COLUMNS], axis=1)
        for first in range(0, len(tiles), NUM_COLUMNS)
    )
    return encode_png(np.concatenate(list(rows)))


def gaze_scatter_png(truth_N3: Gaze, found_N3: Gaze) -> bytes:
    """True against estimated yaw, and pitch; on the diagonal both agree."""
    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    truth_deg, found_deg = yaw_pitch_deg(truth_N3), yaw_pitch_deg(found_N3)
    for place, axis in enumerate(figure.subplots(1, 2)):
        true, found = truth_deg[:, place], found_deg[:, place]
        ends = [min(true.min(), found.min()), max(true.max(), found.max())]
        axis.plot(ends, ends, color="0.6", linewidth=1)
        axis.scatter(true, found, s=4, alpha=0.4, linewidths=0)
        name = ("yaw", "pitch")[place]
        axis.set(
            xlabel=f"true {name}, degrees", ylabel=f"estimated {name}, degrees", aspect="equal"
        )
        axis.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return encode_png(np.ascontiguousarray(rgba[:, :, :3]))
