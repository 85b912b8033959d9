"""Damage planted in a dataset, one kind at a time, through its store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.names import INDEX_PATTERN, index_name, plan_name, tar_name, version_of
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.ingestion.shards import expected_of
from factory.store.base import Store
from factory.store.open import open_store
from factory.store.parquet import parquet_bytes
from factory.upkeep.verify import (
    problems_of,
    verify_reports_and_releases,
    verify_task,
)
from schemas.index import METADATA_KEY
from schemas.problem import Problem
from support import fakes

OPTIONS = UnityEyesOptions()
BAD = (2, 7)
"""inputs of `write_inputs` that are no pictures, one in each shard of four"""


def write_inputs(folder: Path) -> None:
    """Eight inputs, of which two are malformed."""
    for number in range(1, 9):
        image = b"no picture" if number in BAD else None
        fakes.write_pair(folder, str(number), image=image, seed=number)


def copied(dataset: Dataset, location: str | Path) -> Dataset:
    """The same dataset at another place, in any store."""
    target = open_store(location)
    for entry in dataset.store.walk():
        target.put(entry.name, dataset.store.read(entry.name), durable=False)
    return Dataset.open(location)


def content(dataset: Dataset, *without: str) -> dict[str | int, Any]:
    """Every object of a dataset by name, but for those of some folders, and every committed shard
    as readers see it."""
    files = {
        entry.name: dataset.store.read(entry.name)
        for entry in dataset.store.walk()
        if not entry.name.startswith((*(without or ("runs/",)), "shards/", "index/", "rejected/"))
    }
    return files | fakes.committed_shards(dataset)


def objects(dataset: Dataset) -> dict[str, bytes]:
    """Every object of a dataset by name."""
    return {entry.name: dataset.store.read(entry.name) for entry in dataset.store.walk()}


def verified(
    dataset: Dataset, parent: Dataset | None = None, shards: list[int] | None = None
) -> list[Problem]:
    """What an integrity check finds."""
    numbers = dataset.committed() if shards is None else shards
    problems = problems_of(collect(run_here(verify_task(dataset, parent), numbers)))
    return [*problems, *verify_reports_and_releases(dataset, problems)]


def put_shard(dataset: Dataset, other: Dataset, shard: int) -> None:
    """Put another dataset's shard in the place of one: its index, and the tar that it names."""
    for name in (fakes.tar_of(other, shard), index_name(shard)):
        dataset.store.put(name, other.store.read(name))


def as_format_1(dataset: Dataset) -> Dataset:
    """The same dataset as an earlier program wrote it: fixed names, no generations."""
    for shard in dataset.committed():
        rows, facts = dataset.index_and_facts(shard)
        assert facts.generation == 1
        files = {tar_name(facts): f"shards/{shard:06d}.tar"}
        if facts.rejects is not None:
            files[facts.rejects] = f"rejected/{shard:06d}.parquet"
        for new, old in files.items():
            dataset.store.put_new(old, dataset.store.read(new))
            dataset.store.delete(new)
        unknown = {"generation", "tar", "rejects"}
        content = facts.model_dump(mode="json", exclude=unknown) | {"format_version": 1}
        metadata = {METADATA_KEY: json.dumps(content).encode()}
        dataset.store.put(index_name(shard), parquet_bytes(rows.replace_schema_metadata(metadata)))
    card = json.loads(dataset.card.to_json()) | {"format_version": 1}
    dataset.store.put("dataset.json", json.dumps(card).encode())
    return Dataset.open(dataset.location)


def remove_shard(dataset: Dataset, shard: int) -> None:
    """Remove every file of a shard, as nobody of ours would."""
    for entry in list(dataset.store.walk()):
        match = INDEX_PATTERN.fullmatch(entry.name)
        version = version_of(entry.name)
        if shard in (int(match[1]) if match else None, version.shard if version else None):
            dataset.store.delete(entry.name)


def flipped(raw: bytes, position: int) -> bytes:
    """One bit changed."""
    changed = bytearray(raw)
    changed[position] ^= 0x10
    return bytes(changed)


def changed(name_of: Callable[[Store, int], str], change: Callable[[bytes], bytes]):
    """A plant that changes an object's bytes."""

    def plant(store: Store, shard: int) -> None:
        name = name_of(store, shard)
        store.put(name, change(store.read(name)))

    return plant


