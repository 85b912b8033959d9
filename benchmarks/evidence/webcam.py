"""A folder for the source `screen-targets` from a file of webcam frames of one person.

    python benchmarks/evidence/webcam.py FRAMES.npz FOLDER [--max-residual 0.35]
    python jobs/ingest.py --source screen-targets --input FOLDER --output DATASET --crop.equalise

The file has N frames: `eyes` (N, 2, 64, 96) uint8, the person's right and left eye; `target_px`
(N, 2), the dot on a screen of 1920 x 1080 px that was looked at; `frame` (N,), a number of each;
and `landmark_check_residual` (N,), which is large where a dot is likely that of another frame.
Eye corners lie at x 24 and 72, y 36. Blocks are of 100 frames that follow each other. The file is
research data, and lies outside this repository.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from factory.images.png import encode_png

FRAMES_PER_BLOCK = 100
CORNERS_X_PX = 24, 72
CORNERS_Y_PX = 36
COLUMNS = (
    *("picture", "target_x_px", "target_y_px", "block", "frame", "person", "eye_side"),
    *("inner_x_px", "inner_y_px", "outer_x_px", "outer_y_px", "landmark_check_residual"),
)
OUTER_FIRST = {"right": True, "left": False}
"""whether the outer corner is the left one in the picture, of eye 0 and of eye 1"""


def write_frames(location: Path, folder: Path, max_residual: float | None) -> int:
    """Write the pictures and their table.

    Args:
        max_residual: frames with a larger `landmark_check_residual` are left out; they keep their
            place in their block. None for no limit.

    Returns:
        Number of frames that were written.
    """
    with np.load(location) as frames:
        eyes, target_px = frames["eyes"], frames["target_px"]
        numbers, residual = frames["frame"], frames["landmark_check_residual"]
    kept = np.arange(len(eyes))
    if max_residual is not None:
        kept = kept[residual <= max_residual]
    (folder / "eyes").mkdir(parents=True, exist_ok=True)
    with (folder / "targets.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in kept:
            for eye, (side, outer_first) in zip(eyes[row], OUTER_FIRST.items(), strict=True):
                name = f"eyes/{numbers[row]:06d}-{side}.png"
                (folder / name).write_bytes(encode_png(eye))
                outer, inner = CORNERS_X_PX if outer_first else CORNERS_X_PX[::-1]
                block = f"block-{row // FRAMES_PER_BLOCK:03d}"
                corners = inner, CORNERS_Y_PX, outer, CORNERS_Y_PX
                known = block, numbers[row], "one", side
                table.writerow((name, *target_px[row], *known, *corners, f"{residual[row]:.4f}"))
    return len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", type=Path, help="the .npz file")
    parser.add_argument("folder", type=Path, help="where pictures and targets.csv are written")
    parser.add_argument("--max-residual", type=float, help="of the landmark check, e.g. 0.35")
    given = parser.parse_args()
    num_frames = write_frames(given.frames, given.folder, given.max_residual)
    print(f"wrote {num_frames} frames of two eyes to {given.folder}")


if __name__ == "__main__":
    main()
