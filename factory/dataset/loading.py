"""All images or all index rows of a dataset in one array or table, without superseded samples."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.images.png import Pixels
from factory.store.base import READERS


def load_images(
    dataset: Dataset, shards: Iterable[int] | None = None, part: tuple[int, int] = (0, 1)
) -> Pixels:
    """All images of a dataset (or of some shards) in one array, in order of key.

    Samples that others of these shards supersede are left out, as in `load_index`.

    Args:
        shards: None for all.
        part: (i, n) for the i-th of n parts of equal size; shards that hold none of it are not
            read.

    Returns:
        (n, height, width[, 3]) uint8 or uint16.

    Raises:
        ValueError: there are no images, or none for this part.
    """
    numbers = dataset.committed() if shards is None else list(shards)
    old = superseded_keys(dataset, numbers)
    is_newest: dict[int, np.ndarray] = {}
    if old is not None:
        for shard in numbers:
            keys = dataset.index(shard, ["key"])["key"]
            is_newest[shard] = ~np.asarray(pc.is_in(keys, old), bool)
    counts = [
        int(is_newest[shard].sum()) if shard in is_newest else dataset.facts(shard).num_samples
        for shard in numbers
    ]
    mine = rows_of_part(sum(counts), part)
    images: list[Pixels] = [dataset.no_images()]
    start = 0
    for shard, count in zip(numbers, counts, strict=True):
        rows = slice(max(0, mine.start - start), max(0, mine.stop - start))
        start += count
        if rows.start < min(rows.stop, count):
            of_shard = dataset.images(shard)
            newest = of_shard[is_newest[shard]] if shard in is_newest else of_shard
            images.append(newest[rows])
    if mine.start == mine.stop:
        raise ValueError(
            f"{dataset.location} holds {sum(counts)} images, each of {part[1]} workers needs one"
            if part[1] > 1
            else f"{dataset.location} holds no images yet"
        )
    return cast("Pixels", np.concatenate(images))


def rows_of_part(count: int, part: tuple[int, int]) -> slice:
    """The rows of part (i, n): the i-th of n parts of equal size of `count` rows."""
    index, num_parts = part
    return slice(count * index // num_parts, count * (index + 1) // num_parts)


def load_index(
    dataset: Dataset, columns: list[str] | None = None, shards: Iterable[int] | None = None
) -> pa.Table:
    """The rows of all shards (or of some) in one table, in order of key.

    Samples that others of these shards supersede are left out, so that each input has one row.

    Args:
        columns: None for all.
        shards: None for all.
    """
    numbers = dataset.committed() if shards is None else list(shards)
    needed = None if columns is None else list(dict.fromkeys([*columns, *_VERSION]))
    rows = _rows(dataset, needed, numbers)
    rows = without_keys(rows, _superseded(rows))
    return rows if columns is None else rows.select(columns)


def without_keys(rows: pa.Table, keys: pa.Array | None) -> pa.Table:
    """Rows with other keys than some; all where there are none, as of `superseded_keys`."""
    return rows if keys is None else rows.filter(pc.invert(pc.is_in(rows["key"], keys)))


def superseded_keys(dataset: Dataset, shards: Iterable[int]) -> pa.Array | None:
    """Keys of the samples of some shards that newer samples of these shards supersede, if any.

    Few shards are in memory at once.
    """
    numbers = list(shards)
    with ThreadPoolExecutor(READERS) as pool:
        supersedes_none = list(pool.map(dataset.supersedes_none, numbers))
    with_newer = [s for s, none in zip(numbers, supersedes_none, strict=True) if not none]
    rewritten = {
        id for s in with_newer for id in _rewritten(dataset.index(s, _VERSION)).to_pylist()
    }
    if not rewritten:
        return None
    ids = pa.array(sorted(rewritten), pa.string())
    versions = (dataset.index(shard, _VERSION) for shard in numbers)
    return _older([rows.filter(pc.is_in(rows["source_id"], ids)) for rows in versions])


_VERSION = ["key", "source_id", "supersedes"]


def _rows(dataset: Dataset, columns: list[str] | None, shards: Iterable[int]) -> pa.Table:
    empty = dataset.sample_kind.index_schema(dataset.card.labelled).empty_table()
    tables = [dataset.index(shard, columns).replace_schema_metadata() for shard in shards]
    return pa.concat_tables([empty.select(columns) if columns else empty, *tables])


def _rewritten(rows: pa.Table) -> pa.Array:
    """Inputs of which there is a sample that supersedes another one."""
    return rows["source_id"].filter(pc.is_valid(rows["supersedes"])).unique()


def _superseded(rows: pa.Table) -> pa.Array | None:
    """Keys of all rows of a rewritten input but its newest one, if any."""
    rewritten = _rewritten(rows)
    if not len(rewritten):
        return None
    return _older([rows.select(_VERSION).filter(pc.is_in(rows["source_id"], rewritten))])


def _older(versions: Iterable[pa.Table]) -> pa.Array | None:
    """Keys of all rows but the newest of each input, if any.

    Rows are compared by input, because `supersedes` names only the version before, which may not
    be among the rows.
    """
    newest: dict[str, str] = {}
    old = []
    for row in (row for table in versions for row in table.to_pylist()):
        other = newest.setdefault(row["source_id"], row["key"])
        if other != row["key"]:
            before, newest[row["source_id"]] = sorted((other, row["key"]), key=_age)
            old.append(before)
    return pa.array(old, pa.string()) if old else None


def _age(key: str) -> tuple[int, str]:
    """A sort key that puts older keys first, also past the millionth shard."""
    return len(key), key
