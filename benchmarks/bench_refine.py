"""The speed of a refine in committed images per second, against that of the engine alone.

    python benchmarks/bench_refine.py [--rounds 3] [--shards 16] [--shard-size 1024]

The baseline is the engine alone in one single-threaded process for each core, with images in
memory. It is measured before and after the refine pipeline, which runs as in the job on as many
workers: read, decode, refine, encode, verify, commit. Both use the paper's refiner and the same
cores. The start of the workers and the last shards, for which some workers have nothing left to do,
are left out: the rate is the slope of the committed samples over the middle of the run.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import orjson
import torch
from own_process import say

from cluster.on_ray.pipeline import Workers, run_on_ray
from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected
from factory.dataset.names import key_of
from factory.dataset.shard_tasks import collect, run_here
from factory.dataset.tar import PackedSample
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.planning import plan_new_shards
from factory.ingestion.shards import ingest_task, ingested_card
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import save_refiner
from factory.refinement.card import refined_card
from factory.refinement.engines.choose import make_engine
from factory.refinement.stages import refine_stages
from factory.sources.input_table import InputTable
from schemas.dataset import ImageSpec
from schemas.eye.kind import EYE
from schemas.refiner import RefinerConfig, RefinerDescription

NUM_RENDERS = 64


def paper_refiner(folder: Path) -> Path:
    """Save the paper's eye refiner with random weights, as a training run saves one."""
    torch.manual_seed(0)
    config = RefinerConfig()
    described = RefinerDescription(
        domain="eye",
        image=ImageSpec(height=35, width=55),
        architecture=config,
        weights="last",
        sha256="0" * 64,
        step=1,
        train={},
        config="0" * 64,
    )
    save_refiner(folder, Refiner(config), described)
    return folder


def dataset_of_copies(folder: Path, shards: int, shard_size: int) -> Dataset:
    """Committed shards whose samples are copies of a few renders, each with another key."""
    renders, options = folder / "renders", UnityEyesOptions()
    write_renders(renders, EyeRenderer(height=240, width=320, seed=5).render(range(NUM_RENDERS)))
    card = ingested_card(
        EYE, "eyes", make_source("", options), shard_size=shard_size, splits={"train": 1}
    )
    few = Dataset.enter(folder / "few", card)
    source = make_source(renders, options)
    with InputTable(source.scan({})) as inputs:
        plan_new_shards(few, source, inputs)
    collect(run_here(ingest_task(few, make_source(renders, options)), few.planned()))
    samples = [sample for shard in few.committed() for sample in few.samples(shard)]
    many = Dataset.enter(folder / "many", card)
    for shard in range(shards):
        copies = [
            PackedSample(
                key_of(shard, index),
                samples[index % len(samples)].png,
                orjson.dumps(
                    orjson.loads(samples[index % len(samples)].json) | {"key": key_of(shard, index)}
                ),
            )
            for index in range(shard_size)
        ]
        keys = tuple(sample.key for sample in copies)
        commit_shard(many, Expected(shard, "train", keys, may_reject=True), copies)
    return many


def engine_alone(refiner: Path, images: np.ndarray, seconds: float) -> tuple[int, float]:
    """The number of images that one process refined, and the seconds that it took."""
    torch.set_num_threads(1)
    engine = make_engine(refiner, name=ENGINE)
    engine(images)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        engine(images)
        done += len(images)
    return done, time.perf_counter() - started


ENGINE = "ncnn"


def engine_rate(refiner: Path, images: np.ndarray, workers: int, seconds: float) -> float:
    """Images per second of as many independent processes as there are workers."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        calls = [pool.submit(engine_alone, refiner, images, seconds) for _ in range(workers)]
        return sum(done / took for done, took in (call.result() for call in calls))


def committed_rate(
    parent: Dataset, refiner: Path, output: Path, workers: int
) -> tuple[float, float]:
    """Committed images per second in the middle of the run, and over the whole run.

    Ray has been started before.
    """
    child = Dataset.enter(output, refined_card(parent, refiner, "refined"))
    stages = refine_stages(parent, child, refiner, engine=ENGINE)
    started = time.perf_counter()
    outcomes = collect(run_on_ray(stages, parent.committed(), Workers(workers)))
    over_the_run = sum(outcome.num_samples for outcome in outcomes) / (
        time.perf_counter() - started
    )
    times = np.sort([entry.mtime_ns for entry in child.store.entries("index")]) / 1e9
    samples = parent.card.shard_size * np.arange(len(times))
    middle = slice(workers, len(times) - workers)
    stages_s = Counter[str]()
    for outcome in outcomes:
        stages_s.update(outcome.stage_seconds)
    print("work by stage:", {name: round(seconds, 1) for name, seconds in stages_s.items()})
    slope = np.polyfit(times[middle] - times[0], samples[middle], 1)[0]
    return float(slope), over_the_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--shard-size", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-refine-") as name:
        folder = Path(name)
        refiner = paper_refiner(folder / "refiner")
        parent = dataset_of_copies(folder, args.shards, args.shard_size)
        images = parent.images(0)
        ratios, alone, steady, over_the_run = [], [], [], []
        for number in range(args.rounds):
            before = engine_rate(refiner, images, args.workers, seconds=15)
            of_run = committed_rate(parent, refiner, folder / f"refined-{number}", args.workers)
            after = engine_rate(refiner, images, args.workers, seconds=15)
            alone.append(statistics.mean([before, after]))
            steady.append(of_run[0])
            over_the_run.append(of_run[1])
            ratios.append(of_run[0] / alone[-1])
        say(
            {
                "bench": f"refine, paper's refiner, {args.shards} shards of {args.shard_size}",
                "workers": args.workers,
                "committed_images_per_s": round(statistics.median(steady), 1),
                "with_start_and_end": round(statistics.median(over_the_run), 1),
                "baseline": "the engine alone, as many processes",
                "baseline_images_per_s": round(statistics.median(alone), 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
        )


if __name__ == "__main__":
    main()
