"""How fast releases are read, beside webdataset and whole tars, and in how much memory.

    python benchmarks/bench_reading.py [--shards 4] [--shard-size 16384] [--rounds 5]
        [--workers 0 2] [--rows 1e5 1e6 1e7]

Three questions, each printed as a line of JSON:

- samples/s of `ReleaseLoader` and of webdataset, which take turns. Both shuffle, decode images and
  labels, and make batches of the same tensors, in as many workers. Each round opens the release
  anew, so that the digests of all tars are computed in each.
- single samples at random, beside reading the whole tar that holds the sample.
- memory by the number of samples: parts of an epoch at twenty places, single samples at random, and
  a selection by a label. The tars of this last release are small, its index is not.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

from bench_release import SHARD_SIZE, fake_rows, of_shard
from own_process import in_own_process, peak_mib

from factory.dataset.columns import with_values
from factory.dataset.dataset import Dataset
from factory.dataset.kinds import repeated_columns
from factory.dataset.tar import PackedSample, pack, sha256, unpack
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.reading.release import Release
from factory.reading.sample import Sample
from factory.release.content import GROUP_ROWS
from factory.store.local import LocalStore
from factory.store.parquet import parquet_bytes
from schemas.release import IndexPart, ReleasedShard, ReleaseManifest
from support import fakes
from support.report_example import example_report

NAME = "r1"
BATCH = 64
ROWS_OF_PART = 8 * SHARD_SIZE
PLACES = 20
READ_AT_PLACE = 2000
SINGLE = 5000


def eyes(folder: Path, num: int = 64) -> tuple[list[PackedSample], pa.Table, Dataset]:
    """Some samples as they are in tars, their index rows and the dataset of them."""
    write_renders(folder / "renders", EyeRenderer(height=240, width=320, seed=5).render(range(num)))
    options = UnityEyesOptions()
    dataset = fakes.ingest_here(folder / "renders", folder / "few", options, shard_size=num)
    return list(dataset.samples(0)), dataset.index(0), dataset


def renamed(sample: PackedSample, shard: int, row: int) -> PackedSample:
    """The same sample under another key."""
    key = f"{shard:06d}-{row:06d}"
    old = f'"key":"{sample.key}"'.encode()
    assert old in sample.json
    return PackedSample(key, sample.png, sample.json.replace(old, f'"key":"{key}"'.encode()))


def put_release(
    dataset_folder: Path,
    card: Any,
    tars: Iterator[tuple[bytes, int]],
    parts: Callable[[int], list[Any]],
) -> None:
    """Write a release: its tars, with the number of samples of each, and its index."""
    store = LocalStore(dataset_folder)
    shards = []
    for number, (tar, count) in enumerate(tars):
        name = f"shards/{number:06d}-1-{sha256(tar)[:16]}-00000000.tar"
        store.put(name, tar, durable=False)
        shards.append(
            ReleasedShard(
                shard=number,
                url=f"../../{name}",
                sha256=sha256(tar),
                size=len(tar),
                num_samples=count,
                split="train",
            )
        )
    total = sum(shard.num_samples for shard in shards)
    manifest = ReleaseManifest(
        release=NAME,
        dataset=card,
        report="0" * 64,
        report_id="20261130-000000-aaaa",
        gate="0" * 64,
        index_parts=tuple(parts(len(shards))),
        num_samples=total,
        splits={"train": total},
        shards=tuple(shards),
    )
    store.put(f"releases/{NAME}/manifest.json", manifest.to_json(), durable=False)


def make_full(folder: Path, num_shards: int, size: int) -> None:
    """A release of whole shards of eyes."""
    samples, rows, few = eyes(folder)
    dataset_folder, packed = folder / "set", []

    def tars() -> Iterator[tuple[bytes, int]]:
        for shard in range(num_shards):
            tar = pack(renamed(samples[i % len(samples)], shard, i) for i in range(size))
            packed.append(placed(rows, tar, shard))
            yield tar, size

    def parts(_: int) -> list[IndexPart]:
        index_parts = []
        for number, table in enumerate(packed):
            content = parquet_bytes(table, repeated_columns(few.sample_kind), GROUP_ROWS)
            url = f"index/{number:06d}.parquet"
            LocalStore(dataset_folder).put(f"releases/{NAME}/{url}", content, durable=False)
            index_parts.append(IndexPart(url=url, sha256=sha256(content), num_samples=len(table)))
        return index_parts

    put_release(dataset_folder, few.card, tars(), parts)


def placed(rows: pa.Table, tar: bytes, shard: int) -> pa.Table:
    """Index rows of the samples of a tar, of which `rows` are repeated."""
    samples = list(unpack(tar, where="bench"))
    table = rows.take([i % len(rows) for i in range(len(samples))])
    columns = {
        "key": pa.array([sample.key for sample in samples]),
        "shard": pa.array(np.full(len(samples), shard, np.int32)),
        "png_offset": pa.array([sample.png_offset for sample in samples], pa.int64()),
        "png_length": pa.array([len(sample.png) for sample in samples], pa.int64()),
        "json_offset": pa.array([sample.json_offset for sample in samples], pa.int64()),
        "json_length": pa.array([len(sample.json) for sample in samples], pa.int64()),
    }
    for name, values in columns.items():
        table = with_values(table, name, values)
    return table


def make_wide(folder: Path, num_rows: int) -> None:
    """A release of many rows, whose shards have one sample each that all of their rows name."""
    samples, rows, _ = eyes(folder)
    dataset_folder, num_shards = folder / "set", -(-num_rows // SHARD_SIZE)

    def tars() -> Iterator[tuple[bytes, int]]:
        for shard in range(num_shards):
            count = min(SHARD_SIZE, num_rows - shard * SHARD_SIZE)
            yield pack([renamed(samples[0], shard, 0)]), count

    one = placed(rows.slice(0, 1), pack([renamed(samples[0], 0, 0)]), 0)
    repeated = repeated_columns(Dataset.open(folder / "few").sample_kind)

    def parts(_: int) -> list[IndexPart]:
        index_parts: list[IndexPart] = []
        content, held = b"", 0
        for number, start in enumerate(range(0, num_rows, ROWS_OF_PART)):
            count = min(ROWS_OF_PART, num_rows - start)
            if count != held:
                table = of_shard(fake_rows(SHARD_SIZE), 0)
                table = pa.concat_tables([table] * 8).slice(0, count)
                for name in ("png_offset", "png_length", "json_offset", "json_length",
                             "png_sha256"):  # fmt: skip
                    value = pa.array([one[name][0].as_py()] * count, one[name].type)
                    table = with_values(table, name, value)
                content, held = parquet_bytes(table, repeated, GROUP_ROWS), count
                first = dataset_folder / "releases" / NAME / f"index-{count}.parquet"
                LocalStore(dataset_folder).put(
                    str(first.relative_to(dataset_folder)), content, durable=False
                )
            url = f"index/{number:06d}.parquet"
            target = dataset_folder / "releases" / NAME / url
            target.parent.mkdir(exist_ok=True)
            target.hardlink_to(first)  # all parts hold the same
            index_parts.append(IndexPart(url=url, sha256=sha256(content), num_samples=count))
        return index_parts

    put_release(dataset_folder, example_report().dataset, tars(), parts)


# --- samples a second -----------------------------------------------------------------------------


def image_and_gaze(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.image, np.asarray(sample.record["gaze"], np.float32)


def image_and_gaze_of(sample: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return sample["png"], np.asarray(sample["json"]["gaze"], np.float32)


def side_by_side(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Any, Any]:
    import torch

    images, gazes = zip(*pairs, strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(gazes))


def count(loader: Any) -> int:
    return sum(len(images) for images, _ in loader)


def read_ours(location: Path, workers: int) -> int:
    from factory.reading.loader import ReleaseLoader

    return count(
        ReleaseLoader(
            Release(location),
            BATCH,
            num_workers=workers,
            transform=image_and_gaze,
            collate=side_by_side,
        )
    )


def read_webdataset(location: Path, workers: int) -> int:
    import webdataset as wds
    from torch.utils.data import DataLoader

    manifest = orjson.loads((location / "manifest.json").read_bytes())
    urls = [str((location / shard["url"]).resolve()) for shard in manifest["shards"]]
    samples = (
        wds.WebDataset(urls, shardshuffle=100, workersplitter=wds.split_by_worker, seed=0)
        .shuffle(1000)
        .decode("l8")
        .map(image_and_gaze_of)
        .batched(BATCH, collation_fn=side_by_side)
    )
    return count(DataLoader(samples, batch_size=None, num_workers=workers))


def cpu_s() -> float:
    """CPU time of this process and of workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def speed(folder: Path, rounds: int, workers: list[int]) -> None:
    from timing import in_turn

    location = folder / "set" / "releases" / NAME
    readers = {"ours": read_ours, "webdataset": read_webdataset}
    for num in workers:
        of_cpu: dict[str, list[float]] = {name: [] for name in readers}

        def rate(name: str, num: int = num, of_cpu: dict[str, list[float]] = of_cpu) -> float:
            started, cpu = time.perf_counter(), cpu_s()
            samples = readers[name](location, num)
            of_cpu[name].append(samples / (cpu_s() - cpu))
            return samples / (time.perf_counter() - started)

        walls = in_turn({name: partial(rate, name) for name in readers}, rounds)
        for what, rates in (("second", walls), ("second of CPU", of_cpu)):
            ours, theirs = (rates[name][-rounds:] for name in readers)
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            say(
                bench=f"samples a {what}, {num} workers",
                ours=round(statistics.median(ours)),
                webdataset=round(statistics.median(theirs)),
                ratio=round(statistics.median(ratios), 2),
                ratios=[round(ratio, 2) for ratio in ratios],
            )


