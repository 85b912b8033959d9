"""Measurements of a refined dataset, shard by shard, kept beside its index.

`measures/<how>/NNNNNN.parquet` holds a row for every sample of a shard, where `how` is the digest
of all that decides a measurement. A file says which bytes it speaks of, so what is left to do is
"committed shards less those measured", and validating again measures what is new. Measurements are
never summed before they are merged, so every statistic is that of one table, however it was cut.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import MakeTask
from factory.store.base import READERS
from factory.store.parquet import parquet_bytes, parsing_parquet
from factory.validation.protocols import Measurer, Witnesses
from schemas.base import FormatError
from schemas.measures import METADATA_KEY, MeasuredShard
from schemas.outcome import Outcome

FOLDER = "measures"


def measures_name(how: str, shard: int) -> str:
    """Where a shard's measurements lie."""
    return f"{FOLDER}/{how[:16]}/{shard:06d}.parquet"


def measured_of(refined: Dataset, parent: Dataset, shard: int) -> MeasuredShard:
    """The bytes that a measurement of a shard would speak of now."""
    return MeasuredShard(
        refined=refined.facts(shard).tar_sha256, parent=parent.facts(shard).tar_sha256
    )


def not_measured(
    refined: Dataset, parent: Dataset, shards: Sequence[int], witnesses: Witnesses
) -> list[int]:
    """Which of the shards have no measurements, or those of other bytes."""
    how = witnesses.digest()

    def is_missing(shard: int) -> bool:
        name = measures_name(how, shard)
        if refined.store.size(name) is None:
            return True
        try:
            return _speaks_of(refined, name) != measured_of(refined, parent, shard)
        except FormatError:  # damaged: measured again
            return True

    with ThreadPoolExecutor(READERS) as pool:
        missing = list(pool.map(is_missing, shards))
    return [shard for shard, is_so in zip(shards, missing, strict=True) if is_so]


def read_measures(dataset: Dataset, shards: Iterable[int], witnesses: Witnesses) -> pa.Table:
    """The measurements of all samples of some shards, in order of key, with derived ones.

    Raises:
        FormatError: a file is damaged.
    """
    how = witnesses.digest()

    def rows(shard: int) -> pa.Table:
        name = measures_name(how, shard)
        with parsing_parquet(f"{dataset.location}/{name}"):
            return pq.read_table(pa.BufferReader(dataset.store.read(name)))

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(rows, shards))
    parts = (table.replace_schema_metadata() for table in tables)
    return witnesses.with_derived(pa.concat_tables([witnesses.schema.empty_table(), *parts]))


def _speaks_of(dataset: Dataset, name: str) -> MeasuredShard:
    """Which bytes a file of measurements speaks of: its end says so."""
    where = f"{dataset.location}/{name}"
    footer = dataset.footer(name)
    with parsing_parquet(where):
        raw = (pq.read_metadata(pa.BufferReader(footer)).metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise FormatError(f"{where}: not a file of measurements")
    return MeasuredShard.from_json(raw, where=where)


@dataclass
class ShardMeasurer:
    """Measures one shard at a time."""

    refined: Dataset
    parent: Dataset
    measurer: Measurer

    def __call__(self, shard: int) -> Outcome:
        started = time.perf_counter()
        speaks_of = measured_of(self.refined, self.parent, shard)
        before, after = self.parent.images(shard), self.refined.images(shard)
        rows = self.measurer(self.refined.index(shard), before, after)
        content = rows.replace_schema_metadata({METADATA_KEY: speaks_of.to_json()})
        # Not exclusively: whoever measures the same bytes in the same way writes the same.
        witnesses = self.measurer.witnesses
        name = measures_name(witnesses.digest(), shard)
        self.refined.store.put(name, parquet_bytes(content, list(witnesses.repeated)))
        return Outcome(shard=shard, num_samples=len(rows), seconds=time.perf_counter() - started)


def measure_task(refined: Dataset, parent: Dataset, witnesses: Witnesses) -> MakeTask:
    """What a worker needs to measure shards."""
    return partial(_make, refined, parent, witnesses)


def _make(refined: Dataset, parent: Dataset, witnesses: Witnesses) -> ShardMeasurer:
    return ShardMeasurer(refined, parent, witnesses.measurer())
