"""Plans read into columns, as making a model of every input would take most of a planner's time."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.names import plan_name
from factory.store.base import READERS, Entry
from schemas.base import FORMAT_VERSION, FormatError
from schemas.dataset import ShardPlan, plan_json, plan_of_lines

PLANNED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("supersedes", pa.string()),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),
    ]
)
"""A planned input, with its shard and its place in the plan."""
HEAD_BYTES = 1 << 12
"""bytes that the beginning of a plan usually fits into, up to its first input"""
_LOCATION = b"location"
"""key in a table's metadata"""


_QUOTED = '[\\x00-\\x1f"\\\\]'
"""characters that JSON escapes"""


def plan_of_table(shard: int, split: str, source: str, location: str | None, inputs: Any) -> bytes:
    """What `plan_json` makes of the rows of an Arrow table, column by column where it can."""
    texts = [column for column in inputs.columns if pa.types.is_string(column.type)]
    if any(pc.any(pc.match_substring_regex(text, _QUOTED)).as_py() for text in texts):
        return plan_json(shard, split, source, location, inputs.to_pylist())
    fields = [
        _json_field(name, column)
        for name, column in zip(inputs.column_names, inputs.columns, strict=True)
    ]
    rows = pc.binary_join_element_wise(*fields, ",", null_handling="skip")
    lines = ",\n".join(pc.binary_join_element_wise("{", rows, "}", "").to_pylist())
    return plan_of_lines(shard, split, source, location, lines.encode())


def _json_field(name: str, column: Any) -> Any:
    """`"name":value` of every row; null where there is no value."""
    quote = '"' if pa.types.is_string(column.type) else ""
    values = column.cast(pa.string())
    return pc.binary_join_element_wise(f'"{name}":{quote}', values, quote, "")


def plan_columns(raw: bytes, shard: int, *, where: str) -> Any:
    """The inputs of a plan as an Arrow table of `PLANNED_SCHEMA`, see also `location_of`.

    Args:
        raw: the bytes of the file.
        where: its name, for the error message.

    Raises:
        FormatError: the file is not the plan of this shard, or is of a newer format.
    """
    try:
        content = orjson.loads(raw)
        rows = content.pop("inputs")
        head = ShardPlan.model_validate({**content, "inputs": ()})
        columns: dict[str, Any] = {
            name: [row.get(name) for row in rows] for name in PLANNED_SCHEMA.names[:5]
        }
        columns["shard"] = np.full(len(rows), shard, np.int32)
        columns["place"] = np.arange(len(rows), dtype=np.int32)
        table = pa.table(
            [pa.array(columns[field.name], field.type) for field in PLANNED_SCHEMA],
            schema=PLANNED_SCHEMA,
        )
        required = [field.name for field in PLANNED_SCHEMA if not field.nullable]
        if any(table[name].null_count for name in required):
            raise ValueError("a field is missing")
        if head.format_version > FORMAT_VERSION or (rows and pc.min(table["size"]).as_py() < 0):
            raise ValueError("it is of a newer format, or a size is negative")
        if head.shard != shard:
            raise ValueError(f"it says that it is of shard {head.shard}")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        ShardPlan.from_json(raw, where=where)  # says what is wrong with which input
        raise FormatError(f"{where}: not the plan of shard {shard} ({error})") from error
    where_from = {} if head.location is None else {_LOCATION: head.location.encode()}
    return table.replace_schema_metadata(where_from)


def location_of(table: Any) -> str | None:
    """Location of the inputs of a `plan_columns` table when they were planned; None if unknown."""
    location = (table.schema.metadata or {}).get(_LOCATION)
    return None if location is None else location.decode()


def read_locations(dataset: Dataset, shards: Iterable[int]) -> Iterator[str | None]:
    """Where the inputs of plans lay when they were planned, in order; None where that is unknown.

    Of a plan the first bytes are read alone.

    Raises:
        FileNotFoundError: there is no such plan.
        FormatError: a file is not a plan, or is of a newer format.
    """
    entries = dataset.plan_entries()
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(lambda shard: _location(dataset, shard, entries.get(shard)), shards)


def _location(dataset: Dataset, shard: int, entry: Entry | None) -> str | None:
    name = plan_name(shard)
    where = f"{dataset.location}/{name}"
    if entry is None:
        raise FileNotFoundError(where)
    raw = dataset.store.read_range(name, 0, min(entry.size, HEAD_BYTES))
    head, separator, _ = raw.partition(b',"inputs":[')
    if not separator:  # an earlier version wrote it, or its location is a long one
        return location_of(plan_columns(dataset.store.read(name), shard, where=where))
    plan = ShardPlan.from_json(head + b',"inputs":[]}', where=where)
    if plan.shard != shard:
        raise FormatError(f"{where}: not the plan of shard {shard}")
    return plan.location


def read_plans(dataset: Dataset, shards: Iterable[int]) -> Iterator[Any]:
    """The inputs of plans as Arrow tables of `PLANNED_SCHEMA`, in order; few are in memory at once.

    Raises:
        FileNotFoundError: there is no such plan.
    """
    numbers = iter(shards)
    with ThreadPoolExecutor(READERS) as pool:
        while batch := list(islice(numbers, READERS)):
            names = [plan_name(shard) for shard in batch]
            for shard, name, raw in zip(
                batch, names, pool.map(dataset.store.read, names), strict=True
            ):
                yield plan_columns(raw, shard, where=f"{dataset.location}/{name}")
