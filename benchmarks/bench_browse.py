"""How long the page to look around takes for a release with many samples, and in how much memory.

    python benchmarks/bench_browse.py [--rows 1e5 1e6]

For each number of samples it makes the index of a release of eyes, with all columns, and the
measurements of all samples; there are no pixels, so no picture is asked for. Each page is asked for
in a process of its own, through the application, once it is made: the first page of samples, the
last one, a query on a label, a query on a label and a measure, and the samples that are worst by a
measure. The baseline reads the whole index with pyarrow, in a process of its own as well.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

from bench_release import DIGEST, SHARD_SIZE, fake_column, fake_rows, of_shard, put_index
from own_process import in_own_process, peak_mib

from factory.dataset.dataset import Dataset
from factory.dataset.kinds import repeated_columns
from factory.dataset.tar import sha256
from factory.release.content import GROUP_ROWS
from factory.store.parquet import parquet_bytes
from schemas.eye.measures import EYE_MEASURES_SCHEMA
from schemas.release import IndexPart, ReleasedShard, ReleaseManifest
from support.report_example import example_report

NAME = "r1"
SHARDS_OF_PART = 8
HOST = "127.0.0.1:8000"
PAGES = {
    "first": "",
    "last": "?page=999999999",
    "label": "?where=gaze_yaw_deg+%3E+20",
    "measure": "?where=gaze_yaw_deg+%3E+20+and+registration_px+%3E+1&wait=120",
    "worst": "?sort=registration_px&order=desc&wait=120",
}
"""what is asked for, by the addresses' arguments"""


def make(folder: Path, num: int) -> None:
    """A refined dataset with one index and the measurements of every shard, and its release."""
    dataset = Dataset.enter(folder, example_report().dataset)
    rows, repeated = fake_rows(SHARD_SIZE), repeated_columns(dataset.sample_kind)
    random = np.random.default_rng(1)
    measures = pa.table(
        [fake_column(field, SHARD_SIZE, random) for field in EYE_MEASURES_SCHEMA],
        schema=EYE_MEASURES_SCHEMA,
    )
    shards, parts = [], []
    for first in range(0, -(-num // SHARD_SIZE), SHARDS_OF_PART):
        tables = []
        for shard in range(first, min(first + SHARDS_OF_PART, -(-num // SHARD_SIZE))):
            table = of_shard(rows.slice(0, min(SHARD_SIZE, num - shard * SHARD_SIZE)), shard)
            tables.append(table)
            shards.append(put_shard(dataset, table, shard, repeated))
            measured = measures.slice(0, len(table)).set_column(0, "key", table["key"])
            content = parquet_bytes(measured, ["identity"])
            dataset.store.put(f"measures/{DIGEST[:16]}/{shard:06d}.parquet", content, durable=False)
        content = parquet_bytes(pa.concat_tables(tables), repeated, GROUP_ROWS)
        url = f"index/{len(parts):06d}.parquet"
        dataset.store.put(f"releases/{NAME}/{url}", content, durable=False)
        parts.append(IndexPart(url=url, sha256=sha256(content), num_samples=sum(map(len, tables))))
    manifest = ReleaseManifest(
        release=NAME, dataset=dataset.card, report=DIGEST, report_id="20261130-000000-aaaa",
        gate=DIGEST, index_parts=tuple(parts), num_samples=num, splits={"train": num},
        shards=tuple(shards),
    )  # fmt: skip
    dataset.store.put(f"releases/{NAME}/manifest.json", manifest.to_json(), durable=False)


def put_shard(
    dataset: Dataset, table: pa.Table, shard: int, repeated: tuple[str, ...]
) -> ReleasedShard:
    """Write the index of a shard that has no tar; gives what the manifest says of it."""
    facts = put_index(dataset, table, shard, repeated)
    return ReleasedShard(
        shard=shard, url=f"../../{facts.tar}", sha256=facts.tar_sha256, size=facts.tar_size,
        num_samples=len(table), split="train",
    )  # fmt: skip


def read_all(folder: Path) -> Iterator[tuple[float, float]]:
    """The baseline: every row and column of the index, into memory."""
    index = pyarrow.dataset.dataset(folder / "releases" / NAME / "index")
    yield time.perf_counter(), time.process_time()
    assert index.to_table().num_rows == index.count_rows()
    yield time.perf_counter(), time.process_time()


def ask(folder: Path, page: str) -> Iterator[tuple[float, float]]:
    """One page, as a browser asks for it."""
    from factory.browse.app import make_app

    client = make_app([str(folder)], port=8000).test_client()
    address = f"/datasets/{folder.name}/releases/{NAME}/samples{PAGES[page]}"
    yield time.perf_counter(), time.process_time()
    reply = client.get(address, headers={"Host": HOST})
    yield time.perf_counter(), time.process_time()
    assert reply.status_code == 200 and reply.text.count('class="tile"') > 0, reply.text[:2000]
    assert "The time was up" not in reply.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--run", choices=["read", *PAGES], help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        before = peak_mib()
        begin, end = read_all(given.at) if given.run == "read" else ask(given.at, given.run)
        costs = {"wall_s": end[0] - begin[0], "cpu_s": end[1] - begin[1]}
        print(json.dumps(costs | {"peak_mib": peak_mib(), "grown_mib": peak_mib() - before}))
        return
    for num in map(int, given.rows):
        with tempfile.TemporaryDirectory(prefix="bench-browse-") as text:
            folder = Path(text, "set")
            make(folder, num)
            baseline = in_own_process(__file__, "--run", "read", "--at", folder)
            for page in PAGES:
                ours = in_own_process(__file__, "--run", page, "--at", folder)
                line = {"rows": num, "page": page, "ours": ours, "baseline": baseline}
                line["ratio_of_cpu"] = baseline["cpu_s"] / ours["cpu_s"]
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
