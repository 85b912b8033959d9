"""The verdicts of a validation on single samples, read back: which to keep, and why others not."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.loading import superseded_keys, without_keys
from factory.dataset.names import index_name
from factory.dataset.tar import sha256
from factory.store.base import READERS
from factory.store.parquet import parsing_parquet, read_columns
from schemas.base import FormatError
from schemas.report import Report
from schemas.verdicts import VERDICT_SCHEMA


def report_name(report_id: str) -> str:
    """The name of a report's numbers in its dataset."""
    return f"reports/{report_id}/report.json"


def verdicts_name(report_id: str) -> str:
    """The name of a report's verdicts in its dataset."""
    return f"reports/{report_id}/verdicts.parquet"


def has_verdicts(dataset: Dataset, report_id: str) -> bool:
    """Whether a report judged single samples; older ones did not."""
    return dataset.store.size(verdicts_name(report_id)) is not None


def read_verdicts(dataset: Dataset, report: Report) -> tuple["Verdicts", bytes]:
    """The verdicts of a report on the dataset that it validated, and the file's bytes.

    Reports that were made before superseded samples were left out have verdicts on them too; these
    are left out here.

    Raises:
        FileNotFoundError: the report has none.
        FormatError: they are not on exactly the samples of the validated shards, those left out
            that others of these shards supersede.
    """
    raw = dataset.store.read(verdicts_name(report.id))
    where = f"{dataset.location}/{verdicts_name(report.id)}"
    if sha256(raw) != report.verdicts.sha256:
        raise FormatError(f"{where} is not what its report names; validate again")
    shards = [validated.shard for validated in report.shards]
    superseded = superseded_keys(dataset, shards)
    verdicts = Verdicts(without_keys(_parsed(raw, where), superseded), where)
    num_samples, num_alike = 0, 0
    for shard, keys in _keys_of(dataset, shards):
        newest = without_keys(pa.table({"key": keys}), superseded)["key"]
        num_samples += len(newest)
        num_alike += len(newest) if verdicts.on(shard)["key"].equals(newest) else 0
    if not len(verdicts) == num_samples == num_alike:
        raise FormatError(
            f"{where}: {len(verdicts)} verdicts that are not, in order of key, on the "
            f"{num_samples} newest samples of the validated shards; validate again"
        )
    return verdicts, raw


def stored_verdicts(dataset: Dataset, report_id: str) -> "Verdicts":
    """The verdicts in a dataset under a report's id, whatever the report says of them.

    Raises:
        FileNotFoundError: there are none.
        FormatError: they cannot be read.
    """
    name = verdicts_name(report_id)
    where = f"{dataset.location}/{name}"
    return Verdicts(_parsed(dataset.store.read(name), where), where)


def own_verdicts(dataset: Dataset) -> "Verdicts":
    """The verdicts by which a filtered dataset was made, out of its own copy of them.

    Raises:
        FormatError: the copy is missing, or not what the card names.
    """
    kept = dataset.card.kept
    assert kept is not None, dataset.location
    name = verdicts_name(kept.report)
    where = f"{dataset.location}/{name}"
    try:
        raw = dataset.store.read(name)
    except FileNotFoundError as error:
        raise FormatError(f"{where} is missing; publish --drop-failed puts it back") from error
    if sha256(raw) != kept.verdicts:
        raise FormatError(
            f"{where} is damaged: sha256 {sha256(raw)[:12]}…, the card says {kept.verdicts[:12]}…; "
            "remove it, and publish --drop-failed puts it back"
        )
    return Verdicts(_parsed(raw, where), where)


class Verdicts:
    """The verdicts on the samples of some shards, which are found by shard."""

    def __init__(self, table: pa.Table, where: str):
        """
        Args:
            table: of `VERDICT_SCHEMA`, in order of key.
            where: its place, for messages.

        Raises:
            FormatError: something is no key, or the verdicts on a shard are not together.
        """
        self.table = table
        self._rows = _rows_of_shards(table["key"], where)

    def __len__(self) -> int:
        return len(self.table)

    def on(self, shard: int) -> pa.Table:
        """The verdicts on the samples of one shard, in order of key."""
        rows = self._rows.get(shard, range(0))
        return self.table.slice(rows.start, len(rows))

    def is_kept(self, keys: pa.ChunkedArray, shard: int) -> pa.ChunkedArray:
        """(n,) bool: which of some samples of a shard are kept; one without a verdict is not."""
        verdicts = self.on(shard)
        kept = verdicts["key"].filter(verdicts["keep"]).combine_chunks()
        return pc.is_in(keys, value_set=kept)


def _rows_of_shards(keys: pa.ChunkedArray, where: str) -> dict[int, range]:
    """Which rows of a table are of which shard."""
    try:
        numbers = pc.utf8_slice_codeunits(keys, 0, -len("-000000")).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise FormatError(f"{where}: not keys of samples ({error})") from error
    shards = np.asarray(numbers)
    starts = np.flatnonzero(np.diff(shards, prepend=-1)).tolist()
    ends = [*starts, len(shards)][1:]
    rows = dict(zip(shards[starts].tolist(), map(range, starts, ends), strict=True))
    if len(rows) != len(starts):
        raise FormatError(f"{where}: not in order of key")
    return rows


def _parsed(raw: bytes, where: str) -> pa.Table:
    with parsing_parquet(where):
        table = pq.read_table(pa.BufferReader(raw))
    try:
        return table.select(VERDICT_SCHEMA.names).cast(VERDICT_SCHEMA)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise FormatError(f"{where}: not verdicts on samples ({error})") from error


def _keys_of(dataset: Dataset, shards: Sequence[int]) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """The keys in each of some committed shards, in order."""
    indexes = dataset.indexes()

    def keys(shard: int) -> pa.ChunkedArray:
        name = index_name(shard, indexes[shard].generation)
        rows, _ = read_columns(dataset.store, name, indexes[shard].size, ["key"])
        return rows["key"]

    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(shards, pool.map(keys, shards), strict=True)
