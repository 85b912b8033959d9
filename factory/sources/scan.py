"""One look at a place of inputs: its files in batches of rows, and the archives among them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

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


@dataclass
class FileBatch:
    """Facts of some files, in columns: a listing may be of millions."""

    container: str | None = None
    """the archive that all of them lie in"""
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtimes_ns: list[int] = field(default_factory=list)
    etags: list[str | None] = field(default_factory=list)

    def add(self, file: FileFacts) -> None:
        """One more file."""
        self.names.append(file.name)
        self.sizes.append(file.size)
        self.mtimes_ns.append(file.mtime_ns)
        self.etags.append(file.etag)

    def files(self) -> Iterator[FileFacts]:
        """One at a time."""
        columns = self.names, self.sizes, self.mtimes_ns, self.etags
        return map(FileFacts, *columns)

    def split_off_misnamed(self) -> tuple["FileBatch", list["Container"]]:
        """The files whose names are text, and the others, which no plan could name."""
        good, bad = FileBatch(self.container), []
        for file in self.files():
            try:
                file.name.encode()
                good.add(file)
            except UnicodeEncodeError:
                shown = file.name.encode("utf-8", "surrogateescape")
                problem = f"{shown!r}: the name of this file is not UTF-8"
                bad.append(Container(repr(shown), *file[1:], problem=problem))
        return good, bad

    def by_stem(self) -> Any:
        """A `pa.RecordBatch` of `SCAN_SCHEMA` in which files with one stem are one input.

        Raises:
            UnicodeEncodeError: a name that is no text.
        """
        parts = pc.split_pattern(pa.array(self.names, pa.string()), ".", max_splits=1, reverse=True)
        columns = [
            pc.list_element(parts, 0),
            pc.binary_join_element_wise("", pc.list_element(parts, 1), "."),
            self.sizes,
            self.mtimes_ns,
            self.etags,
            pa.nulls(len(self.names)) if self.container is None else [self.container] * len(parts),
        ]
        arrays = [
            column.cast(wanted.type)
            if isinstance(column, pa.Array)
            else pa.array(column, wanted.type)
            for column, wanted in zip(columns, SCAN_SCHEMA, strict=True)
        ]
        return pa.record_batch(arrays, schema=SCAN_SCHEMA)


def in_batches(files: Iterable[FileFacts], container: str | None = None) -> Iterator[FileBatch]:
    """Files one at a time, put into batches."""
    batch = FileBatch(container)
    for file in files:
        batch.add(file)
        if len(batch.names) == BATCH_ROWS:
            yield batch
            batch = FileBatch(container)
    if batch.names:
        yield batch


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


def batch_of(ids: Sequence[str], file: FileFacts, container: str | None) -> Any:
    """Inputs that lie in one file, as a `pa.RecordBatch` of `SCAN_SCHEMA`."""
    values = (file.size, file.mtime_ns, file.etag, container)
    columns = [pa.array(ids, pa.string()), pa.nulls(len(ids), pa.string())] + [
        pa.array([value] * len(ids), wanted.type)
        for value, wanted in zip(values, list(SCAN_SCHEMA)[2:], strict=True)
    ]
    return pa.record_batch(columns, schema=SCAN_SCHEMA)
