"""A page of pictures out of a dataset: a refined one's beside those that they were made from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, tar_name
from factory.dataset.shard_records import Record
from factory.dataset.tar import DamagedShardError, sha256
from factory.images.png import (
    Pixels,
    decode_png,
    depth_as_grey,
    encode_png,
)
from factory.store.extras import require
from factory.store.parquet import read_columns

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


def pick_tiles(dataset: Dataset, parent: Dataset | None, count: int, seed: int) -> list[Tile]:
    """A seeded choice of samples, spread over all shards, in order of key.

    Only the chosen images are read, by ranges.

    Args:
        parent: to show beside, or None.

    Raises:
        ValueError: the dataset holds no images.
        DamagedShardError: an image is not what was committed, or the parent's is gone.
    """
    rng = np.random.default_rng(seed)
    indexes = dataset.indexes()
    shards = list(indexes)
    some = np.sort(rng.permutation(len(shards))[:count])
    tiles: list[Tile] = []
    chosen = [shards[index] for index in some]
    # Evenly at first; what small shards cannot give, the others give in their turn.
    left = {shard: _rows(dataset, shard, indexes[shard]) for shard in chosen}
    order = {shard: rng.permutation(len(rows)).tolist() for shard, rows in left.items()}
    wanted: dict[int, list[int]] = {shard: [] for shard in chosen}
    while sum(map(len, wanted.values())) < count and any(order.values()):
        for shard in chosen:
            if order[shard] and sum(map(len, wanted.values())) < count:
                wanted[shard].append(order[shard].pop())
    for shard in chosen:
        rows = left[shard].take(pa.array(sorted(wanted[shard]), pa.int64())).to_pylist()
        has_parent = parent is not None and rows and parent.is_committed(shard)
        before, parent_tar = _places(parent, shard) if parent and has_parent else ({}, "")
        tar = tar_name(dataset.facts_in(shard, indexes[shard].generation)) if rows else ""
        for row in rows:
            pictures = [_picture(dataset, tar, row)]
            if parent is not None:
                if row["key"] not in before:
                    raise DamagedShardError(f"{parent.location} no longer holds {row['key']}")
                pictures.insert(0, _picture(parent, parent_tar, before[row["key"]]))
            tiles.append(_tile(row, tuple(pictures)))
    if not tiles:
        raise ValueError(f"{dataset.location} holds no images yet")
    return tiles


_PLACE = ["key", "png_offset", "png_length", "png_sha256"]


def _rows(dataset: Dataset, shard: int, index: Record) -> pa.Table:
    labels = dataset.sample_kind.columns(dataset.card.labelled)
    shown = {"pupil_px", "gaze_yaw_rad", "gaze_pitch_rad"} & {label.name for label in labels}
    name = index_name(shard, index.generation)
    return read_columns(dataset.store, name, index.size, [*_PLACE, *sorted(shown)])[0]


def _places(dataset: Dataset, shard: int) -> tuple[dict[str, dict[str, object]], str]:
    """Where the images of a shard are, by key, and the name of its tar."""
    rows, facts = dataset.index_and_facts(shard, _PLACE)
    return {row["key"]: row for row in rows.to_pylist()}, tar_name(facts)


def _picture(dataset: Dataset, tar: str, row: dict[str, object]) -> Pixels:
    offset, length = int(str(row["png_offset"])), int(str(row["png_length"]))
    raw = dataset.store.read_range(tar, offset, length)
    if sha256(raw) != row["png_sha256"]:
        raise DamagedShardError(f"{dataset.location}/{tar}: the image of {row['key']} is damaged")
    return decode_png(raw)


def _tile(row: dict[str, object], pictures: tuple[Pixels, ...]) -> Tile:
    pupil, yaw, pitch = (row.get(n) for n in ("pupil_px", "gaze_yaw_rad", "gaze_pitch_rad"))
    return Tile(
        key=str(row["key"]),
        pictures=pictures,
        pupil_xy=(float(pupil[0]), float(pupil[1])) if isinstance(pupil, list) else None,
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
    for place, (tile, cell) in enumerate(zip(tiles, cells, strict=True)):
        top, left = TITLE_PX + place // columns * step_y, GAP_PX + place % columns * step_x
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
