"""One look at a place of inputs: its files in batches of rows, and the archives among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

BATCH_ROWS = 1 << 16

SCAN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("suffix", pa.string()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("container", pa.string()),
    ]
)
"""A file of an input; the rows of one id are one input. `suffix` is null where `id` with it is no
file name; `container` names what the file lies in, null where it lies on its own."""


class FileFacts(NamedTuple):
    """What a listing shows of one file."""

    name: str
    size: int
    """bytes"""
    mtime_ns: int
    etag: str | None = None
    """digest of the content, where the listing has one"""
    container: str | None = None
    """the archive that it lies in"""


@dataclass(frozen=True)
class Container:
    """A file that holds many inputs, e.g. an archive, as a scan met it."""

    name: str
    size: int
    """bytes"""
    mtime_ns: int
    etag: str | None = None
    num_inputs: int | None = None
    """of one that is as it was when all its inputs were planned, and was not opened; else None"""
    problem: str | None = None
    """why it could not be read; None if it could"""

    def is_unchanged(self, known: "Container") -> bool:
        """Whether these are the facts of the same content."""
        if self.size != known.size:
            return False
        if self.etag is not None and known.etag is not None:
            return self.etag == known.etag
        return self.mtime_ns == known.mtime_ns


Seen = Mapping[str, Container]
"""Containers by name whose every input is planned: while unchanged they need not be opened."""

ScanItem = Any
"""A `pa.RecordBatch` of `SCAN_SCHEMA`, or a `Container` (after its rows, where it was opened)."""


ScanRow = tuple[str, str | None, int, int, str | None, str | None]
"""Values in the order of `SCAN_SCHEMA`."""


def batch_of(rows: Sequence[ScanRow]) -> Any:
    """Rows, at least one, as a `pa.RecordBatch`."""
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(column, wanted.type) for column, wanted in zip(columns, SCAN_SCHEMA, strict=True)
    ]
    return pa.record_batch(arrays, schema=SCAN_SCHEMA)
