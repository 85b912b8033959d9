"""One scan of a location of inputs: its files in batches of rows, and its archives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from factory.sources.names import MisnamedError, check_utf8

BATCH_ROWS = 1 << 16
SHOWN_PROBLEMS = 3
"""of one archive, in a message"""

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
"""One row for each file of an input; the rows of one id are one input. `suffix` is null where `id`
followed by it would not be a file name. `container` names the archive or other file that holds the
file, and is null where there is none."""


class FileFacts(NamedTuple):
    """The facts that a listing has of one file."""

    name: str
    size: int
    """bytes"""
    mtime_ns: int
    etag: str | None = None
    """digest of the content, where the listing has it"""


@dataclass
class FileBatch:
    """Facts of some files, in columns, as a listing may have millions of files."""

    container: str | None = None
    """the archive that all of them lie in"""
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtimes_ns: list[int] = field(default_factory=list)
    etags: list[str | None] = field(default_factory=list)

    def add(self, file: FileFacts) -> None:
        """Append a file."""
        self.names.append(file.name)
        self.sizes.append(file.size)
        self.mtimes_ns.append(file.mtime_ns)
        self.etags.append(file.etag)

    def files(self) -> Iterator[FileFacts]:
        """The files, one at a time."""
        columns = self.names, self.sizes, self.mtimes_ns, self.etags
        return map(FileFacts, *columns)

    def split_off_misnamed(self) -> tuple["FileBatch", list["Container"]]:
        """The files whose names are UTF-8, and a problem for each other file, unfit for a plan."""
        good, bad = FileBatch(self.container), []
        for file in self.files():
            try:
                check_utf8(file.name)
                good.add(file)
            except MisnamedError as error:
                shown = file.name.encode("utf-8", "surrogateescape")
                bad.append(Container(repr(shown), *file[1:], problem=str(error)))
        return good, bad

    def by_stem(self, marks: Iterable[str] = ()) -> Any:
        """A `pa.RecordBatch` of `SCAN_SCHEMA` in which files with one stem are one input.

        Args:
            marks: what counts to the suffix where a stem ends with it, e.g. `.mask`.

        Raises:
            UnicodeEncodeError: a name is not UTF-8.
        """
        # Imported here, as it takes long and the --help of jobs/ingest.py does without.
        import pyarrow.compute as pc

        parts = pc.split_pattern(pa.array(self.names, pa.string()), ".", max_splits=1, reverse=True)
        stems = pc.list_element(parts, 0)
        suffixes = pc.binary_join_element_wise("", pc.list_element(parts, 1), ".")
        for mark in marks:
            marked = pc.ends_with(stems, mark)
            marked_suffixes = pc.binary_join_element_wise(mark, suffixes, "")
            suffixes = pc.if_else(marked, marked_suffixes, suffixes)
            stems = pc.if_else(marked, pc.utf8_slice_codeunits(stems, 0, -len(mark)), stems)
        columns = [
            stems,
            suffixes,
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
    """Files that come one at a time, in batches of `BATCH_ROWS`."""
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
    """A file that holds many inputs, e.g. an archive, as a scan saw it."""

    name: str
    size: int
    """bytes"""
    mtime_ns: int
    etag: str | None = None
    num_inputs: int | None = None
    """number of its inputs, where it was not opened because it has not changed since they were all
    planned; else None"""
    problem: str | None = None
    """why it could not be read, or not all of it; None where it could"""

    def is_unchanged(self, known: "Container") -> bool:
        """Whether two sets of facts are of the same content, by size and etag or time."""
        if self.size != known.size:
            return False
        if self.etag is not None and known.etag is not None:
            return self.etag == known.etag
        return self.mtime_ns == known.mtime_ns


def joined_problems(problems: Sequence[str]) -> str | None:
    """The first problems of one archive in a line, with the number of the others; None where there
    is none."""
    if not problems:
        return None
    num_more = len(problems) - SHOWN_PROBLEMS
    more = f"; and {num_more} more" if num_more > 0 else ""
    return f"{'; '.join(problems[:SHOWN_PROBLEMS])}{more}"


class Ignored(NamedTuple):
    """Files that a scan came across and that are no inputs, by what they are, e.g. `.txt`."""

    counts: Mapping[str, int]


Seen = Mapping[str, Container]
"""Containers by name, all of whose inputs are planned; they are not opened while unchanged."""

ScanItem = Any
"""A `pa.RecordBatch` of `SCAN_SCHEMA`, a `Container` (after its rows, where it was opened), or what
was `Ignored`."""


def batch_of(ids: Sequence[str], file: FileFacts, container: str | None) -> Any:
    """Inputs that lie in one file, as a `pa.RecordBatch` of `SCAN_SCHEMA`."""
    values = (file.size, file.mtime_ns, file.etag, container)
    columns = [pa.array(ids, pa.string()), pa.nulls(len(ids), pa.string())] + [
        pa.array([value] * len(ids), wanted.type)
        for value, wanted in zip(values, list(SCAN_SCHEMA)[2:], strict=True)
    ]
    return pa.record_batch(columns, schema=SCAN_SCHEMA)
