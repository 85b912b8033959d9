"""Sets of drawn eyes for the sources `screen-targets` and `iris-masks`."""

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from factory.images.png import encode_png
from support.drawn_eyes import drawn_eye

ZOOM = 2
"""of the pictures of these eyes, against the crops that they were drawn as"""
INNER_PX, OUTER_PX = (10.5, 34.5), (98.5, 34.5)
"""the corners of the eye in these pictures"""


@cache
def picture(center_px: tuple[float, float] = (27.0, 17.0), *, right: bool = False) -> np.ndarray:
    """(70, 110) uint8: a left eye, or its mirror image.

    Args:
        center_px: of the iris, in the pixels of `drawn_eye`.
    """
    drawn = drawn_eye(center_px)
    large = cv2.resize(drawn, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large[:, ::-1]) if right else large


def in_picture(center_px: Iterable[float]) -> np.ndarray:
    """A point of `drawn_eye` in the pixels of its picture."""
    return (np.array([*center_px]) + 0.5) * ZOOM - 0.5


def row(name: str, **changed: object) -> dict[str, object]:
    """A row of targets.csv, of a left eye with corners."""
    given: dict[str, object] = {
        "picture": name,
        "target_x_px": 960,
        "target_y_px": 540,
        "block": "block-0",
        "frame": "",
        "person": "anna",
        "eye_side": "left",
        "inner_x_px": INNER_PX[0],
        "inner_y_px": INNER_PX[1],
        "outer_x_px": OUTER_PX[0],
        "outer_y_px": OUTER_PX[1],
    }
    return given | changed


def write_table(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """`targets.csv` in a folder."""
    listed = list(rows)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "targets.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, listed[0].keys())
        table.writeheader()
        table.writerows(listed)


def write_pictures(folder: Path, pictures: Mapping[str, np.ndarray]) -> None:
    """PNGs by their names."""
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_png(pixels))
