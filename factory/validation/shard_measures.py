"""Measurements of a refined dataset, shard by shard, stored beside its index.

`measures/<how>/NNNNNN.parquet` holds a row for every sample of a shard, where `how` is the digest
of all that decides a measurement. A file names the bytes that were measured, so the work that is
left is "committed shards less those measured", and validating again measures only new shards.
Statistics are computed from the merged table of single measurements, so they do not depend on how
the samples are divided into shards.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import compress

import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.loading import superseded_keys, without_keys
from factory.dataset.shard_tasks import MakeShards, MakeTask
from factory.store.base import READERS
from factory.store.parquet import parquet_bytes, parsing_parquet, read_parquet
from factory.validation.pairs import parent_images
from factory.validation.protocols import Measurer, Witnesses
from schemas.base import FormatError
from schemas.measures import METADATA_KEY, MeasuredShard
from schemas.outcome import Outcome

log = logging.getLogger(__name__)
FOLDER = "measures"


def measures_name(how: str, shard: int) -> str:
    """The name of the file with a shard's measurements."""
    return f"{FOLDER}/{how[:16]}/{shard:06d}.parquet"


def measured_of(refined: Dataset, parent: Dataset, shard: int) -> MeasuredShard:
    """The bytes that a measurement of a shard would be made from now."""
    return MeasuredShard(
        refined=refined.facts(shard).tar_sha256, parent=parent.facts(shard).tar_sha256
    )


def not_measured(
    refined: Dataset, parent: Dataset, shards: Sequence[int], witnesses: Witnesses
) -> list[int]:
    """Which of the shards have no measurements, or only those of other bytes."""
    how = witnesses.digest()

    def is_missing(shard: int) -> bool:
        try:
            measured = _measured_bytes(refined, measures_name(how, shard))
        except (FileNotFoundError, FormatError):  # a damaged one is measured again
            return True
        return measured != measured_of(refined, parent, shard)

    with ThreadPoolExecutor(READERS) as pool:
        return list(compress(shards, pool.map(is_missing, shards)))


def read_measures(dataset: Dataset, shards: Iterable[int], witnesses: Witnesses) -> pa.Table:
    """The measurements of the samples of some shards, in order of key, with derived ones.

    Samples that others of these shards supersede are left out: of an input that was rewritten only
    the newest sample counts.

    Raises:
        FormatError: a file is damaged.
    """
    numbers = list(shards)
    how = witnesses.digest()

    def rows(shard: int) -> pa.Table:
        return read_parquet(dataset.store, measures_name(how, shard))[0]

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(rows, numbers))
    # Columns that a table was written without, by an earlier version, are null.
    measures = pa.concat_tables(
        [witnesses.schema.empty_table(), *tables], promote_options="default"
    )
    return witnesses.with_derived(without_keys(measures, superseded_keys(dataset, numbers)))


def _measured_bytes(dataset: Dataset, name: str) -> MeasuredShard:
    """The bytes that a file of measurements was made from, out of its Parquet metadata."""
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
        measured = measured_of(self.refined, self.parent, shard)
        labels, refined = self.refined.index(shard), self.refined.images(shard)
        parent = parent_images(self.parent, labels["key"].to_pylist())
        rows = self.measurer(labels, parent, refined)
        content = rows.replace_schema_metadata({METADATA_KEY: measured.to_json()})
        # Not exclusively: another run that measures the same bytes writes the same content.
        witnesses = self.measurer.witnesses
        name = measures_name(witnesses.digest(), shard)
        self.refined.store.put(name, parquet_bytes(content, list(witnesses.repeated)))
        return Outcome(shard=shard, num_samples=len(rows), seconds=time.perf_counter() - started)


def measure_new_shards(
    refined: Dataset,
    parent: Dataset,
    shards: Sequence[int],
    witnesses: Witnesses,
    what: str,
    make_shards: MakeShards,
) -> None:
    """Measure those of the shards that are not measured yet.

    Args:
        what: for the progress bar, e.g. `validate`.
    """
    missing = not_measured(refined, parent, shards, witnesses)
    log.info("%d of %d shards to measure", len(missing), len(shards))
    num_samples = sum(facts.num_samples for facts in refined.all_facts(missing))
    make_shards(what, measure_task(refined, parent, witnesses), missing, num_samples)


def measure_task(refined: Dataset, parent: Dataset, witnesses: Witnesses) -> MakeTask:
    """What a worker needs to measure shards."""
    return partial(_shard_measurer, refined, parent, witnesses)


def _shard_measurer(refined: Dataset, parent: Dataset, witnesses: Witnesses) -> ShardMeasurer:
    return ShardMeasurer(refined, parent, witnesses.measurer())
