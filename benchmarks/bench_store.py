"""The cost of a store: publishing and reading a shard, small objects, listings.

    python benchmarks/bench_store.py [--tar-mb 30] [--objects 5000] [--rounds 7]

The baseline of each line is plain boto3, which sends no condition and no token and does not check
what it read, on the same server in the same run. The two alternate, and medians are compared. The
stores are moto, Ceph's gateway where `make rgw` has unpacked it, and a local folder (with fsync,
without a baseline). Servers run on the cores of this machine.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from factory.store.base import Store
from factory.store.open import open_store
from support.s3_servers import BUCKET, RGW_ROOT, S3Server, moto_running, new_location, rgw_server


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def report(where: str, what: str, ours: list[float], plain: list[float], amount: float, unit: str):
    """One line: `amount` units were moved in each measured time."""
    line: dict[str, Any] = {"bench": f"{what}, {where}", "ms": _ms(ours)}
    line[f"{unit}_per_s"] = round(amount / statistics.median(ours), 1)
    if plain:
        line |= {"baseline": "plain boto3", "baseline_ms": _ms(plain)}
        line["ratio"] = round(statistics.median(plain) / statistics.median(ours), 2)
    print(json.dumps(line), flush=True)


def _ms(times: list[float]) -> float:
    return round(1000 * statistics.median(times), 1)


def measure(where: str, store: Store, client: Any, arguments: argparse.Namespace) -> None:
    """All lines of one store."""
    tar, small = os.urandom(arguments.tar_mb * 1_000_000), bytes(10_000)
    prefix = "/".join(store.location.split("/")[3:])

    def plain(operation: str, name: str, **given: Any) -> Callable[[], Any]:
        call = getattr(client, operation)
        return lambda: call(Bucket=BUCKET, Key=f"{prefix}/plain/{name}", **given)

    store.put_new("warm", b"")
    for what, content, amount, unit in (
        (f"{arguments.tar_mb} MB tar", tar, arguments.tar_mb, "mb"),
        ("10 kB object", small, 1, "objects"),
    ):
        times: dict[str, list[float]] = {
            key: [] for key in ("put", "get", "plain put", "plain get")
        }
        for number in range(arguments.rounds):
            name = f"{len(content)}/{number}"
            times["put"].append(seconds(lambda: store.put_new(name, content)))  # noqa: B023
            times["get"].append(seconds(lambda: store.read(name)))  # noqa: B023
            if client is not None:
                times["plain put"].append(seconds(plain("put_object", name, Body=content)))
                get = plain("get_object", name)
                times["plain get"].append(seconds(lambda: get()["Body"].read()))  # noqa: B023, PLW0108
            store.delete(name)
        report(where, f"put_new of a {what}", times["put"], times["plain put"], amount, unit)
        report(where, f"read of a {what}", times["get"], times["plain get"], amount, unit)
    with ThreadPoolExecutor(8) as pool:
        names = [f"index/{number:06d}.parquet" for number in range(arguments.objects)]
        list(pool.map(lambda name: store.put(name, b"x"), names))
    listed: list[float] = []
    baseline: list[float] = []
    for _ in range(arguments.rounds):
        listed.append(seconds(lambda: list(store.entries("index"))))
        if client is not None:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=BUCKET, Prefix=f"{prefix}/index/"
            )
            baseline.append(seconds(lambda: [page["Contents"] for page in pages]))  # noqa: B023
    what = f"listing of {arguments.objects} objects"
    report(where, what, listed, baseline, arguments.objects, "objects")


@contextmanager
def using(server: S3Server) -> Iterator[Any]:
    """A plain client; inside the context the environment names the server."""
    before = dict(os.environ)
    os.environ.update(server.environment())
    try:
        yield boto3.Session().client("s3", config=Config(s3={"addressing_style": "path"}))
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tar-mb", type=int, default=30, help="size of the shard, MB")
    parser.add_argument("--objects", type=int, default=5000, help="objects of a listing")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure("local folder", open_store(Path(folder) / "eyes"), None, arguments)
        with moto_running() as server, using(server) as client:
            measure("moto", open_store(new_location()), client, arguments)
        if (RGW_ROOT / "usr/bin/radosgw").is_file():
            with rgw_server(Path(folder) / "rgw") as server, using(server) as client:
                measure("Ceph RGW", open_store(new_location()), client, arguments)
        else:
            print("Ceph RGW is not installed here; `make rgw` installs it", file=sys.stderr)


if __name__ == "__main__":
    main()
