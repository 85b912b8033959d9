"""Damage planted in a dataset, one kind at a time, through its store."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import (
    Dataset,
    index_name,
    plan_name,
    rejects_name,
    tar_name,
)
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.store.base import Store
from factory.store.open import open_store
from factory.store.parquet import parquet_bytes
from factory.upkeep.verify import (
    problems_of,
    shards_to_verify,
    verify_reports_and_releases,
    verify_task,
)
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


def content(dataset: Dataset, *without: str) -> dict[str, bytes]:
    """Every object of a dataset by name, but for those of some folders."""
    return {
        entry.name: dataset.store.read(entry.name)
        for entry in dataset.store.walk()
        if not entry.name.startswith(without or ("runs/",))
    }


def verified(
    dataset: Dataset, parent: Dataset | None = None, shards: list[int] | None = None
) -> list[Problem]:
    """What an integrity check finds."""
    numbers = shards_to_verify(dataset) if shards is None else shards
    found = problems_of(collect(run_here(verify_task(dataset, parent), numbers)))
    damaged = {problem.shard for problem in found if problem.shard is not None}
    return [*found, *verify_reports_and_releases(dataset, damaged)]


def flipped(raw: bytes, place: int) -> bytes:
    """One bit changed."""
    changed = bytearray(raw)
    changed[place] ^= 0x10
    return bytes(changed)


def changed(name_of: Callable[[int], str], change: Callable[[bytes], bytes]):
    """A plant that changes an object's bytes."""

    def plant(store: Store, shard: int) -> None:
        store.put(name_of(shard), change(store.read(name_of(shard))))

    return plant


def missing(name_of: Callable[[int], str]):
    """A plant that removes an object."""

    def plant(store: Store, shard: int) -> None:
        store.delete(name_of(shard))

    return plant


def in_label(raw: bytes) -> bytes:
    """A digit of the first label changed: every image still decodes."""
    place = raw.index(b'"eye_width_px":') + len(b'"eye_width_px":')
    return flipped(raw, place) if raw[place] != ord("9") else raw[:place] + b"8" + raw[place + 1 :]


def with_rows(raw: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """An index that is a good Parquet file with its facts, and with other rows."""
    table = pq.read_table(pa.BufferReader(raw))
    return parquet_bytes(change(table).replace_schema_metadata(table.schema.metadata))


def with_column(raw: bytes, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """An index with other numbers in one column."""

    def other(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        values = pa.array(change(table[name].to_numpy()), table.schema.field(name).type)
        return table.set_column(place, table.schema.field(name), values)

    return with_rows(raw, other)


DAMAGE = {
    "a truncated tar": (changed(tar_name, lambda raw: raw[:3000]), "tar"),
    "an empty tar": (changed(tar_name, lambda raw: b""), "tar"),
    "a bit flipped in an image": (changed(tar_name, lambda raw: flipped(raw, 900)), "tar"),
    "a digit changed in a label": (changed(tar_name, in_label), "tar"),
    "a bit flipped in the padding": (changed(tar_name, lambda raw: flipped(raw, -1)), "tar"),
    "a missing tar": (missing(tar_name), "tar"),
    "a truncated index": (changed(index_name, lambda raw: raw[:-100]), "index"),
    "an index without its end": (changed(index_name, lambda raw: raw[:-1]), "index"),
    "an empty index": (changed(index_name, lambda raw: b""), "index"),
    "an index that is no Parquet": (changed(index_name, lambda raw: b"x" * len(raw)), "index"),
    "an index with a flipped footer": (
        changed(index_name, lambda raw: flipped(raw, len(raw) - 300)),
        "index",
    ),
    "an index with another label": (
        changed(index_name, lambda raw: with_column(raw, "gaze_yaw_rad", lambda v: v + 0.01)),
        "rows",
    ),
    "an index with other places": (
        changed(index_name, lambda raw: with_column(raw, "png_offset", lambda v: v + 512)),
        "rows",
    ),
    "missing rejects": (missing(rejects_name), "rejects"),
    "truncated rejects": (changed(rejects_name, lambda raw: raw[: len(raw) // 2]), "rejects"),
    "rejects of nothing": (
        changed(rejects_name, lambda raw: with_rows(raw, lambda table: table.slice(1))),
        "rejects",
    ),
    "a reject twice": (
        changed(
            rejects_name, lambda raw: with_rows(raw, lambda table: pa.concat_tables([table] * 2))
        ),
        "rejects",
    ),
}
"""name to (plant, kind of the problem that a check finds); all can be made again from the inputs"""
PLAN_DAMAGE = {
    "a missing plan": missing(plan_name),
    "a truncated plan": changed(plan_name, lambda raw: raw[:50]),
}
