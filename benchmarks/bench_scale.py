"""The cost of planning by the number of inputs, without pixels and Ray, in a local folder.

    python benchmarks/bench_scale.py [--rows 1e4 1e5 1e6 1e7] [--files]

For each number of inputs (two files each), these phases run, each in another process:

- plan: list the inputs, which are all new, and write the plans;
- resume: list them again, where plans exist but no shard, and find the shards to build;
- nothing new: list them where every shard is built;
- some new: 1 % more inputs, and 1,000 touched ones whose content is compared;
- again: the same listing once more, with the digests of the touched inputs cached.

The listing is generated in memory. `--files` measures the cost of reading a folder: it creates a
million pairs of empty files and times their listing, and the whole job with nothing to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from own_process import in_own_process, peak_mib

from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, key_of
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.domains.registry import make_source
from factory.ingestion.ledger import containers_in, read_seen
from factory.ingestion.planning import Planned, plan_new_shards
from factory.ingestion.shards import expected_of, ingested_card
from factory.sources.input_table import InputTable
from factory.sources.scan import BATCH_ROWS, SCAN_SCHEMA, ScanItem, Seen
from factory.store.parquet import parquet_bytes
from schemas.dataset import DatasetCard, Reject
from schemas.eye.kind import EYE
from schemas.index import ShardFacts, with_facts

SHARD_SIZE = 16_384
NUM_TOUCHED = 1000
PHASES = ("plan", "resume", "nothing new", "some new", "again")
DIGEST = "0" * 64


def synthetic_card(shard_size: int = SHARD_SIZE) -> DatasetCard:
    source = make_source("", UnityEyesOptions())
    return ingested_card(EYE, "set", source, shard_size=shard_size, splits={"train": 1.0})


class Numbered:
    """A source of inputs `imgs/0` to `imgs/N`, which exist in listings only."""

    name = "unityeyes"
    location = "nowhere"

    def __init__(self, num: int, num_touched: int = 0):
        self.num, self.num_touched = num, num_touched

    def scan(self, seen: Seen) -> Iterator[ScanItem]:
        for start in range(0, self.num, BATCH_ROWS // 2):
            numbers = np.arange(start, min(self.num, start + BATCH_ROWS // 2))
            ids = [f"imgs/{number}" for number in numbers.tolist()]
            touched = numbers % max(1, self.num // max(1, self.num_touched)) == 0
            mtimes_ns = 1_700_000_000_000_000_000 + numbers * 1000
            mtimes_ns += np.where(touched & (self.num_touched > 0), 1, 0)
            nothing = pa.nulls(len(ids), pa.string())
            for suffix, size in ((".jpg", 100_000), (".json", 2_000)):
                suffixes = pa.array([suffix] * len(ids))
                columns = [ids, suffixes, np.full(len(ids), size), mtimes_ns, nothing, nothing]
                yield pa.record_batch(
                    [pa.array(c, f.type) for c, f in zip(columns, SCAN_SCHEMA, strict=True)],
                    schema=SCAN_SCHEMA,
                )

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        pass

    def digests(self, source_id: str) -> tuple[str, str | None]:
        return DIGEST, DIGEST


def plan(dataset: Dataset, source: Any) -> tuple[Planned, int]:
    """Plan as the ingest job does; the plans and the number of shards that are to be built."""
    seen = containers_in(read_seen(dataset.store), source.location)
    with InputTable(source.scan(seen)) as inputs:
        planned = plan_new_shards(dataset, source, inputs)
    missing = set(range(len(planned.shard_sizes))) - set(dataset.committed())
    return planned, len(missing)


def commit_all(dataset: Dataset) -> None:
    """Write index files that have just the columns which a planner reads."""
    for shard in sorted(set(dataset.planned()) - set(dataset.committed())):
        keys = [f"{shard:06d}-{index:06d}" for index in range(len(dataset.plan(shard).inputs))]
        digests = [DIGEST] * len(keys)
        rows = {"key": keys, "source_image_sha256": digests, "source_label_sha256": digests}
        facts = ShardFacts(
            shard=shard, split="train", tar_sha256=DIGEST, tar_size=0, num_samples=len(keys),
            num_planned=len(keys), num_rejected=0, num_filtered=0, parent_sha256=None,
            refiner=None, config_digest=DIGEST, writer="benchmark",
        )  # fmt: skip
        table = with_facts(pa.table(rows), facts)
        dataset.store.put_new(index_name(shard), parquet_bytes(table))


def measure(phase: str, num: int, folder: Path) -> dict[str, float]:
    """Run one phase in this process."""
    dataset = Dataset.enter(folder / "set", synthetic_card())
    if phase == "nothing new":
        commit_all(dataset)
    source = Numbered(num)
    if phase in ("some new", "again"):
        source = Numbered(num + num // 100, NUM_TOUCHED)
    started, cpu = time.perf_counter(), time.process_time()
    planned, num_missing = plan(dataset, source)
    costs = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    num_new = {"plan": num, "some new": num // 100}.get(phase, 0)
    assert planned.num_new == num_new, planned
    assert (num_missing == 0) == (phase == "nothing new"), num_missing
    return costs | {"peak_mib": peak_mib()}


def table(rows: list[int]) -> None:
    """Print a table of all phases for all numbers of inputs."""
    print("inputs | phase | wall s | CPU s | peak MiB | CPU µs an input\n---|---|---|---|---|---")
    for num in rows:
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            for phase in PHASES:
                costs = in_own_process(__file__, "--phase", phase, "--rows", num, "--at", folder)
                print(
                    f"{num:,} | {phase} | {costs['wall_s']:.1f} | {costs['cpu_s']:.1f} | "
                    f"{costs['peak_mib']:.0f} | {costs['cpu_s'] / num * 1e6:.1f}",
                    flush=True,
                )


def real_files(num: int) -> None:
    """Time the listing of a folder of pairs, and the whole job with nothing to do."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as text:
        folder, output = Path(text, "in"), Path(text, "set")
        folder.mkdir()
        for number in range(num):
            for suffix in ("jpg", "json"):
                os.close(os.open(f"{folder}/{number}.{suffix}", os.O_CREAT | os.O_WRONLY))
        started, cpu = time.perf_counter(), time.process_time()
        source = UnityEyesSource(folder, UnityEyesOptions())
        with InputTable(source.scan({})) as inputs:
            assert len(inputs) == num
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        print(f"listing {num:,} pairs: {wall_s:.1f} s, {cpu_s:.1f} s of CPU")
        dataset = Dataset.enter(output, synthetic_card())
        plan(dataset, source)
        commit_empty(dataset)
        command = [sys.executable, "jobs/ingest.py", "--source", "unityeyes",
                   "--input", str(folder), "--output", str(output)]  # fmt: skip
        before = os.times()
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall_s, after = time.perf_counter() - started, os.times()
        cpu_s = sum(after[2:4]) - sum(before[2:4])
        print(f"the job with nothing to do: {wall_s:.1f} s, {cpu_s:.1f} s of CPU")
        print(done.stderr.splitlines()[-1])


def commit_empty(dataset: Dataset) -> None:
    """Commit every shard as if a filter had left out all its inputs."""
    for shard in dataset.planned():
        plan = dataset.plan(shard)
        rejects = [
            Reject(key=key_of(shard, index), source_id=p.id, kind="filtered", reason="empty")
            for index, p in enumerate(plan.inputs)
        ]
        commit_shard(dataset, expected_of(plan), [], rejects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    parser.add_argument("--files", action="store_true", help="use a million pairs of real files")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    rows = [int(num) for num in given.rows]
    if given.phase is not None:
        print(json.dumps(measure(given.phase, rows[0], given.at)))
    elif given.files:
        real_files(1_000_000)
    else:
        table(rows)


if __name__ == "__main__":
    main()