def missing(name_of: Callable[[Store, int], str]):
    """A plant that removes an object."""

    def plant(store: Store, shard: int) -> None:
        store.delete(name_of(store, shard))

    return plant


def _index_of(store: Store, shard: int) -> str:
    return index_name(shard)


def _plan_of(store: Store, shard: int) -> str:
    return plan_name(shard)


def in_label(raw: bytes) -> bytes:
    """A digit of the first label changed: every image still decodes."""
    position = raw.index(b'"eye_width_px":') + len(b'"eye_width_px":')
    return (
        flipped(raw, position)
        if raw[position] != ord("9")
        else raw[:position] + b"8" + raw[position + 1 :]
    )


def with_rows(raw: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """An index that is a good Parquet file with its facts, and with other rows."""
    table = pq.read_table(pa.BufferReader(raw))
    return parquet_bytes(change(table).replace_schema_metadata(table.schema.metadata))


def with_column(raw: bytes, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """An index with other numbers in one column."""

    def other(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        values = pa.array(change(table[name].to_numpy()), table.schema.field(name).type)
        return table.set_column(index, table.schema.field(name), values)

    return with_rows(raw, other)


DAMAGE = {
    "a truncated tar": (changed(fakes.tar_of, lambda raw: raw[:3000]), "tar"),
    "an empty tar": (changed(fakes.tar_of, lambda raw: b""), "tar"),
    "a bit flipped in an image": (changed(fakes.tar_of, lambda raw: flipped(raw, 900)), "tar"),
    "a digit changed in a label": (changed(fakes.tar_of, in_label), "tar"),
    "a bit flipped in the padding": (changed(fakes.tar_of, lambda raw: flipped(raw, -1)), "tar"),
    "a missing tar": (missing(fakes.tar_of), "tar"),
    "a truncated index": (changed(_index_of, lambda raw: raw[:-100]), "index"),
    "an index without its end": (changed(_index_of, lambda raw: raw[:-1]), "index"),
    "an empty index": (changed(_index_of, lambda raw: b""), "index"),
    "an index that is no Parquet": (changed(_index_of, lambda raw: b"x" * len(raw)), "index"),
    "an index with a flipped footer": (
        changed(_index_of, lambda raw: flipped(raw, len(raw) - 7)),
        "index",
    ),
    "an index with another label": (
        changed(_index_of, lambda raw: with_column(raw, "gaze_yaw_rad", lambda v: v + 0.01)),
        "rows",
    ),
    "an index with other places": (
        changed(_index_of, lambda raw: with_column(raw, "png_offset", lambda v: v + 512)),
        "rows",
    ),
    "missing rejects": (missing(fakes.rejects_of), "rejects"),
    "truncated rejects": (changed(fakes.rejects_of, lambda raw: raw[: len(raw) // 2]), "rejects"),
    "rejects of nothing": (
        changed(fakes.rejects_of, lambda raw: with_rows(raw, lambda table: table.slice(1))),
        "rejects",
    ),
    "a reject twice": (
        changed(
            fakes.rejects_of,
            lambda raw: with_rows(raw, lambda table: pa.concat_tables([table] * 2)),
        ),
        "rejects",
    ),
}
"""name to (plant, kind of the problem that a check finds); all can be made again from the inputs"""
PLAN_DAMAGE = {
    "a missing plan": missing(_plan_of),
    "a truncated plan": changed(_plan_of, lambda raw: raw[:50]),
}


def check_rejects_reconcile(dataset: Dataset) -> None:
    """Every planned input is a sample or a recorded reject, and the index counts them so."""
    for shard in dataset.committed():
        facts, keys = dataset.facts(shard), dataset.index(shard)["key"].to_pylist()
        rejects = dataset.rejects(shard).to_pylist()
        expected = expected_of(dataset.plan(shard))
        assert sorted([*keys, *(row["key"] for row in rejects)]) == sorted(expected.keys)
        kinds = [row["kind"] for row in rejects]
        assert facts.num_planned == facts.num_samples + facts.num_filtered + facts.num_rejected
        assert (facts.num_samples, facts.num_rejected) == (len(keys), kinds.count("reject"))
        assert facts.num_filtered == kinds.count("filtered")
