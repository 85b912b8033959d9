"""The speed of an ingest on one core, against a plain Pillow loop over the same files.

    python benchmarks/bench_ingest.py [--renders FOLDER] [--count 512] [--rounds 7] [--without-c]

There are two comparisons. In every round all four loops process the same renders, 128 at a time in
turn, so that changes in the speed of the machine affect all of them:

- load turns a render into a 35 x 55 crop with its labels in memory. The Pillow loop decodes the
  whole picture, converts it to grey, crops and resizes it, parses the label with `json.load`, and
  maps every point to the crop. `load_all` also checks picture and label, hashes both files, and
  resamples the crop without aliasing through an exact map.
- write also writes a local shard. The Pillow loop uses Pillow's PNG, `json.dumps` and `tarfile`.
  `ShardIngester` also reads the tar back in full, writes an index, and commits durably.

Everything runs in one process on one thread. Rates are per second of CPU time, on which other work
of the machine has little influence.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pyarrow as pa
from own_process import say
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.dataset.names import plan_name
from factory.domains.eye.renderer.renderer import EyeRenderer
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.domains.registry import make_source
from factory.images import native
from factory.ingestion.shards import ShardIngester, ingested_card
from factory.sources.base import Loaded, load_all
from schemas.dataset import PlannedInput, ShardPlan
from schemas.eye.kind import EYE

POINTS = ("interior_margin_2d", "caruncle_2d", "iris_2d")
OPTIONS = UnityEyesOptions()
TURN = 128
"""renders that a loop processes in its turn: one shard, or one tar"""
WIDTH, HEIGHT, EYE_WIDTH = OPTIONS.crop.width, OPTIONS.crop.height, OPTIONS.crop.eye_width_px


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.strip("()").split(",")]


def pillow_load(folder: Path, stem: str) -> tuple[Image.Image, dict[str, Any]]:
    """A render as a crop with its labels, by the most direct code."""
    picture = Image.open(folder / f"{stem}.jpg").convert("L")
    with (folder / f"{stem}.json").open() as file:
        label = json.load(file)
    points = {}
    for name in POINTS:
        rows = [numbers(text) for text in label[name]]
        points[name] = [(x, picture.height - y) for x, y, _ in rows]
    inner = [sum(axis) / 7 for axis in zip(*points["caruncle_2d"], strict=True)]
    outer = points["interior_margin_2d"][8]
    scale = EYE_WIDTH / ((outer[0] - inner[0]) ** 2 + (outer[1] - inner[1]) ** 2) ** 0.5
    left = (inner[0] + outer[0]) / 2 - WIDTH / scale / 2
    top = (inner[1] + outer[1]) / 2 - HEIGHT / scale / 2
    box = (int(left), int(top), int(left + WIDTH / scale), int(top + HEIGHT / scale))
    crop = picture.crop(box).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    labels = {
        name: [[(x - left) * scale, (y - top) * scale] for x, y in rows]
        for name, rows in points.items()
    }
    look = numbers(label["eye_details"]["look_vec"])
    return crop, labels | {"gaze": look[:3], "head": numbers(label["head_pose"]), "source": label}


def pillow_write(folder: Path, stems: Sequence[str], output: Path) -> None:
    output.mkdir()
    with tarfile.open(output / "000000.tar", "w") as tar:
        for number, stem in enumerate(stems):
            crop, labels = pillow_load(folder, stem)
            png = io.BytesIO()
            crop.save(png, "PNG")
            contents = {"png": png.getvalue(), "json": json.dumps(labels).encode()}
            for field, content in contents.items():
                member = tarfile.TarInfo(f"{number:06d}.{field}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def our_write(source: UnityEyesSource, stems: Sequence[str], output: Path) -> None:
    """Ingest one shard. Its plan is written here, because `bench_scale.py` measures planning."""
    card = ingested_card(
        EYE, "eyes", make_source("", OPTIONS), shard_size=len(stems), splits={"train": 1}
    )
    dataset = Dataset.enter(output, card)
    inputs = tuple(PlannedInput(id=stem, size=0, mtime_ns=0) for stem in stems)
    plan = ShardPlan(shard=0, split="train", source=source.name, inputs=inputs)
    dataset.store.put_new(plan_name(0), plan.to_json())
    outcome = ShardIngester(dataset, source)(0)
    assert outcome.num_samples == len(stems), outcome.reasons


def cpu_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(folder: Path, stems: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every loop in every round, after one round to warm up."""
    source = UnityEyesSource(folder, OPTIONS)
    with tempfile.TemporaryDirectory() as outputs:
        output = Path(outputs) / "out"

        def plain_load(stems: Sequence[str]) -> None:
            for stem in stems:
                np.asarray(pillow_load(folder, stem)[0])

        def our_load(stems: Sequence[str]) -> None:
            for loaded in load_all(source, stems):
                assert isinstance(loaded, Loaded), loaded

        loops: dict[str, Callable[[Sequence[str]], None]] = {
            "pillow load": plain_load,
            "our load": our_load,
            "pillow write": lambda stems: pillow_write(folder, stems, output),
            "our write": lambda stems: our_write(source, stems, output),
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(rounds + 1):
            spent = dict.fromkeys(loops, 0.0)
            for start in range(0, len(stems), TURN):
                for name, loop in loops.items():
                    shutil.rmtree(output, ignore_errors=True)
                    spent[name] += cpu_seconds(partial(loop, stems[start : start + TURN]))
            for name in loops if number > 0 else ():
                seconds[name].append(spent[name])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--renders", type=Path, help="folder of N.jpg with N.json; drawn by default"
    )
    parser.add_argument("--count", type=int, default=512, help="renders in a round")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    parser.add_argument(
        "--without-c", action="store_true", help="run as where the C part was not compiled"
    )
    options = parser.parse_args()
    if options.without_c:
        native.crops = None
    print(native.how(), file=sys.stderr)
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as drawn:
        folder = options.renders or Path(drawn)
        if options.renders is None:
            EyeRenderer(height=600, width=800, seed=1).write(folder, range(options.count))
        stems = [str(number) for number in range(1, options.count + 1)]
        seconds = measure(folder, stems, options.rounds)
    for what in ("load", "write"):
        plain, ours = seconds[f"pillow {what}"], seconds[f"our {what}"]
        say(
            {
                "bench": f"ingest, {what}, {'own' if options.renders is None else 'given'} renders",
                "samples_per_s": round(options.count / statistics.median(ours), 1),
                "baseline": f"plain Pillow loop, {what}",
                "baseline_samples_per_s": round(options.count / statistics.median(plain), 1),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(plain, ours, strict=True)), 2
                ),
            }
        )


if __name__ == "__main__":
    main()
