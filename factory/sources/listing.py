"""Inputs made of files that share a stem, and their listing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, overload

import pyarrow as pa

from factory.sources.base import BadRender, Vanished
from factory.sources.files import NOTHING_SEEN, Files, open_files
from factory.sources.input_table import InputTable
from factory.sources.members import DamagedFileError
from factory.sources.scan import BATCH_ROWS, FileBatch, ScanItem, Seen
from schemas.dataset import InputFacts

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"}
    | {".tif", ".tiff", ".bmp", ".pgm", ".jp2", ".gif"}
)
"""of the pictures that `images.picture` reads, which looks at their content, not at their names"""


class Listing(Sequence[InputFacts]):
    """Inputs in natural order of their ids (`imgs/2` before `imgs/10`), held in columns."""

    def __init__(self, table: Any):
        """
        Args:
            table: Arrow table with the fields of `InputFacts`.
        """
        self._table = table

    @classmethod
    def of(cls, items: Iterable[ScanItem]) -> "Listing":
        """All inputs of a scan."""
        with InputTable(items) as inputs:
            return cls(inputs.in_natural_order())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> InputFacts: ...
    @overload
    def __getitem__(self, index: slice) -> "Listing": ...
    def __getitem__(self, index: int | slice) -> "InputFacts | Listing":
        if isinstance(index, slice):
            return Listing(self._table.take(pa.array(range(*index.indices(len(self))))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"input {index} of {len(self)}")
        return InputFacts(**self._table.slice(index % len(self), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[InputFacts]:
        for batch in self._table.to_batches(max_chunksize=BATCH_ROWS):
            for row in batch.to_pylist():
                yield InputFacts(**row)


class StemFiles:
    """The inputs of a location, whose files belong together by stem; opened when first needed."""

    def __init__(self, location: str | Path, suffixes: Iterable[str], marks: Sequence[str] = ()):
        """
        Args:
            suffixes: lower case, with their dots.
            marks: what counts to the suffix where a stem ends with it, e.g. `.mask`.
        """
        self.location = location
        self.suffixes = frozenset(suffixes)
        self.marks = tuple(marks)
        self._expected: Mapping[str, str | None] = {}

    @cached_property
    def files(self) -> Files:
        """All files of the location."""
        return open_files(self.location)

    def scan(self, seen: Seen) -> Iterator[ScanItem]:
        """Every input, in batches and in no order, and the archives, opened unless unchanged."""
        for item in self.files.walk(self.suffixes, seen):
            if not isinstance(item, FileBatch):
                yield item
                continue
            try:
                yield item.by_stem(self.marks)
            except UnicodeEncodeError:
                named, misnamed = item.split_off_misnamed()
                yield named.by_stem(self.marks)
                yield from misnamed

    def listing(self) -> Listing:
        """Every input, in natural order of its id."""
        return Listing.of(self.scan(NOTHING_SEEN))

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        """Announce the inputs that are read next, with the suffixes of their files where known.

        Otherwise the whole location is listed before the first input is read.
        """
        self._expected = suffixes

    def names(self, stem: str) -> list[str]:
        """Names of an input's files, in order; empty where there are none."""
        suffixes = self._expected.get(stem)
        if suffixes is None:
            return self._by_stem.get(stem, [])
        return [f"{stem}{suffix}" for suffix in suffixes.split(" ")]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        names_by_stem: dict[str, list[str]] = {}
        for item in self.files.walk(self.suffixes):
            if isinstance(item, FileBatch):
                for name in item.names:
                    stem = name.rpartition(".")[0]
                    for mark in self.marks:
                        stem = stem.removesuffix(mark)
                    names_by_stem.setdefault(stem, []).append(name)
        return {stem: sorted(names) for stem, names in names_by_stem.items()}


class StemSource:
    """The base of a `sources.base.Source` whose inputs are files that share a stem."""

    suffixes: ClassVar[Iterable[str]]
    """lower case, with their dots"""
    marks: ClassVar[Sequence[str]] = ()
    """what counts to the suffix where a stem ends with it, e.g. `.mask`"""

    def __init__(self, location: str | Path, options: Any):
        self.location = location
        self.options = options
        self._inputs = StemFiles(location, self.suffixes, self.marks)

    def listing(self) -> Sequence[InputFacts]:
        return self._inputs.listing()

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        return self._inputs.scan(seen)

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        self._inputs.expect(suffixes)

    def read_files(self, source_id: str, *names: str) -> tuple[bytes, ...]:
        """The bytes of the files of an input.

        Raises:
            Vanished: one of them no longer exists.
            BadRender: one of them is damaged or empty.
        """
        files = self._inputs.files  # opened here: a missing folder is not the fault of an input
        try:
            contents = tuple([files.read(name) for name in names])
        except FileNotFoundError as error:
            raise Vanished(source_id) from error
        except DamagedFileError as error:
            raise BadRender(source_id, str(error)) from error
        for name, content in zip(names, contents, strict=True):
            if not content:
                raise BadRender(source_id, f"{name} is empty")
        return contents
