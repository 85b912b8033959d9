"""A page of samples with their pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.images.png import Pixels, depth_as_grey, encode_png
from factory.store.extras import require

WIDTH_PX = 165
"""that a picture is magnified to, by a whole number"""
GAP_PX = 10
CAPTION_PX = 18
TITLE_PX = 58
PAGE_PX = 1500
"""width of the page, about"""
DPI = 100
PUPIL_BGR = (60, 220, 255)
BACKGROUND = 255


@dataclass(frozen=True)
class Tile:
    """One sample."""

    key: str
    pictures: tuple[Pixels, ...]
    """(h, w) or (h, w, 3), as stored: the sample, or its parent's and then its own"""
    pupil_xy: tuple[float, float] | None
    gaze_rad: tuple[float, float] | None
    """(yaw, pitch)"""


def tile_of(row: Mapping[str, object], pictures: tuple[Pixels, ...]) -> Tile:
    """The tile of a sample by its labels; those that it does not show are passed over."""
    pupil, yaw, pitch = (row.get(n) for n in ("pupil_px", "gaze_yaw_rad", "gaze_pitch_rad"))
    return Tile(
        key=str(row["key"]),
        pictures=pictures,
        pupil_xy=(float(pupil[0]), float(pupil[1])) if isinstance(pupil, list | tuple) else None,
        gaze_rad=(yaw, pitch) if isinstance(yaw, float) and isinstance(pitch, float) else None,
    )


def contact_sheet(
    tiles: Sequence[Tile], title: str, subtitle: str, *, draw_pupil: bool = False
) -> bytes:
    """A PNG page. Each cell: the pictures one below the other, the key, yaw and pitch in degrees.

    Args:
        tiles: all of one layout.
        draw_pupil: mark the label's pupil centre in every picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "a contact sheet")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = max(1, WIDTH_PX // tiles[0].pictures[0].shape[1])
    cells = [_cell(tile, scale, draw_pupil) for tile in tiles]
    height, width = cells[0].shape[:2]
    columns = max(1, min(len(cells), (PAGE_PX - GAP_PX) // (width + GAP_PX)))
    rows = math.ceil(len(cells) / columns)
    step_y, step_x = height + CAPTION_PX + GAP_PX, width + GAP_PX
    page_height = TITLE_PX + rows * step_y + GAP_PX
    page_width = max(GAP_PX + columns * step_x, 640)
    page = np.full((page_height, page_width, 3), BACKGROUND, np.uint8)
    figure = Figure(figsize=(page_width / DPI, page_height / DPI), dpi=DPI)
    for number, (tile, cell) in enumerate(zip(tiles, cells, strict=True)):
        top, left = TITLE_PX + number // columns * step_y, GAP_PX + number % columns * step_x
        page[top : top + height, left : left + width] = cell
        baseline = 1 - (top + height + 13) / page_height
        small: dict[str, Any] = {"fontsize": 7, "color": "0.25"}
        figure.text(left / page_width, baseline, tile.key, **small)
        figure.text((left + width) / page_width, baseline, _gaze(tile), ha="right", **small)
    figure.figimage(page[:, :, ::-1], origin="upper")
    figure.text(GAP_PX / page_width, 1 - 24 / page_height, title, fontsize=13, weight="bold")
    figure.text(GAP_PX / page_width, 1 - 44 / page_height, subtitle, fontsize=8.5, color="0.3")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return encode_png(np.ascontiguousarray(rgba[:, :, :3]))


def _gaze(tile: Tile) -> str:
    if tile.gaze_rad is None:
        return ""
    yaw, pitch = (math.degrees(angle) for angle in tile.gaze_rad)
    return f"{yaw:+.0f}°, {pitch:+.0f}°"


def _cell(tile: Tile, scale: int, draw_pupil: bool) -> NDArray[np.uint8]:
    parts: list[NDArray[np.uint8]] = []
    for picture in tile.pictures:
        grown = shown_bgr(picture).repeat(scale, 0).repeat(scale, 1)
        if draw_pupil and tile.pupil_xy is not None:
            _mark(grown, tile.pupil_xy, scale)
        parts += [grown, np.full((2, grown.shape[1], 3), BACKGROUND, np.uint8)]
    return np.concatenate(parts)


def shown_bgr(picture: Pixels) -> NDArray[np.uint8]:
    """(h, w, 3) BGR, 8 bits; depth is shown nearer as brighter, its background black."""
    if picture.dtype == np.uint16:
        depths = picture[picture > 0]
        near, far = (float(depths.min()), float(depths.max())) if depths.size else (0.0, 1.0)
        picture = depth_as_grey(picture, near, far)
    eight = picture.astype(np.uint8, copy=False)
    colours = eight[:, :, ::-1] if eight.ndim == 3 else np.repeat(eight[:, :, None], 3, axis=2)
    return np.ascontiguousarray(colours)


def _mark(picture: NDArray[np.uint8], xy: tuple[float, float], scale: int) -> None:
    """A small cross; pixel centres are at integers, so those of the magnified pixels shift."""
    fine = 4
    x, y = (round(((v + 0.5) * scale - 0.5) * 2**fine) for v in xy)
    arm = 2 * scale * 2**fine
    for start, end in (((x - arm, y), (x + arm, y)), ((x, y - arm), (x, y + arm))):
        cv2.line(picture, start, end, PUPIL_BGR, 1, cv2.LINE_AA, fine)
