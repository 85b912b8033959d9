"""The cost of a command that finds nothing to do, as whole commands in a local folder.

    python benchmarks/bench_looks.py [--looks archives loose refine] [--inputs 1e7] [--shards 1e4]

- archives: `jobs/ingest.py` of 10 million inputs that lie in 1,000 unchanged archives;
- loose: the same of a million pairs of files in one folder;
- refine: `jobs/refine.py` of 10,000 shards that are all refined.

Indexes have the facts of their shards and no rows, since nothing else is read. Each command runs
twice, as the first may have something to remember: CPU time with that of the operating system, wall
time and peak memory, from the start of Python on. The baselines are measured in the same run, in
CPU seconds: `os.scandir` with `stat` of what is listed, reading the bytes of the plans, and the
import of torch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
from bench_refine import paper_refiner
from bench_scale import SHARD_SIZE, synthetic_card

from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, new_tar_name, plan_name, tar_name
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.ledger import SEEN_NAME, SEEN_SCHEMA
from factory.ingestion.planning import plan_new_shards
from factory.refinement.card import refined_card
from factory.sources.input_table import InputTable
from factory.store.open import real_place
from factory.store.parquet import parquet_bytes
from schemas.dataset import plan_json
from schemas.index import ShardFacts, with_facts

DIGEST = "0" * 64
NUM_ARCHIVES = 1000


def commit(dataset: Dataset, shard: int, num: int, **changes: str) -> None:
    """Commit a shard, but for its rows; its tar has no bytes."""
    facts = ShardFacts(
        shard=shard, split="train", tar_sha256=DIGEST, tar_size=0, num_samples=num,
        num_planned=num, num_rejected=0, num_filtered=0, parent_sha256=None, refiner=None,
        config_digest=DIGEST, writer="benchmark",
    )  # fmt: skip
    facts = facts.model_copy(update={"tar": new_tar_name(facts, "00000000"), **changes})
    dataset.store.put(tar_name(facts), b"", durable=False)
    rows = with_facts(dataset.sample_kind.index_schema(labelled=True).empty_table(), facts)
    dataset.store.put(index_name(shard), parquet_bytes(rows), durable=False)


def ingest_command(inputs: Path, output: Path) -> list[str]:
    return ["jobs/ingest.py", "--source", "unityeyes", "--input", str(inputs),
            "--output", str(output)]  # fmt: skip


def archives(folder: Path, num: int, _: int) -> list[str]:
    """Inputs that are planned out of archives which have not changed since."""
    inputs, dataset = folder / "in", Dataset.enter(folder / "set", synthetic_card())
    inputs.mkdir()
    per_archive = num // NUM_ARCHIVES
    seen = []
    for number in range(NUM_ARCHIVES):
        path = inputs / f"{number:04d}.zip"
        path.write_bytes(b"")
        facts = {"id": path.name, "size": 0, "mtime_ns": path.stat().st_mtime_ns}
        seen.append(facts | {"location": real_place(inputs), "num_inputs": per_archive})
    dataset.store.put(SEEN_NAME, parquet_bytes(pa.Table.from_pylist(seen, schema=SEEN_SCHEMA)))
    for shard in range(-(-num // SHARD_SIZE)):
        of = range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, num))
        rows = [
            {"id": f"{n // per_archive:04d}.zip/imgs/{n % per_archive}", "size": 27_000,
             "mtime_ns": 1_700_000_000_000_000_000 + n, "suffixes": ".jpg .json"}
            for n in of
        ]  # fmt: skip
        raw = plan_json(shard, "train", "unityeyes", real_place(inputs), rows)
        dataset.store.put(plan_name(shard), raw, durable=False)
        commit(dataset, shard, len(of))
    return ingest_command(inputs, folder / "set")


def loose(folder: Path, num_archived: int, _: int) -> list[str]:
    """Inputs that are two files each, all in one folder."""
    inputs, dataset = folder / "in", Dataset.enter(folder / "set", synthetic_card())
    inputs.mkdir()
    for number in range(num_archived // 10):
        for suffix in ("jpg", "json"):
            os.close(os.open(f"{inputs}/{number}.{suffix}", os.O_CREAT | os.O_WRONLY))
    source = make_source(str(inputs), UnityEyesOptions())
    with InputTable(source.scan({})) as listed:
        plan_new_shards(dataset, source, listed)
    for shard in dataset.planned():
        commit(dataset, shard, len(dataset.plan(shard).inputs))
    return ingest_command(inputs, folder / "set")


def refined(folder: Path, _: int, num_shards: int) -> list[str]:
    """Shards that are all refined."""
    parent = Dataset.enter(folder / "parent", synthetic_card(1))
    refiner = paper_refiner(folder / "refiner")
    card = refined_card(parent, refiner, "refined", precision="float32")
    child = Dataset.enter(folder / "refined", card)
    for shard in range(num_shards):
        commit(parent, shard, 1)
        commit(child, shard, 1, parent_sha256=DIGEST)
    return ["jobs/refine.py", "--input", parent.location, "--refiner", str(refiner),
            "--output", child.location]  # fmt: skip


def stat_all(folder: Path, name: str) -> None:
    """List a folder with the facts of its files."""
    with os.scandir(folder / name) as entries:
        for entry in entries:
            entry.stat()


def read_plans(folder: Path) -> None:
    """Read the bytes of all plans."""
    for path in (folder / "set" / "plan").glob("*.json"):
        path.read_bytes()


def import_torch(_: Path) -> None:
    """What every command that loads a refiner has to do."""
    subprocess.run([sys.executable, "-c", "import torch"], check=True)


Make = Callable[[Path, int, int], list[str]]
LOOKS: dict[str, tuple[Make, dict[str, Callable[[Path], None]]]] = {
    "archives": (archives, {"scandir": partial(stat_all, name="in"), "read plans": read_plans}),
    "loose": (loose, {"scandir": partial(stat_all, name="in"), "read plans": read_plans}),
    "refine": (
        refined,
        {"scandir": partial(stat_all, name="parent/index"), "import torch": import_torch},
    ),
}


WATCH = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
assert done.returncode == 0 and "nothing to do" in done.stderr, done.stderr
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "cpu_s": round(used.ru_utime + used.ru_stime, 2),
    "wall_s": round(time.perf_counter() - started, 2),
    "peak_mib": round(used.ru_maxrss / 1024),
}))
"""
"""runs a command from a small process, as a child counts the memory that its parent had"""


def costs_of(command: list[str]) -> dict[str, float]:
    """CPU time, wall time and peak memory of a command; Ray would have no part in it."""
    watch = [sys.executable, "-c", WATCH, *command]
    done = subprocess.run(watch, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of a call in this process, and of the processes that it waited for."""
    before = os.times()
    call()
    return round(sum(os.times()[:4]) - sum(before[:4]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--looks", nargs="+", choices=LOOKS, default=list(LOOKS))
    parser.add_argument("--inputs", type=float, default=1e7, help="in archives; a tenth are loose")
    parser.add_argument("--shards", type=float, default=1e4, help="to refine")
    given = parser.parse_args()
    for name in given.looks:
        make, baselines = LOOKS[name]
        with tempfile.TemporaryDirectory(prefix="bench-looks-") as text:
            command = [sys.executable, *make(Path(text), int(given.inputs), int(given.shards))]
            line = {"bench": name, "first": costs_of(command), "then": costs_of(command)}
            line |= {
                what: cpu_seconds(partial(call, Path(text))) for what, call in baselines.items()
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
