"""Writing shards on Ray: the refine pipeline against Ray Data's `write_webdataset`.

    python benchmarks/bench_ray_write.py [--rounds 3] [--shards 16] [--shard-size 1024]

Both read the same committed shards and write the same samples with unchanged pixels (an identity
engine), on one local Ray with one worker a core. `write_webdataset` is given the encoded members;
the pipeline decodes them, encodes them again, verifies every image and label, and commits. Then
each is killed half way through (SIGKILL to the whole process group) and run again into the same
folder. The output counts what a reader of `*.tar` finds after the kill and after the second run.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ray.data
from bench_refine import dataset_of_copies, paper_refiner

from cluster.on_ray.connect import ensure_ray
from cluster.on_ray.pipeline import run_on_ray
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Stage, collect
from factory.refinement.card import refined_card
from factory.refinement.shards import ShardCommitter, ShardPixels, ShardReader, missing_shards


class Unchanged:
    """An engine that returns the pixels unchanged."""

    def __call__(self, pixels: ShardPixels) -> ShardPixels:
        return replace(pixels)


def write_ours(parent: Dataset, refiner: Path, output: Path) -> None:
    """The refine pipeline with an identity engine."""
    child = Dataset.enter(output, refined_card(parent, refiner, "refined"))
    stages = (
        Stage("read", partial(ShardReader, parent), holds_core=False),
        Stage("refine", Unchanged, ShardPixels),
        Stage("commit", partial(ShardCommitter, parent, child), ShardPixels, holds_core=False),
    )
    collect(run_on_ray(stages, missing_shards(parent, child)))


def write_theirs(parent: Dataset, output: Path) -> None:
    """Ray Data alone, with one block for each shard."""

    def members(row: dict) -> list[dict]:
        return [
            {"__key__": sample.key, "png": sample.png, "json": sample.json}
            for sample in parent.samples(int(row["shard"]))
        ]

    shards = parent.committed()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = ray.data.from_items(
        [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
    )
    rows.flat_map(members).write_webdataset(str(output), encoder=None)


def write(which: str, parent: Dataset, refiner: Path, output: Path) -> None:
    """Write with one of the two."""
    if which == "ours":
        write_ours(parent, refiner, output)
    else:
        write_theirs(parent, output)


def run_and_kill(which: str, folder: Path, output: Path, after_s: float | None) -> None:
    """Write in another process; with `after_s`, kill it that many seconds after its Ray started."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--only", which, "--folder", folder, "--output", output],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if after_s is not None:
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tar_counts(output: Path) -> dict[str, int]:
    """What a reader of all tars below a folder finds."""
    keys: Counter[str] = Counter()
    unreadable = 0
    tars = sorted(output.rglob("*.tar"))
    for path in tars:
        try:
            with tarfile.open(path) as tar:
                keys.update(name for name in tar.getnames() if name.endswith(".png"))
        except tarfile.TarError:
            unreadable += 1
    return {
        "tars": len(tars),
        "unreadable_tars": unreadable,
        "samples": sum(keys.values()),
        "distinct_keys": len(keys),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--shard-size", type=int, default=1024)
    parser.add_argument("--only", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        ensure_ray()
        print("ready", flush=True)
        write(args.only, Dataset.open(args.folder / "many"), args.folder / "refiner", args.output)
        return
    with tempfile.TemporaryDirectory(prefix="bench-ray-write-") as name:
        folder = Path(name)
        refiner = paper_refiner(folder / "refiner")
        parent = dataset_of_copies(folder, args.shards, args.shard_size)
        ensure_ray()
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(args.rounds):
            for which, taken in seconds.items():
                started = time.perf_counter()
                write(which, parent, refiner, folder / f"{which}-{number}")
                taken.append(time.perf_counter() - started)
        ray.shutdown()
        ours, theirs = (statistics.median(taken) for taken in seconds.values())
        num_samples = args.shards * args.shard_size
        print(
            json.dumps(
                {
                    "bench": f"write {args.shards} shards of {args.shard_size} on Ray",
                    "samples_per_s": round(num_samples / ours, 1),
                    "baseline": "ray.data.Dataset.write_webdataset",
                    "baseline_samples_per_s": round(num_samples / theirs, 1),
                    "ratio": round(theirs / ours, 2),
                }
            )
        )
        for which, taken in seconds.items():
            output = folder / f"{which}-killed"
            run_and_kill(which, folder, output, statistics.median(taken) * 0.6)
            killed = tar_counts(output)
            run_and_kill(which, folder, output, None)
            print(
                json.dumps(
                    {
                        "bench": f"killed and run again: {which}",
                        "expected_samples": num_samples,
                        "after_the_kill": killed,
                        "after_the_second_run": tar_counts(output),
                    }
                )
            )


if __name__ == "__main__":
    main()
