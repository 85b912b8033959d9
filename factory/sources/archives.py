"""Tar and zip archives, read without unpacking them, in a folder or in an object store."""

import calendar
import io
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Protocol, cast

from factory.sources.scan import FileFacts
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.stored_file import StoredFile

ARCHIVE_SUFFIXES = frozenset({".tar", ".zip"})
AHEAD_BYTES = 8 << 20
"""bytes to read at once from an object store while members are read in order"""
NEAR_BYTES = 1 << 12
"""largest gap in bytes between two members that count as adjacent"""
MEMBER_HEADER_BYTES = 1 << 10
"""bytes that hold the local header of a zip's member, without its name"""


class DamagedFileError(Exception):
    """An archive lists a file, but its content cannot be read."""


class UnreadableArchiveError(ValueError):
    """A file is not a whole archive of a kind that is read here."""


class Archive(Protocol):
    """Named files in one archive."""

    def files(self) -> Iterator[FileFacts]:
        """Every regular file, by its name in the archive."""

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            FileNotFoundError: the archive has no such file.
            DamagedFileError: the content cannot be read.
        """


def is_archive(name: str) -> bool:
    """Whether a file has the suffix of an archive."""
    return name[-4:].lower() in ARCHIVE_SUFFIXES


def open_archive(store: Store, name: str) -> Archive:
    """The archive under a name, with its list of files read.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableArchiveError: it is neither a zip nor an uncompressed tar, or it is damaged.
    """
    where = f"{store.location}/{name}"
    file = _file(store, name)
    # Read a byte first: `is_zipfile` takes an error of the store for a file that is not a zip.
    file.read(1)
    file.seek(0)
    try:
        # A tar is not tried as a zip, as its last member may be one.
        if not name.lower().endswith(".tar") and zipfile.is_zipfile(file):
            return ZipArchive(file, where)
        return TarArchive(store, name, file)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UnreadableArchiveError(
            f"{where}: expected a zip or an uncompressed tar archive, whole; a compressed tar has "
            f"to be unpacked first ({error})"
        ) from error


class TarArchive:
    """An uncompressed tar."""

    def __init__(self, store: Store, name: str, file: IO[bytes]):
        self.store, self.name = store, name
        self._ranged = None if isinstance(store, LocalStore) else RangedFile(store, name)
        self._lock = threading.Lock()
        # The last member of a name wins, as it does when a tar is unpacked.
        self._members: dict[str, tuple[int, int, int]] = {}
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.isreg():
                    self._members[member.name.removeprefix("./")] = (
                        member.offset_data,
                        member.size,
                        int(member.mtime * 1e9),
                    )
                cast(Any, tar).members = []  # or tarfile would keep every header in memory

    def files(self) -> Iterator[FileFacts]:
        for name, (_, size, mtime_ns) in self._members.items():
            yield FileFacts(name, size, mtime_ns)

    def read(self, name: str) -> bytes:
        where = f"{self.store.location}/{self.name}"
        if name not in self._members:
            raise FileNotFoundError(f"{where} has no member {name}")
        offset, size, _ = self._members[name]
        if self._size < offset + size:
            raise DamagedFileError(f"{where} ends in the middle of {name}")
        if self._ranged is None:
            return self.store.read_range(self.name, offset, size)
        with self._lock:
            self._ranged.prepare(offset, size)
            self._ranged.seek(offset)
            return self._ranged.read(size)


class ZipArchive:
    """A zip archive; one member is read at a time, also when several threads ask."""

    def __init__(self, file: IO[bytes], where: str):
        self._file, self._where = file, where
        self._zip = zipfile.ZipFile(file)
        self._lock = threading.Lock()

    def files(self) -> Iterator[FileFacts]:
        for entry in self._zip.infolist():
            if not entry.is_dir():
                crc = f"{entry.CRC:08x}"
                yield FileFacts(entry.filename, entry.file_size, _mtime_ns(entry), crc)

    def read(self, name: str) -> bytes:
        with self._lock:
            try:
                entry = self._zip.getinfo(name)
            except KeyError as error:
                raise FileNotFoundError(f"{self._where} has no member {name}") from error
            if isinstance(self._file, RangedFile):
                length = MEMBER_HEADER_BYTES + len(entry.orig_filename) * 4 + entry.compress_size
                self._file.prepare(entry.header_offset, length)
            try:
                return self._zip.read(entry)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                raise DamagedFileError(f"{name} cannot be unpacked ({error})") from error


def _mtime_ns(entry: zipfile.ZipInfo) -> int:
    """The time of a member; writers that know no date leave month and day 0."""
    year, month, day, *time = entry.date_time
    return calendar.timegm((year, min(max(1, month), 12), max(1, day), *time, 0, 0, 0)) * 10**9


def _file(store: Store, name: str) -> IO[bytes]:
    if isinstance(store, LocalStore):
        return (store.root / name).open("rb")
    return cast(IO[bytes], RangedFile(store, name))


class RangedFile(StoredFile):
    """An object as a file to seek in, read by ranges; the last range is held in memory."""

    def __init__(self, store: Store, name: str):
        size = store.size(name)
        if size is None:
            raise FileNotFoundError(f"{store.location}/{name} does not exist")
        super().__init__(store, name, size)
        self._start, self._range = 0, b""
        self._ahead = 0

    def read(self, length: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        length = left if length < 0 else min(length, left)
        if length == 0:
            return b""
        end = self._start + len(self._range)
        if not self._start <= self._position <= self._position + length <= end:
            self._fetch(self._position, max(length, AHEAD_BYTES))
        begin = self._position - self._start
        self._position += length
        return self._range[begin : begin + length]

    def prepare(self, offset: int, length: int) -> None:
        """Read a range, and increasingly more behind it while ranges are read in order.

        A single member takes one request; reading all members in order takes one request for every
        `AHEAD_BYTES`.
        """
        length = min(length, self._size - offset)
        end = self._start + len(self._range)
        if self._start <= offset and offset + length <= end:
            return
        in_order = self._start <= offset <= end + NEAR_BYTES
        self._ahead = min(AHEAD_BYTES, max(2 * self._ahead, 4 * length)) if in_order else 0
        self._fetch(offset, max(length, self._ahead))

    def _fetch(self, offset: int, length: int) -> None:
        """Read a range, or what of it lies within the object."""
        length = min(length, self._size - offset)
        self._start, self._range = offset, self._store.read_range(self._object, offset, length)


def split_at_archive(name: str) -> Iterator[tuple[str, str]]:
    """The ways to split a name into that of an archive and that of a file in it."""
    parts = name.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            yield "/".join(parts[:end]), "/".join(parts[end:])
