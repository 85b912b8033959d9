"""Draw the pictures of the README out of what `make demo` made: docs/pictures/{eyes,hands}.png.

    python benchmarks/demo_pictures.py [--domains eye hand] [--output docs/pictures]

Each picture has three rows: renders, the same renders refined, and stand-ins for a camera's images,
which show others. All of them are drawn by the built-in renderers, so no research data is in them.
A demo whose output lies in `out/` is used as it is; a missing one is run first. `make pictures`
calls this.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from factory.dataset.dataset import Dataset
from factory.images.contact_sheet import shown_bgr
from factory.images.png import Pixels
from factory.upkeep.contact_sheet import pick_tiles

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"eye": "demo", "hand": "demo-hand"}
NAMES = {"eye": "eyes", "hand": "hands"}
ROWS = ("render", "refined", "stand-in")
PICTURE_PX = 1280
"""width of the room for images; each is magnified by a whole number, so that its pixels are seen"""
NUM_COLUMNS = {"eye": 8, "hand": 5}
LABEL_PX, GAP_PX, FONT_PX = 120, 6, 24
"""width of the column of words, and the white between images"""


def drawn(rows: Sequence[tuple[str, Sequence[Pixels]]]) -> Image.Image:
    """The rows below each other, each with its word on the left.

    Args:
        rows: word and images of each row; as many images in each, all of one size, (h, w) or
            (h, w, 3). Depth is shown nearer as brighter.
    """
    num_columns, (height, width) = len(rows[0][1]), rows[0][1][0].shape[:2]
    scale = max(1, PICTURE_PX // (num_columns * (width + GAP_PX)))
    step_y, step_x = height * scale + GAP_PX, width * scale + GAP_PX
    size = LABEL_PX + num_columns * step_x, GAP_PX + len(rows) * step_y
    page = Image.new("RGB", size, "white")
    font, pen = ImageFont.load_default(FONT_PX), ImageDraw.Draw(page)
    for row, (word, images) in enumerate(rows):
        top = GAP_PX + row * step_y
        middle = (LABEL_PX - 2 * GAP_PX, top + height * scale // 2)
        pen.text(middle, word, fill="black", font=font, anchor="rm")
        for column, image in enumerate(images):
            page.paste(magnified(image, scale), (LABEL_PX + column * step_x, top))
    return page


def magnified(image: Pixels, scale: int) -> Image.Image:
    """An image with every pixel as a square of `scale` px."""
    shown: NDArray[np.uint8] = shown_bgr(image)[:, :, ::-1]
    return Image.fromarray(np.ascontiguousarray(shown.repeat(scale, 0).repeat(scale, 1)))


def rows_of(folder: Path, count: int, seed: int = 0) -> list[tuple[str, list[Pixels]]]:
    """What a demo made: a seeded choice of renders with their refined images, and of stand-ins.

    Args:
        folder: with the datasets `synthetic`, `refined` and `real`.

    Raises:
        ValueError: one of the datasets holds no images.
        FileNotFoundError: one of them is not there.
    """
    refined = Dataset.open(str(folder / "refined"))
    pairs = pick_tiles(refined, Dataset.open(str(folder / "synthetic")), count, seed)
    others = pick_tiles(Dataset.open(str(folder / "real")), None, count, seed)
    renders, outcomes = zip(*(tile.pictures for tile in pairs), strict=True)
    kinds = list(renders), list(outcomes), [tile.pictures[0] for tile in others]
    return list(zip(ROWS, kinds, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--domains", nargs="+", choices=list(FOLDERS), default=list(FOLDERS))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    for domain in chosen.domains:
        folder = ROOT / "out" / FOLDERS[domain]
        if not (folder / "report.html").is_file():  # the last that a demo writes
            demo = [sys.executable, "-m", "jobs.demo", "--domain", domain]
            subprocess.run(demo, check=True, cwd=ROOT)
        path = chosen.output / f"{NAMES[domain]}.png"
        drawn(rows_of(folder, NUM_COLUMNS[domain])).quantize(256).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