# --- single samples -------------------------------------------------------------------------------


def single(folder: Path, rounds: int) -> None:
    from timing import in_pairs

    location = folder / "set" / "releases" / NAME
    release = Release(location)
    shards = release.manifest.shards
    paths = [(location / shard.url).resolve() for shard in shards]
    numbers = np.random.default_rng(0).integers(len(release), size=1000).tolist()

    def ours() -> float:
        opened = Release(location)
        started = time.perf_counter()
        for number in numbers:
            opened[number]
        return (time.perf_counter() - started) / len(numbers)

    def whole_tars() -> float:
        some = numbers[:5]
        started = time.perf_counter()
        for number in some:
            shard, row = divmod(number, shards[0].num_samples)
            tar = paths[shard].read_bytes()
            next(islice(unpack(tar, where="bench"), row, None))
        return (time.perf_counter() - started) / len(some)

    pair = in_pairs(ours, whole_tars, rounds)
    say(
        bench="single samples at random",
        ms=round(pair.ours * 1000, 3),
        whole_tar_ms=round(pair.theirs * 1000, 1),
        times_as_fast=round(1 / pair.ratio),
    )


# --- memory ---------------------------------------------------------------------------------------


def memory(folder: Path) -> None:
    """Run in a process of its own: what reading takes beyond the imports."""
    location = folder / "set" / "releases" / NAME
    before = peak_mib()
    started = time.process_time()
    release = Release(location)
    opened = {"open_cpu_s": time.process_time() - started, "open_mib": peak_mib() - before}
    total = len(release)
    for start in np.linspace(0, total * 0.98, PLACES).astype(int).tolist():
        num_read = sum(1 for _ in islice(release.epoch(start=start), READ_AT_PLACE))
        assert num_read == min(READ_AT_PLACE, total - start)
    epoch = {"epoch_mib": peak_mib() - before}
    numbers = np.random.default_rng(0).integers(total, size=SINGLE).tolist()
    started = time.process_time()
    for number in numbers:
        release[number]
    singles = {
        "single_cpu_ms": (time.process_time() - started) / SINGLE * 1000,
        "single_mib": peak_mib() - before,
    }
    started = time.process_time()
    selected = len(Release(location, where="gaze_yaw_rad > 0.5"))
    where = {"where_cpu_s": time.process_time() - started, "where_mib": peak_mib() - before}
    assert 0 < selected < total
    print(json.dumps(opened | epoch | singles | where))


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rows", type=float, nargs="*", default=[1e5, 1e6, 1e7])
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of is not None:
        memory(given.memory_of)
        return
    with tempfile.TemporaryDirectory(prefix="bench-reading-") as text:
        make_full(Path(text), given.shards, given.shard_size)
        speed(Path(text), given.rounds, given.workers)
        single(Path(text), given.rounds)
    for num in map(int, given.rows):
        with tempfile.TemporaryDirectory(prefix="bench-reading-") as text:
            make_wide(Path(text), num)
            measured = in_own_process(__file__, "--memory-of", text)
            say(bench="memory", samples=num, **{k: round(v, 2) for k, v in measured.items()})


if __name__ == "__main__":
    main()
