"""The files of a location: a folder, an archive, or either of them in an object store."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from factory.sources.archives import (
    ARCHIVE_SUFFIXES,
    is_archive,
    open_archive,
    split_at_archive,
)
from factory.sources.loose_files import NO_SUFFIX, Folder, OtherFiles, Prefix
from factory.sources.members import (
    Archive,
    Contents,
    DamagedFileError,
    UnreadableArchiveError,
)
from factory.sources.names import (
    is_hidden,
    other_spellings,
    suffix_of,
)
from factory.sources.scan import (
    Container,
    FileBatch,
    FileFacts,
    Ignored,
    Seen,
    in_batches,
)
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import is_remote, open_store
from schemas.inputs import HIDDEN_FILES

NOTHING_SEEN: Seen = MappingProxyType({})
MAX_OPEN_ARCHIVES = 4
"""archives whose lists of files one worker holds in memory"""
WalkItem = FileBatch | Container | Ignored


class Files(Protocol):
    """The files at one location; names have forward slashes."""

    def walk(self, suffixes: Set[str], seen: Seen = ...) -> Iterator[WalkItem]:
        """Files with one of the suffixes, in no order, and archives; last, what was ignored.

        Names are plain, see `factory.sources.names`. That of a file in an archive begins with the
        archive's name. What cannot be read or named is a `Container` with its problem.

        Args:
            suffixes: lower case, with their dots.
            seen: archives by name; those that have not changed since are not opened.
        """

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: the content cannot be read, or is too large.
        """


def open_files(location: str | Path) -> Files:
    """The files at a location: a folder, a prefix `s3://bucket/prefix`, or a tar or zip in either.

    Raises:
        FileNotFoundError: the path does not exist. A missing prefix is not noticed.
        ValueError: the location is a URL of another kind.
    """
    if is_remote(location):
        above, _, name = str(location).rstrip("/").rpartition("/")
        if is_archive(name) and above != "s3:/":
            store = open_store(above)
            if store.size(name) is not None:
                return OneArchive(store, name)
        return Tree(Prefix(open_store(location)))
    path = Path(location)
    if path.is_dir():
        return Tree(Folder(path))
    if not path.exists():
        raise FileNotFoundError(f"input {path} does not exist")
    return OneArchive(LocalStore(path.parent), path.name)


class Tree:
    """Files below a folder or prefix, also those in its archives: `nightly/3.tar/imgs/1.jpg`."""

    def __init__(self, root: Folder | Prefix):
        self.root = root
        self._archives: OrderedDict[str, Archive | None] = OrderedDict()
        self._lock = threading.Lock()

    def walk(self, suffixes: Set[str], seen: Seen = NOTHING_SEEN) -> Iterator[WalkItem]:
        others = OtherFiles()
        for batch in self.root.walk(suffixes | ARCHIVE_SUFFIXES, others):
            plain, archives = _split_off_archives(batch, suffixes, others.ignored)
            if plain.names:
                yield plain
            named, misnamed = archives.split_off_misnamed()
            yield from misnamed
            for file in named.files():
                yield from self._walk_archive(Container(*file), suffixes, seen, others.ignored)
        yield from others.problems
        yield Ignored(others.ignored)

    def read(self, name: str) -> bytes:
        for outer, inner in split_at_archive(name):
            archive = self._archive(outer)
            if archive is not None:
                return archive.read(inner)
        try:
            return self.root.read(name)
        except FileNotFoundError:
            for spelling in other_spellings(name):
                with suppress(FileNotFoundError):
                    return self.root.read(spelling)
            raise

    def _walk_archive(
        self, archive: Container, suffixes: Set[str], seen: Seen, ignored: Counter[str]
    ) -> Iterator[FileBatch | Container]:
        store = self.root.store
        try:
            yield from _walk_archive(store, archive.name, archive, suffixes, seen, ignored)
        except UnreadableArchiveError as error:  # perhaps it is being uploaded; read the others
            yield replace(archive, problem=str(error))
        except OSError as error:
            if not isinstance(store, LocalStore):
                raise
            yield replace(archive, problem=f"{store.root / archive.name}: {error.strerror}")

    def _archive(self, name: str) -> Archive | None:
        """An archive; None where no file has that name (it may be a folder)."""
        with self._lock:
            if name not in self._archives:
                try:
                    self._archives[name] = open_archive(self.root.store, name)
                except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                    self._archives[name] = None
                except UnreadableArchiveError as error:
                    self._archives[name] = _Unreadable(str(error))
                while len(self._archives) > MAX_OPEN_ARCHIVES:
                    self._archives.popitem(last=False)
            self._archives.move_to_end(name)
            return self._archives[name]


