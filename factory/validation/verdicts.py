"""The verdicts of a validation on single samples, read back: which to keep, and why others not."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.loading import superseded_keys
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


def read_verdicts(dataset: Dataset, report: Report) -> tuple[pa.Table, bytes]:
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
    verdicts = _without(_parsed(raw, where), superseded)
    keys = _without(pa.table({"key": _keys_of(dataset, shards)}), superseded)["key"]
    if not verdicts["key"].equals(keys):
        raise FormatError(
            f"{where}: {len(verdicts)} verdicts that are not, in order of key, on the {len(keys)} "
            "newest samples of the validated shards; validate again"
        )
    return verdicts, raw


def own_verdicts(dataset: Dataset) -> pa.Table:
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
    return _parsed(raw, where)


def is_kept(keys: pa.ChunkedArray, verdicts: pa.Table) -> pa.ChunkedArray:
    """(n,) bool: which of some samples the verdicts keep; one without a verdict is not kept."""
    kept = verdicts["key"].filter(verdicts["keep"]).combine_chunks()
    return pc.is_in(keys, value_set=kept)


def _parsed(raw: bytes, where: str) -> pa.Table:
    with parsing_parquet(where):
        table = pq.read_table(pa.BufferReader(raw))
    try:
        return table.select(VERDICT_SCHEMA.names).cast(VERDICT_SCHEMA)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise FormatError(f"{where}: not verdicts on samples ({error})") from error


def _keys_of(dataset: Dataset, shards: Sequence[int]) -> pa.ChunkedArray:
    """The keys in some committed shards, sorted."""
    indexes = dataset.indexes()

    def keys(shard: int) -> pa.Array:
        name = index_name(shard, indexes[shard].generation)
        rows, _ = read_columns(dataset.store, name, indexes[shard].size, ["key"])
        return rows["key"].combine_chunks()

    with ThreadPoolExecutor(READERS) as pool:
        present = pa.chunked_array(list(pool.map(keys, shards)), pa.string())
    return present.take(pc.sort_indices(present))


def _without(rows: pa.Table, keys: pa.Array | None) -> pa.Table:
    return rows if keys is None else rows.filter(pc.invert(pc.is_in(rows["key"], keys)))
