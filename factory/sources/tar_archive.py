"""Tar archives: a list of their files that says whether it is whole, and their content."""

import io
import posixpath
import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, cast

from factory.sources.members import (
    Contents,
    DamagedFileError,
    UnreadableArchiveError,
    check_size,
    is_failure_of_store,
)
from factory.sources.names import MisnamedError, plain_name
from factory.sources.scan import FileFacts

MAX_HEADER_BYTES = 1 << 24
"""of one header, with all that it says about a member"""
MAX_LINKS = 40
"""links that lead to one another, as systems allow"""
_PIECE_BYTES = 1 << 20
_MAX_NS = (1 << 63) - 1


class _Member(NamedTuple):
    """Where the content of a file is."""

    offset: int
    size: int
    """bytes of the content"""
    mtime_ns: int
    holes: tuple[tuple[int, int], ...] | None
    """of a sparse file: (offset in the content, bytes) of each part that is stored"""

    @property
    def stored(self) -> int:
        """Bytes in the archive."""
        return self.size if self.holes is None else sum(length for _, length in self.holes)


class _Headers:
    """A file from which no header of any size is read."""

    def __init__(self, file: IO[bytes]):
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


class TarArchive:
    """An uncompressed tar."""

    def __init__(self, file: IO[bytes], where: str, read: Callable[[int, int], bytes]):
        """
        Args:
            file: to read the list of members from.
            where: the archive is, for messages.
            read: gives the bytes from an offset, so many.

        Raises:
            UnreadableArchiveError: it does not begin as a tar does.
        """
        self.contents, self._where, self._read = Contents(), where, read
        # The last member of a name wins, as it does when a tar is unpacked.
        self._members: dict[str, _Member] = {}
        links: dict[str, str] = {}
        self._is_joined = False
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self._list(file, links)
        self._follow(links)

    def files(self) -> Iterator[FileFacts]:
        for name, member in self._members.items():
            yield FileFacts(name, member.size, member.mtime_ns)

    def read(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError(f"{self._where} has no member {name}")
        packed = None if member.holes is None else member.stored
        check_size(name, member.size, packed)
        stored = self._read(member.offset, member.stored)
        if member.holes is None:
            return stored
        content, start = bytearray(member.size), 0
        for offset, length in member.holes:
            content[offset : offset + length] = stored[start : start + length]
            start += length
        if len(content) != member.size:
            raise DamagedFileError(f"{name} has parts that lie behind its end")
        return bytes(content)

    def _list(self, file: IO[bytes], links: dict[str, str]) -> None:
        end = 0
        try:
            with tarfile.open(fileobj=cast(Any, _Headers(file)), mode="r:") as tar:
                while (member := tar.next()) is not None:
                    if tar.offset <= end:
                        raise tarfile.ReadError(f"member {member.name!r} has no length")
                    end = tar.offset
                    self._add(member, links)
                    cast(Any, tar).members = []  # or tarfile would keep every header in memory
                end = tar.offset
        except Exception as error:
            if is_failure_of_store(error):
                raise
            if not end:
                raise UnreadableArchiveError(str(error)) from error
            self._ends_early(f"its list cannot be read behind byte {end:,} ({error})")
            return
        ending = self._ending(file, end)
        if ending is not None:
            self._ends_early(ending)

    def _ends_early(self, why: str) -> None:
        """Name the damage, and leave out the last input, as some of its files may be missing."""
        self.contents.problems.append(f"damaged or incomplete, and lacks files: {why}")
        if self._is_joined:
            return
        stem = next(reversed(self._members), "").rpartition(".")[0]
        for name in [name for name in self._members if name.rpartition(".")[0] == stem]:
            del self._members[name]

    def _ending(self, file: IO[bytes], end: int) -> str | None:
        """Why what follows the last member is not the end of a tar: zeros, and nothing else."""
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            return f"it is cut off at byte {self._size:,}"
        if any(block):
            return f"the header at byte {end:,} is damaged"
        end += len(block)
        while piece := file.read(_PIECE_BYTES):
            rest = piece.lstrip(b"\0")
            if rest:
                at = end + len(piece) - len(rest)
                if _is_header(file, at - at % tarfile.BLOCKSIZE):
                    self._is_joined = True
                    return f"another archive is joined to it at byte {at:,}"
                return f"there is more behind its end, at byte {at:,}; a header was overwritten"
            end += len(piece)
        return None

    def _add(self, member: tarfile.TarInfo, links: dict[str, str]) -> None:
        if member.isdir():
            return
        try:
            name = plain_name(member.name)
        except MisnamedError as error:
            self.contents.problems.append(str(error))
            return
        if name in self._members or name in links:
            self.contents.ignored["members that a later one of the same name replaces"] += 1
            self._members.pop(name, None)
            links.pop(name, None)
        if member.islnk() or member.issym():
            below = "" if member.islnk() else posixpath.dirname(name)
            links[name] = posixpath.normpath(posixpath.join(below, member.linkname))
        elif not member.isreg():
            self.contents.ignored["members that are no files"] += 1
        else:
            self._add_file(name, member)

    def _add_file(self, name: str, member: tarfile.TarInfo) -> None:
        sparse = cast("list[tuple[int, int]] | None", cast(Any, member).sparse)
        holes = None if sparse is None else tuple((int(at), int(size)) for at, size in sparse)
        nanoseconds = member.mtime * 1e9
        is_time = abs(nanoseconds) < _MAX_NS  # False for NaN
        mtime_ns = int(nanoseconds) if is_time else 0
        entry = _Member(member.offset_data, member.size, mtime_ns, holes)
        if self._size < entry.offset + entry.stored:
            self.contents.problems.append(f"ends in the middle of {name}")
        elif min(entry.size, entry.stored) < 0:
            self.contents.problems.append(f"{name} has {entry.size} bytes")
        else:
            self._members[name] = entry

    def _follow(self, links: dict[str, str]) -> None:
        """List links as the files that they lead to."""
        for name, target in links.items():
            for _ in range(MAX_LINKS):
                if target not in links:
                    break
                target = links[target]
            if target in self._members:
                self._members[name] = self._members[target]
            else:
                self.contents.ignored["links that lead to no file"] += 1


def _is_header(file: IO[bytes], offset: int) -> bool:
    """Whether a whole header is at an offset."""
    file.seek(offset)
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


class InOrder:
    """Reads ranges of one file, one at a time, also when several threads ask."""

    def __init__(self, file: Any):
        """
        Args:
            file: with `seek` and `read`, and perhaps `prepare` as `RangedFile` has it.
        """
        self._file, self._lock = file, threading.Lock()

    def __call__(self, offset: int, length: int) -> bytes:
        with self._lock:
            if hasattr(self._file, "prepare"):
                self._file.prepare(offset, length)
            self._file.seek(offset)
            return cast(bytes, self._file.read(length))
