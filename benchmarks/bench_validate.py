"""The speed of a validation by witness, by number of workers, and by number of samples.

    python benchmarks/bench_validate.py REFINED [--landmarks NET] [--gaze NET] [--workers 1 2]

A witness is one independent way to measure label drift. REFINED is a refined dataset whose parent
must be where its card says. The output has three tables: the cost of each witness on one thread,
against that of the pupil finder, which every validation needs; pairs per second of the job's
workers, against a plain loop in one process; and the cost of a report's statistics for tables of
many samples, with the peak of memory.
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from cluster.on_ray.pipeline import Workers, run_on_ray
from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Stage, collect
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.validator import crop_of
from factory.images.png import grey
from factory.measures.statistics import clusters_of, estimate
from factory.validation.pairs import open_pair
from factory.validation.sample_checks import check_samples, verdicts_of
from factory.validation.shard_measures import (
    ShardMeasurer,
    measure_task,
    not_measured,
    read_measures,
)
from schemas.eye.measures import EYE_MEASURES
from schemas.gate import SampleLimit

MEASURED = 200
"""number of pairs on which each witness is timed"""


def timed(call: Callable[[], object]) -> float:
    """Seconds of CPU time of this process."""
    started = time.process_time()
    call()
    return time.process_time() - started


def by_witness(refined: Dataset, parent: Dataset, witnesses: EyeWitnesses) -> None:
    """The cost of each witness alone, in addition to what is always measured."""
    shard = refined.committed()[0]
    rows = refined.index(shard).slice(0, MEASURED)
    before, after = (grey(d.images(shard))[:MEASURED] for d in (parent, refined))
    nothing = witnesses.model_copy(update={"landmarks": None, "gaze": None})
    plans = {
        "registration and looks, always": (nothing, False),
        "pupil finder": (nothing, True),
        "landmark network": (witnesses.model_copy(update={"gaze": None}), False),
        "gaze network": (witnesses.model_copy(update={"landmarks": None}), False),
        "all of them": (witnesses, True),
    }
    seconds = {}
    for name, (which, with_pupil) in plans.items():
        measurer = replace(which.measurer(), with_pupil=with_pupil)
        measurer(rows, before, after)
        seconds[name] = timed(lambda m=measurer: m(rows, before, after)) / len(rows)
    always = seconds["registration and looks, always"]
    pupil = seconds["pupil finder"] - always
    print("\n| measured, one thread | ms a pair | of the pupil finder |\n|---|---|---|")
    for name, cost in seconds.items():
        own = cost if name.startswith(("all", "registration")) else cost - always
        print(f"| {name} | {1000 * own:.2f} | {own / pupil:.2f} |")


def by_worker(
    refined: Dataset, parent: Dataset, witnesses: EyeWitnesses, workers: list[int]
) -> None:
    """The plain loop against the job's workers in wall time, and a run with nothing left to do."""
    shards = refined.committed()
    num = sum(facts.num_samples for facts in refined.all_facts(shards))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "refined")
        shutil.copytree(Path(refined.location), copy, ignore=shutil.ignore_patterns("measures"))
        here = Dataset.open(copy)
        measure = ShardMeasurer(here, parent, EyeMeasurer(witnesses))
        started = time.perf_counter()
        for shard in shards:
            measure(shard)
        plain = num / (time.perf_counter() - started)
        print(f"\n| {num} pairs | pairs/s | of the plain loop |\n|---|---|---|")
        print(f"| plain loop, one process | {plain:.1f} | 1.00 |")
        for count in workers:
            shutil.rmtree(copy / "measures")
            task = measure_task(here, parent, witnesses)
            started = time.perf_counter()
            collect(run_on_ray((Stage("measure", task),), shards, Workers(count, use_gpu=False)))
            rate = num / (time.perf_counter() - started)
            print(f"| Ray, {count} workers | {rate:.1f} | {rate / plain:.2f} |")
        started = time.perf_counter()
        assert not not_measured(here, parent, shards, witnesses)
        seconds = time.perf_counter() - started
        print(f"| nothing new | {num / seconds:.0f} | {num / seconds / plain:.0f} |")


def statistics(measures: pa.Table, sizes: list[int]) -> None:
    """The cost of estimates, verdicts and checks for large tables, sampled from a real one."""
    limits = [
        SampleLimit(measure=field.name, at_most=1e9, why="for the clock", max_share=0.01,
                    shard_share=0.1)
        for field in EYE_MEASURES
    ]  # fmt: skip
    print("\n| samples | estimate of one witness, s | verdicts and checks, s | peak, GiB |")
    print("|---|---|---|---|")
    for size in sizes:
        rows = measures.take(pa.array(np.random.default_rng(0).integers(len(measures), size=size)))
        keys = pa.array([f"{k // 16384:06d}-{k % 16384:06d}" for k in range(size)])
        rows = rows.set_column(0, "key", keys)
        drift = values_of(rows, "registration_px")
        clusters = clusters_of(rows["identity"].to_pylist())
        one = timed(lambda d=drift, c=clusters: estimate(d, c))
        checks = timed(lambda r=rows: (verdicts_of(r, limits), check_samples(r, limits)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {size:,} | {one:.1f} | {checks:.1f} | {peak:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("refined", help="a refined dataset in a folder")
    parser.add_argument("--landmarks", help="output of jobs/estimator.py landmarks")
    parser.add_argument("--gaze", help="output of jobs/estimator.py gaze")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    refined, parent = open_pair(args.refined)
    width = crop_of(parent).eye_width_px
    finder = PupilFinder(eye_width_px=width)
    witnesses = EyeWitnesses.of(finder, args.landmarks, args.gaze, refined.card.image)
    witnesses.measurer()  # one thread
    by_witness(refined, parent, witnesses)
    ray.init(log_to_driver=False)
    by_worker(refined, parent, witnesses, args.workers)
    ray.shutdown()
    missing = not_measured(refined, parent, refined.committed(), witnesses)
    if missing:
        parser.exit(0, "\nrun jobs/validate.py on it first for the table of statistics\n")
    statistics(read_measures(refined, refined.committed(), witnesses), args.samples)


if __name__ == "__main__":
    main()
