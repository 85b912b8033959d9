"""Writing shards on Ray: the refine pipeline against Ray Data's `write_webdataset`.

    python benchmarks/bench_ray_write.py [--rounds 3] [--shards 16] [--shard-size 1024]

Both read the same committed shards and write the same samples with unchanged pixels (an identity
engine), on one local Ray with one worker a core. `write_webdataset` is given the encoded members;
the pipeline decodes them, encodes them again, verifies every image and label, and commits. Ray Data
writes once as it is, and once with a `CheckpointConfig`, which commits in two phases and needs a
unique id of every row, for which it takes the key. Then each is killed when a quarter of the tars
are there (SIGKILL to the whole process group) and run again into the same folder. The output counts
what a reader of `*.tar` finds after the kill and after the second run.
"""

import argparse
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

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from bench_refine import dataset_of_copies, paper_refiner
from own_process import say
from ray.data.checkpoint import CheckpointConfig

from cluster.on_ray.connect import ensure_ray
from cluster.on_ray.pipeline import run_on_ray
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Stage, collect
from factory.refinement.card import refined_card
from factory.refinement.shards import ShardCommitter, ShardPixels, ShardReader, missing_shards

WRITERS = ("ours", "theirs", "checkpointed")


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
    context.checkpoint_config = None
    rows = ray.data.from_items(
        [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
    )
    rows.flat_map(members).write_webdataset(str(output), encoder=None)


def put_rows(parent: Dataset, folder: Path) -> None:
    """A Parquet file of the keys of each shard, which Ray Data begins with where it checkpoints.

    It has to: of what it reads, it leaves out the rows that are written, by their unique id, and
    its `read_webdataset` gives blocks of another kind, on which that fails after a kill.
    """
    folder.mkdir()
    for shard in parent.committed():
        keys = parent.index(shard, ["key"])["key"]
        rows = pa.table({"__key__": keys, "shard": pa.array([shard] * len(keys))})
        pq.write_table(rows, folder / f"{shard:06d}.parquet")


def write_checkpointed(parent: Dataset, rows: Path, output: Path) -> None:
    """Ray Data with the two-phase commit of its checkpoints."""

    def members(keys: pa.Table) -> pa.Table:
        wanted = set(keys["__key__"].to_pylist())
        shards = keys["shard"].unique().to_pylist()
        samples = [s for shard in shards for s in parent.samples(shard) if s.key in wanted]
        columns = {"__key__": "key", "png": "png", "json": "json"}
        return pa.table({n: [getattr(s, field) for s in samples] for n, field in columns.items()})

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column="__key__",
        checkpoint_path=str(output.with_name(f"{output.name}-checkpoint")),
        delete_checkpoint_on_success=False,
    )
    context.use_datasource_v2 = False  # which would make one task, and one tar, of such small files
    keys = ray.data.read_parquet(str(rows), override_num_blocks=len(parent.committed()))
    read = keys.map_batches(members, batch_size=None, batch_format="pyarrow")
    read.write_webdataset(str(output), encoder=None)


def write(which: str, folder: Path, output: Path) -> None:
    """Write with one of the three what lies in a folder."""
    parent, refiner, rows = Dataset.open(folder / "many"), folder / "refiner", folder / "rows"
    if which == "ours":
        write_ours(parent, refiner, output)
    elif which == "theirs":
        write_theirs(parent, output)
    else:
        write_checkpointed(parent, rows, output)


def run_in_own_process(which: str, folder: Path, output: Path, kill_at: int | None = None) -> None:
    """Write in another process, which is killed as soon as it has written so many tars."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--only", which, "--folder", folder, "--output", output],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while kill_at is not None and process.poll() is None:
        if len(list(output.rglob("*.tar"))) >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    returned = process.wait()
    assert kill_at is not None or returned == 0, f"{which}: the second run failed"


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
    parser.add_argument("--only", choices=WRITERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        ensure_ray()
        write(args.only, args.folder, args.output)
        return
    with tempfile.TemporaryDirectory(prefix="bench-ray-write-") as name:
        folder = Path(name)
        paper_refiner(folder / "refiner")
        put_rows(dataset_of_copies(folder, args.shards, args.shard_size), folder / "rows")
        ensure_ray()
        seconds: dict[str, list[float]] = {which: [] for which in WRITERS}
        for number in range(args.rounds):
            for which, taken in seconds.items():
                started = time.perf_counter()
                write(which, folder, folder / f"{which}-{number}")
                taken.append(time.perf_counter() - started)
        ray.shutdown()
        num_samples = args.shards * args.shard_size
        rates = {w: num_samples / statistics.median(taken) for w, taken in seconds.items()}
        line = {"bench": f"write {args.shards} shards of {args.shard_size} on Ray"}
        line |= {f"{which}_samples_per_s": round(rate, 1) for which, rate in rates.items()}
        line |= {f"ratio_to_{w}": round(rates["ours"] / rates[w], 2) for w in WRITERS[1:]}
        say(line)
        for which in WRITERS:
            output = folder / f"{which}-killed"
            run_in_own_process(which, folder, output, kill_at=max(1, args.shards // 4))
            killed = tar_counts(output)
            run_in_own_process(which, folder, output)
            say(
                {
                    "bench": f"killed and run again: {which}",
                    "expected_samples": num_samples,
                    "after_the_kill": killed,
                    "after_the_second_run": tar_counts(output),
                }
            )


if __name__ == "__main__":
    main()
