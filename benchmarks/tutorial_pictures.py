"""The pictures of docs/tutorial.md, from what its reader makes.

    python benchmarks/tutorial_pictures.py [--followed FOLDER]

FOLDER is one in which the page was followed to its end. Without it the page is followed here, in a
temporary folder, which takes as long as the page says. The pictures are written to
docs/pictures/tutorial-*.png. They show drawn eyes alone, no research data.
"""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from factory import Dataset, Release
from factory.images.mosaic import FOUND_RGB, NUM_TILES, TRUE_RGB, mosaic_png
from factory.images.png import encode_png
from support.places import ROOT
from support.tutorial import PAGE, Written, blocks, follow

PICTURES = ROOT / "docs" / "pictures"
RELEASE = Path("data", "refined", "releases", "first")
NUM_COLUMNS, SCALE, GAZE_SCALE, GAP_PX = 8, 2, 3, 4
ARROW_PX = 60
"""length of an arrow for a gaze across the image"""

Pixels = NDArray[np.uint8]
"""(H, W) grey or (H, W, 3) RGB"""


def rows_png(rows: Sequence[Sequence[Pixels]]) -> bytes:
    """A PNG of rows of pictures, with white gaps between the rows.

    Args:
        rows: all grey or all in colour, of one width; of one height within a row.
    """
    lines = []
    for row in rows:
        line = np.concatenate(row, axis=1)
        lines += [line, np.full((GAP_PX, *line.shape[1:]), 255, np.uint8)]
    return encode_png(np.concatenate(lines[:-1]))


def grown(picture: Pixels, scale: int = SCALE) -> Pixels:
    """A picture with each of its pixels `scale` times as wide and as high."""
    return picture.repeat(scale, 0).repeat(scale, 1)


def marked(picture: Pixels, xy: NDArray[np.float64], scale: int) -> Pixels:
    """(H, W, 3) a grey picture that is grown, with a cross at a place of it, px."""
    coloured = np.repeat(grown(picture, scale)[:, :, None], 3, axis=2)
    x, y = grown_xy(xy, scale)
    cv2.drawMarker(coloured, (round(x), round(y)), TRUE_RGB, cv2.MARKER_CROSS, 12, 2)
    return coloured


def grown_xy(xy: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Where a place of a picture is in the grown picture; pixel centres are at integers."""
    return (xy + 0.5) * scale - 0.5


def read_grey(path: Path) -> Pixels:
    """(H, W) uint8.

    Raises:
        ValueError: the file is no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError(f"{path} is no picture")
    return picture.astype(np.uint8, copy=False)


def inputs_png(folder: Path) -> bytes:
    """Renders above stand-ins for camera pictures, as their files have them, in one width."""
    numbers = range(1, NUM_COLUMNS + 1)
    renders = [read_grey(folder / "renders" / f"{n}.jpg") for n in numbers]
    camera = [read_grey(folder / "camera" / f"{n}.jpg") for n in numbers]
    width = SCALE * camera[0].shape[1]
    size = (width, width * renders[0].shape[0] // renders[0].shape[1])
    smaller = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in renders]
    return rows_png([[p.astype(np.uint8) for p in smaller], [*map(grown, camera)]])


def crops_png(folder: Path) -> bytes:
    """Ingested renders with crosses at the labelled pupils, above ingested camera pictures."""
    parent, real = (Dataset.open(str(folder / "data" / name)) for name in ("synthetic", "real"))
    pupils = parent.index(0, ["pupil_px"])["pupil_px"].to_pylist()
    renders = [
        marked(image, np.asarray(pupil), SCALE)
        for image, pupil in zip(parent.images(0)[:NUM_COLUMNS], pupils, strict=False)
    ]
    camera = [np.repeat(grown(p)[:, :, None], 3, axis=2) for p in real.images(0)[:NUM_COLUMNS]]
    return rows_png([renders, camera])


def training_png(folder: Path) -> bytes:
    """The first row of a strip, renders, and below it the refined rows of all later strips."""
    first, *later = sorted((folder / "run" / "strips").glob("step-*.png"))
    strips = [read_grey(path) for path in (first, *later)]
    half, width = strips[0].shape[0] // 2, strips[0].shape[1] // 10 * NUM_COLUMNS
    rows = [strips[0][:half], *(strip[half:] for strip in strips[1:])]
    return encode_png(np.concatenate(rows)[:, :width])


def refined_png(folder: Path) -> bytes:
    """Renders, the refined images of the same renders, and stand-ins for camera pictures."""
    refined = Dataset.open(str(folder / "data" / "refined"))
    shard = refined.committed_in("test")[0]
    keys = refined.index(shard, ["key"])["key"].to_pylist()[:NUM_COLUMNS]
    parent = Dataset.open(str(folder / "data" / "synthetic"))
    real = Dataset.open(str(folder / "data" / "real"))
    rows = [[dataset.image(key) for key in keys] for dataset in (parent, refined)]
    return rows_png([[*map(grown, row)] for row in (*rows, real.images(0)[:NUM_COLUMNS])])


def gaze_png(folder: Path) -> bytes:
    """Refined eyes of the split `test`, with the labelled gaze and that of the trained network."""
    with chdir(folder):
        trained = runpy.run_path("gaze.py")
        samples = Release(str(RELEASE), split="test")[:NUM_TILES]
    with torch.no_grad():
        directions = trained["directions"](torch.from_numpy(np.stack([s.image for s in samples])))
    tiles = []
    for sample, direction in zip(samples, directions.numpy(), strict=True):
        tile = np.repeat(grown(sample.image, GAZE_SCALE)[:, :, None], 3, axis=2)
        middle = grown_xy(np.asarray(sample.labels["pupil_px"]), GAZE_SCALE)
        unit = direction / np.linalg.norm(direction)
        for gaze, colour in ((np.asarray(sample.labels["gaze"]), TRUE_RGB), (unit, FOUND_RGB)):
            tip = middle + ARROW_PX * gaze[:2]
            ends = [(round(x), round(y)) for x, y in (middle, tip)]
            cv2.arrowedLine(tile, *ends, colour, 2, cv2.LINE_AA, tipLength=0.25)
        tiles.append(np.pad(tile, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255))
    return mosaic_png(tiles)


def followed(folder: Path) -> Iterator[str]:
    """Follow the page in an empty folder; gives what each block printed."""
    for block in blocks(PAGE.read_text()):
        if isinstance(block, Written):
            (folder / block.name).write_text(block.text)
        else:
            yield follow(block, folder)


def write_pictures(folder: Path) -> None:
    """Write all pictures of the page from a folder in which it was followed."""
    PICTURES.mkdir(exist_ok=True)
    for draw in (inputs_png, crops_png, training_png, refined_png, gaze_png):
        name = draw.__name__.removesuffix("_png")
        (PICTURES / f"tutorial-{name}.png").write_bytes(draw(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--followed", type=Path, help="folder in which the page was followed")
    given = parser.parse_args()
    if given.followed is not None:
        write_pictures(given.followed)
        return
    with tempfile.TemporaryDirectory() as folder:
        for output in followed(Path(folder)):
            print(output, end="", flush=True)
        write_pictures(Path(folder))


if __name__ == "__main__":
    main()