class _Unreadable:
    """An archive that cannot be read any more, though its files were listed once."""

    def __init__(self, why: str):
        self.why, self.contents = why, Contents()

    def files(self) -> Iterator[FileFacts]:
        return iter(())

    def read(self, name: str) -> bytes:
        raise DamagedFileError(self.why)


def _split_off_archives(
    batch: FileBatch, suffixes: Set[str], ignored: Counter[str]
) -> tuple[FileBatch, FileBatch]:
    """The files with one of the suffixes, and the archives; of `.gz` files, not all are either."""
    if suffixes >= set(map(suffix_of, batch.names)):
        return batch, FileBatch()
    plain, archives = FileBatch(batch.container), FileBatch()
    for file in batch.files():
        if is_archive(file.name):
            archives.add(file)
        elif (suffix := suffix_of(file.name)) in suffixes:
            plain.add(file)
        else:
            ignored[suffix] += 1
    return plain, archives


class OneArchive:
    """The files of one archive, by their names in it. It is opened when it is first read."""

    def __init__(self, store: Store, name: str):
        self.store, self.name = store, name
        self._lock = threading.Lock()
        self._opened: Archive | None = None

    def walk(self, suffixes: Set[str], seen: Seen = NOTHING_SEEN) -> Iterator[WalkItem]:
        ignored: Counter[str] = Counter()
        yield from _walk_archive(self.store, self.name, self._facts(), suffixes, seen, ignored)
        yield Ignored(ignored)

    def read(self, name: str) -> bytes:
        with self._lock:
            if self._opened is None:
                self._opened = open_archive(self.store, self.name)
        return self._opened.read(name)

    def _facts(self) -> Container:
        if isinstance(self.store, LocalStore):
            status = (self.store.root / self.name).stat()
            return Container("", status.st_size, status.st_mtime_ns)
        for entry in self.store.entries(""):
            if entry.name == self.name:
                return Container("", entry.size, entry.mtime_ns, entry.etag)
        raise FileNotFoundError(f"{self.store.location}/{self.name} does not exist")


def _walk_archive(
    store: Store,
    name: str,
    archive: Container,
    suffixes: Set[str],
    seen: Seen,
    ignored: Counter[str],
) -> Iterator[FileBatch | Container]:
    """The files in an archive, then the archive itself; only the latter where it is unchanged.

    Raises:
        UnreadableArchiveError: the archive cannot be read; raised before the first file is given.
    """
    known = seen.get(archive.name)
    if known is not None and archive.is_unchanged(known):
        yield replace(archive, num_inputs=known.num_inputs)
        return
    prefix = f"{archive.name}/" if archive.name else ""
    opened = open_archive(store, name)

    def files() -> Iterator[FileFacts]:
        for file in opened.files():
            if is_hidden(file.name):
                ignored[HIDDEN_FILES] += 1
            elif (suffix := suffix_of(file.name)) in suffixes:
                yield file._replace(name=f"{prefix}{file.name}")
            else:
                what = f"{suffix} in an archive" if is_archive(file.name) else suffix or NO_SUFFIX
                ignored[what] += 1

    yield from in_batches(files(), archive.name)
    ignored.update(opened.contents.ignored)
    yield replace(archive, problem=opened.contents.problem(f"{store.location}/{name}"))
