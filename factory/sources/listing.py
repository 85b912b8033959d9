"""Sources whose inputs are files, and the listing of their inputs."""

from abc import ABC, abstractmethod
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


class FileSource(ABC):
    """The base of a `sources.base.Source` whose inputs are files at one location."""

    def __init__(self, location: str | Path, options: Any):
        self.location = location
        self.options = options
        self._expected: Mapping[str, str | None] = {}

    @cached_property
    def files(self) -> Files:
        """All files of the location, which is opened when it is first needed."""
        return open_files(self.location)

    @abstractmethod
    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """As `Source.scan`."""

    def listing(self) -> Sequence[InputFacts]:
        """As `Source.listing`."""
        return Listing.of(self.scan(NOTHING_SEEN))

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        """As `Source.expect`."""
        self._expected = suffixes

    def read_files(self, source_id: str, *names: str) -> tuple[bytes, ...]:
        """The bytes of the files of an input.

        Raises:
            Vanished: one of them no longer exists.
            BadRender: one of them is damaged or empty.
        """
        files = self.files  # opened here: a missing folder is not the fault of an input
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


class StemSource(FileSource):
    """The base of a source whose inputs are files that share a stem."""

    suffixes: ClassVar[Iterable[str]]
    """lower case, with their dots"""
    marks: ClassVar[Sequence[str]] = ()
    """what counts to the suffix where a stem ends with it, e.g. `.mask`"""

    def scan(self, seen: Seen) -> Iterator[ScanItem]:
        """As `Source.scan`; archives are opened unless they are unchanged."""
        for item in self.files.walk(frozenset(self.suffixes), seen):
            if not isinstance(item, FileBatch):
                yield item
                continue
            try:
                yield item.by_stem(self.marks)
            except UnicodeEncodeError:
                named, misnamed = item.split_off_misnamed()
                yield named.by_stem(self.marks)
                yield from misnamed

    def names(self, stem: str) -> list[str]:
        """Names of an input's files, in order; empty where there are none.

        The whole location is listed for the first input that was not announced.
        """
        suffixes = self._expected.get(stem)
        if suffixes is None:
            return self._by_stem.get(stem, [])
        return [f"{stem}{suffix}" for suffix in suffixes.split(" ")]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        names_by_stem: dict[str, list[str]] = {}
        for item in self.files.walk(frozenset(self.suffixes)):
            if isinstance(item, FileBatch):
                for name in item.names:
                    stem = name.rpartition(".")[0]
                    for mark in self.marks:
                        stem = stem.removesuffix(mark)
                    names_by_stem.setdefault(stem, []).append(name)
        return {stem: sorted(names) for stem, names in names_by_stem.items()}
