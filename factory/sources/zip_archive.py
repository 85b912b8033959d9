"""Zip archives: a list of their files that says whether it is whole, and their content."""

import calendar
import io
import posixpath
import stat
import struct
import threading
import zipfile
from collections.abc import Iterator
from typing import IO, Any, cast

from factory.sources.members import (
    Contents,
    DamagedFileError,
    UnreadableArchiveError,
    check_size,
    is_failure_of_store,
)
from factory.sources.names import MisnamedError, plain_name
from factory.sources.ranged_file import RangedFile
from factory.sources.scan import FileFacts

MEMBER_HEADER_BYTES = 1 << 10
"""bytes that hold the local header of a zip's member, without its name"""
MAX_TARGET_BYTES = 1 << 12
"""of the path that a link leads to"""
_END = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"
_MAX_ENTRY_BYTES = 1 << 17
"""of one member's entry in the list, which is mostly below a hundred bytes"""
_LOCAL_BYTES = 30
"""of the head of a member, without its name and what follows that"""
_END_BYTES = 22
_MAX_END_BYTES = _END_BYTES + (1 << 16)
"""of the record at the end, with its comment"""
_IN_ZIP64 = 0xFFFF
_IS_ENCRYPTED = 1
_READ_BYTES = {zipfile.ZIP_BZIP2: 1 << 12, zipfile.ZIP_LZMA: 1 << 12}
"""bytes to unpack at once, by method; these two give all that a piece holds, however much"""


class ZipArchive:
    """A zip archive; one member is read at a time, also when several threads ask."""

    def __init__(self, file: IO[bytes], where: str):
        """
        Raises:
            UnreadableArchiveError: its list of members cannot be read.
        """
        self.contents, self._file, self._where = Contents(), file, where
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(file)
            num_listed = _num_listed(file)
            is_cut = _has_unlisted(file, self._zip)
        except Exception as error:
            if is_failure_of_store(error):
                raise
            raise UnreadableArchiveError(str(error) or type(error).__name__) from error
        entries = self._zip.infolist()
        if is_cut:
            self.contents.problems.append("damaged: its list of members begins too late")
        if num_listed not in (_IN_ZIP64, len(entries) & _IN_ZIP64):
            self.contents.problems.append(
                f"damaged: it has {num_listed} members, {len(entries)} of which are listed"
            )
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            self._add(entry)
        self._follow_links()

    def files(self) -> Iterator[FileFacts]:
        for name, entry in self._entries.items():
            yield FileFacts(name, entry.file_size, _mtime_ns(entry), f"{entry.CRC:08x}")

    def read(self, name: str) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise FileNotFoundError(f"{self._where} has no member {name}")
        if entry.flag_bits & _IS_ENCRYPTED:
            raise DamagedFileError(f"{name} is encrypted")
        check_size(name, entry.file_size, entry.compress_size)
        try:
            return self._unpacked(entry)
        except Exception as error:
            if is_failure_of_store(error):
                raise
            why = str(error) or type(error).__name__
            raise DamagedFileError(f"{name} cannot be unpacked ({why})") from error

    def _unpacked(self, entry: zipfile.ZipInfo) -> bytes:
        """The content of a member, of which no more is unpacked than it says that it has."""
        with self._lock:
            if isinstance(self._file, RangedFile):
                length = MEMBER_HEADER_BYTES + len(entry.orig_filename) * 4 + entry.compress_size
                self._file.prepare(entry.header_offset, length)
            with self._zip.open(entry) as member:
                at_once = _READ_BYTES.get(entry.compress_type, entry.file_size + 1)
                content = b"".join(iter(lambda: member.read(at_once), b""))
        if len(content) != entry.file_size:
            raise zipfile.BadZipFile(f"{len(content)} of {entry.file_size} bytes")
        return content

    def _add(self, entry: zipfile.ZipInfo) -> None:
        try:
            # `filename` ends at a zero byte, so that a file could pass for a folder.
            name = plain_name(entry.orig_filename)
        except MisnamedError as error:
            self.contents.problems.append(str(error))
            return
        if entry.orig_filename.endswith(("/", "\\")):
            if entry.file_size:
                self.contents.problems.append(f"{entry.orig_filename!r}: a folder with content")
            return
        if name in self._entries:
            self.contents.ignored["members that a later one of the same name replaces"] += 1
        self._entries[name] = entry

    def _follow_links(self) -> None:
        """List links as the files that they lead to."""
        links = [name for name, entry in self._entries.items() if _is_link(entry)]
        targets = {name: self._target(name) for name in links}
        for name in links:
            target, seen = targets[name], {name}
            while target in targets and target not in seen:
                seen.add(target)
                target = targets[target]
            if target in self._entries and target not in targets:
                self._entries[name] = self._entries[target]
            else:
                del self._entries[name]
                self.contents.ignored["links that lead to no file"] += 1

    def _target(self, name: str) -> str:
        """The name that a link leads to; empty where it cannot be read."""
        if self._entries[name].file_size > MAX_TARGET_BYTES:
            return ""
        try:
            target = self.read(name).decode("utf-8", "replace")
        except DamagedFileError as error:
            self.contents.problems.append(str(error))
            return ""
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _num_listed(file: IO[bytes]) -> int:
    """How many members the record at the end of a zip speaks of; `_IN_ZIP64` for very many."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _MAX_END_BYTES))
    tail = file.read(_MAX_END_BYTES)
    start = tail.rfind(_END)
    if start < 0 or len(tail) < start + _END_BYTES:
        raise zipfile.BadZipFile("it has no record at its end")
    return int(struct.unpack_from("<H", tail, start + 10)[0])


def _has_unlisted(file: IO[bytes], archive: zipfile.ZipFile) -> bool:
    """Whether entries lie before the place at which the list of members is said to begin."""
    begins: int = cast(Any, archive).start_dir
    ends = max(
        (
            e.header_offset + _LOCAL_BYTES + len(e.orig_filename) + e.compress_size
            for e in archive.infolist()
        ),
        default=0,
    )
    start = max(0, ends, begins - _MAX_ENTRY_BYTES)
    if start >= begins:
        return False
    file.seek(start)
    return _ENTRY in file.read(begins - start)


def _mtime_ns(entry: zipfile.ZipInfo) -> int:
    """The time of a member; writers that know no date leave month and day 0."""
    year, month, day, *time = entry.date_time
    return calendar.timegm((year, min(max(1, month), 12), max(1, day), *time, 0, 0, 0)) * 10**9
