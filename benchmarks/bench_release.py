"""The cost of a release by the number of samples, without pixels, in a local folder.

    python benchmarks/bench_release.py [--rows 1e5 1e6 1e7]

For each number of samples it makes a refined dataset whose indexes have all columns of eyes, and
whose tars are a few bytes each, with a report and a verdict on every sample, and publishes it in a
process of its own. The baseline reads the bytes of all indexes, in the same way in a process of its
own. Ten million samples take 20 GB of disk.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from own_process import in_own_process, peak_mib, say

from factory.dataset.columns import with_values
from factory.dataset.dataset import Dataset
from factory.dataset.kinds import kind_named, repeated_columns
from factory.dataset.names import index_name, new_tar_name, tar_name
from factory.dataset.tar import sha256
from factory.release.publish import publish
from factory.store.parquet import parquet_bytes
from factory.validation.verdicts import verdicts_name
from schemas.index import ShardFacts, with_facts
from schemas.verdicts import VERDICT_SCHEMA
from support.releases import REPORT_ID, put_report
from support.report_example import example_report

SHARD_SIZE = 16_384
NAME = "r1"
DIGEST = "0" * 64
CONTENT = b"in place of a tar"


def fake_column(field: pa.Field, num: int, random: np.random.Generator) -> pa.Array:
    """Values of a column that compress no better than real ones."""
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        inner = pa.field(field.name, kind.value_type)
        return pa.FixedSizeListArray.from_arrays(
            fake_column(inner, num * kind.list_size, random), type=kind
        )
    if pa.types.is_floating(kind):
        return pa.array(random.normal(size=num).astype(np.float32), kind)
    if pa.types.is_integer(kind):
        return pa.array(random.integers(0, 1 << 20, num), kind)
    if field.name == "supersedes" or not pa.types.is_string(kind):
        return pa.nulls(num, kind)
    if field.name.endswith("sha256"):
        return pa.array([random.bytes(32).hex() for _ in range(num)])
    return pa.array([f"{field.name} {number}" for number in random.integers(0, 1 << 20, num)])


def fake_rows(num: int) -> pa.Table:
    """Index rows of one shard, but for the columns that name it."""
    schema = kind_named("eye").index_schema(labelled=True)
    random = np.random.default_rng(0)
    return pa.table([fake_column(field, num, random) for field in schema], schema=schema)


def of_shard(rows: pa.Table, shard: int) -> pa.Table:
    """The rows with the keys of a shard."""
    columns = {
        "key": pa.array([f"{shard:06d}-{index:06d}" for index in range(len(rows))]),
        "shard": pa.array(np.full(len(rows), shard, np.int32)),
        "split": pa.array(["train"] * len(rows)),
    }
    for name, values in columns.items():
        rows = with_values(rows, name, values)
    return rows


def make(folder: Path, num: int) -> None:
    """A refined dataset with a passing report and verdicts."""
    card = example_report().dataset
    dataset = Dataset.enter(folder, card)
    rows, repeated = fake_rows(SHARD_SIZE), repeated_columns(dataset.sample_kind)
    keys = []
    for shard in range(-(-num // SHARD_SIZE)):
        table = of_shard(rows.slice(0, min(SHARD_SIZE, num - shard * SHARD_SIZE)), shard)
        keys.append(table["key"])
        facts = put_index(dataset, table, shard, repeated)
        dataset.store.put(tar_name(facts), CONTENT, durable=False)
    put_verdicts(dataset, pa.chunked_array([part for column in keys for part in column.chunks]))


def put_index(
    dataset: Dataset, table: pa.Table, shard: int, repeated: tuple[str, ...]
) -> ShardFacts:
    """Write the index of a shard, whose tar is `CONTENT`; gives what it says of the shard."""
    facts = ShardFacts(
        shard=shard, split="train", tar_sha256=sha256(CONTENT), tar_size=len(CONTENT),
        num_samples=len(table), num_planned=len(table), num_rejected=0, num_filtered=0,
        parent_sha256=DIGEST, refiner=DIGEST, config_digest=DIGEST, writer="benchmark",
    )  # fmt: skip
    facts = facts.model_copy(update={"tar": new_tar_name(facts, "00000000")})
    content = parquet_bytes(with_facts(table, facts), repeated)
    dataset.store.put(index_name(shard), content, durable=False)
    return facts


def put_verdicts(dataset: Dataset, keys: pa.ChunkedArray) -> None:
    """Verdicts that keep 99 of 100 samples, and the report that names them."""
    keep = np.arange(len(keys)) % 100 > 0
    missed = [None, ["iris_px"]]
    reasons = pa.array(missed, pa.list_(pa.string())).take(pa.array(1 - keep.astype(np.int64)))
    table = pa.table([keys, pa.array(keep), reasons], schema=VERDICT_SCHEMA)
    dataset.store.put(verdicts_name(REPORT_ID), parquet_bytes(table))
    put_report(dataset)


def read_all(folder: Path) -> None:
    """The baseline: the bytes of every index."""
    for path in sorted((folder / "index").iterdir()):
        path.read_bytes()


def release(folder: Path) -> None:
    """Publish, and see that an outside reader finds every row."""
    manifest = publish(Dataset.open(folder), NAME, REPORT_ID)
    parts = folder / "releases" / NAME / "index"
    assert pyarrow.dataset.dataset(parts).count_rows() == manifest.num_samples
    largest = max(path.stat().st_size for path in parts.iterdir())
    say({"parts": len(manifest.index_parts), "largest_mb": round(largest / 1e6)})


RUNS = {"read": read_all, "publish": release}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        started = time.perf_counter()
        RUNS[given.run](given.at)
        costs = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time()}
        say(costs | {"peak_mib": peak_mib()})
        return
    for num in map(int, given.rows):
        with tempfile.TemporaryDirectory(prefix="bench-release-") as text:
            folder = Path(text, "set")
            make(folder, num)
            baseline = in_own_process(__file__, "--run", "read", "--at", folder)
            ours = in_own_process(__file__, "--run", "publish", "--at", folder)
            say(
                {"bench": "publish", "samples": num}
                | {name: round(value, 1) for name, value in ours.items()}
                | {
                    "baseline": "read all indexes",
                    "baseline_cpu_s": round(baseline["cpu_s"], 1),
                }
                | {"us_a_sample": round(ours["cpu_s"] / num * 1e6, 2)}
            )


if __name__ == "__main__":
    main()
