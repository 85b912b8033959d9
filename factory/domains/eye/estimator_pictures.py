"""Pictures of what the landmark network and the gaze network find, beside the labels."""

import cv2
import numpy as np

from factory.domains.eye.networks.gaze import Gaze, yaw_pitch_deg
from factory.images.mosaic import FOUND_RGB, NUM_TILES, TRUE_RGB, Rgb, mosaic_png
from factory.images.png import Grey, encode_png
from factory.store.extras import require

ZOOM = 4
_ARROW_SHARE = 0.4
"""length of the arrow of a gaze across the line of sight, as a share of the image's width"""


def landmarks_png(images: Grey, truth_px: np.ndarray, found_px: np.ndarray) -> bytes:
    """The first eyes with the landmarks of their labels (rings) and those of the network (dots).

    Args:
        images: (N, H, W).
        truth_px, found_px: (N, k, 2), x and y in px.
    """
    tiles = []
    for image, truth, estimate in zip(images[:NUM_TILES], truth_px, found_px, strict=False):
        tile = _enlarged(image)
        for points, radius, colour, width in (
            (truth, 4, TRUE_RGB, 1),
            (estimate, 2, FOUND_RGB, -1),
        ):
            for x, y in (points + 0.5) * ZOOM - 0.5:
                centre = round(float(x)), round(float(y))
                cv2.circle(tile, centre, radius, colour, width, cv2.LINE_AA)
        tiles.append(tile)
    return mosaic_png(tiles)


def gaze_png(images: Grey, truth_N3: Gaze, found_N3: Gaze) -> bytes:
    """The first eyes with arrows of their labelled gaze (thick) and of the network's (thin).

    Arrows begin in the centre of the image and show the x and y of the vector, so that a gaze into
    the camera is a dot.

    Args:
        images: (N, H, W).
    """
    tiles = []
    for image, truth, estimate in zip(images[:NUM_TILES], truth_N3, found_N3, strict=False):
        tile = _enlarged(image)
        height, width = tile.shape[:2]
        middle = round((width - 1) / 2), round((height - 1) / 2)
        for gaze, colour, thickness in ((truth, TRUE_RGB, 3), (estimate, FOUND_RGB, 1)):
            end = np.array(middle) + gaze[:2] * _ARROW_SHARE * width
            tip = round(float(end[0])), round(float(end[1]))
            cv2.arrowedLine(tile, middle, tip, colour, thickness, cv2.LINE_AA, tipLength=0.15)
        tiles.append(tile)
    return mosaic_png(tiles)


def _enlarged(image: Grey) -> Rgb:
    size = (image.shape[1] * ZOOM, image.shape[0] * ZOOM)
    large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), np.uint8)


def gaze_scatter_png(truth_N3: Gaze, found_N3: Gaze) -> bytes:
    """True against estimated yaw, and pitch; on the diagonal both agree.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "a picture of true against estimated angles")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    truth_deg, found_deg = yaw_pitch_deg(truth_N3), yaw_pitch_deg(found_N3)
    for angle, axis in enumerate(figure.subplots(1, 2)):
        true, estimated = truth_deg[:, angle], found_deg[:, angle]
        ends = [min(true.min(), estimated.min()), max(true.max(), estimated.max())]
        axis.plot(ends, ends, color="0.6", linewidth=1)
        axis.scatter(true, estimated, s=4, alpha=0.4, linewidths=0)
        name = ("yaw", "pitch")[angle]
        axis.set(
            xlabel=f"true {name}, degrees", ylabel=f"estimated {name}, degrees", aspect="equal"
        )
        axis.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return encode_png(np.ascontiguousarray(rgba[:, :, :3]))
