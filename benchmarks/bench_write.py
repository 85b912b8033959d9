"""The speed of one process that writes shards, against `webdataset.ShardWriter`.

    python benchmarks/bench_write.py [--renders FOLDER] [--count 1024] [--rounds 7]

In every round three loops write the same samples in turn:

- ours does what a refine does around its engine: it reads the parent's shard and compares its
  sha256, decodes it, encodes pixels and labels again, packs them, reads the tar back in full,
  writes the index and commits durably. The engine returns the pixels unchanged.
- ShardWriter has arrays and label dicts in memory and uses webdataset's encoders (Pillow, `json`),
  without checks, index or sync.
- ShardWriter given bytes has PNG and JSON that were encoded before, outside the timed part.

Everything runs in one process on one thread. Rates are per second of CPU time, on which other work
of the machine has little influence.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import orjson
import pyarrow as pa
import webdataset
from own_process import say

from factory.dataset.dataset import Dataset
from factory.dataset.names import plan_name
from factory.domains.eye.renderer.renderer import EyeRenderer
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.domains.registry import make_source
from factory.images.png import decode_png
from factory.ingestion.shards import ShardIngester, ingested_card
from factory.refinement.shards import ShardCommitter, ShardReader
from schemas.dataset import DatasetCard, ParentRef, PlannedInput, RefinerRef, ShardPlan
from schemas.eye.kind import EYE

OPTIONS = UnityEyesOptions()
NO_DIGEST = "0" * 64


def ingested(renders: Path, count: int, output: Path) -> Dataset:
    """A dataset with one shard, of the renders 1 to `count`."""
    source = UnityEyesSource(renders, OPTIONS)
    card = ingested_card(
        EYE, "eyes", make_source("", OPTIONS), shard_size=count, splits={"train": 1}
    )
    dataset = Dataset.enter(output, card)
    inputs = tuple(PlannedInput(id=str(n), size=0, mtime_ns=0) for n in range(1, count + 1))
    plan = ShardPlan(shard=0, split="train", source=source.name, inputs=inputs)
    dataset.store.put_new(plan_name(0), plan.to_json())
    ShardIngester(dataset, source)(0)
    return dataset


def child_card(parent: DatasetCard) -> DatasetCard:
    """The card of a refined dataset, with the digest of no real refiner."""
    return DatasetCard.model_validate(
        parent.model_dump()
        | {
            "kind": "refined",
            "parent": ParentRef(location="", card=parent.digest()),
            "refiner": RefinerRef(sha256=NO_DIGEST, config=NO_DIGEST),
        }
    )


def our_write(parent: Dataset, card: DatasetCard, output: Path) -> None:
    child = Dataset.enter(output, card)
    pixels = ShardReader(parent)(0)
    ShardCommitter(parent, child)(pixels)


def write_all(samples: list[dict[str, Any]], output: Path, *, encoder: bool) -> None:
    output.mkdir()
    with webdataset.ShardWriter(str(output / "%06d.tar"), encoder=encoder, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def measure(parent: Dataset, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every loop in every round, after one round to warm up."""
    members = list(parent.samples(0))
    encoded = [{"__key__": m.key, "png": m.png, "json": m.json} for m in members]
    decoded = [
        {"__key__": m.key, "png": decode_png(m.png), "json": orjson.loads(m.json)} for m in members
    ]
    card = child_card(parent.card)
    with tempfile.TemporaryDirectory() as outputs:
        output = Path(outputs) / "out"
        loops: dict[str, Callable[[], None]] = {
            "ours": lambda: our_write(parent, card, output),
            "ShardWriter": lambda: write_all(decoded, output, encoder=True),
            "ShardWriter given bytes": lambda: write_all(encoded, output, encoder=False),
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(rounds + 1):
            for name, loop in loops.items():
                shutil.rmtree(output, ignore_errors=True)
                start = time.process_time()
                loop()
                if number > 0:
                    seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--renders", type=Path, help="folder of N.jpg with N.json; drawn by default"
    )
    parser.add_argument("--count", type=int, default=1024, help="samples in the shard")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        renders = options.renders or Path(folder) / "renders"
        if options.renders is None:
            EyeRenderer(height=240, width=320, seed=1).write(renders, range(options.count))
        parent = ingested(renders, options.count, Path(folder) / "parent")
        num_samples, tar_bytes = parent.facts(0).num_samples, parent.facts(0).tar_size
        seconds = measure(parent, options.rounds)
    ours = seconds["ours"]
    for baseline in ("ShardWriter", "ShardWriter given bytes"):
        plain = seconds[baseline]
        say(
            {
                "bench": "shards written around an identity engine, read and verified",
                "samples_per_s": round(num_samples / statistics.median(ours), 1),
                "tar_bytes_per_sample": round(tar_bytes / num_samples),
                "baseline": f"webdataset.{baseline}",
                "baseline_samples_per_s": round(num_samples / statistics.median(plain), 1),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(plain, ours, strict=True)), 2
                ),
            }
        )


if __name__ == "__main__":
    main()
