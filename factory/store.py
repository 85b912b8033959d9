"""Where a dataset lies: one small interface, for local folders here and for S3 in `factory.s3`.

Everything a dataset relies on is one guarantee: `put_new` publishes a whole object under a name
that nobody held before, or raises `FileExistsError`. Nobody ever sees half an object.
"""

import ctypes
import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory.atomic import sync_folder, write_atomically

READERS = 16
"""small objects to read at once: each costs an object store some milliseconds of waiting"""


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    name: str
    """relative to the store, with forward slashes"""
    size: int
    """bytes"""
    mtime_ns: int
    """last change, nanoseconds since 1970 UTC"""
    etag: str | None = None
    """the object store's own digest of the content; None on a local file system"""


class Store(Protocol):
    """Named objects of bytes below one location."""

    location: str

    def read(self, name: str) -> bytes:
        """The whole object. Raises `FileNotFoundError`."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises `FileNotFoundError`, `OSError` where it ends."""

    def read_tail(self, name: str, length: int) -> bytes:
        """The last `length` bytes, or all where there are fewer. Raises `FileNotFoundError`."""

    def size(self, name: str) -> int | None:
        """Bytes, or None where there is no such object."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Objects directly below `prefix/` (of "": of the store), in order of name."""

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        """Objects anywhere below `prefix/`, in no order; hidden and temporary files too."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix/`, in order."""

    def put_new(self, name: str, content: bytes) -> None:
        """Publish durably and exclusively. Raises `FileExistsError`: the name is taken."""

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Publish, replacing what was there.

        Args:
            durable: wait until it would survive a power cut; what is cheap to make again need not.
        """

    def delete(self, name: str) -> None:
        """Remove, if it is there."""


def open_store(location: str | Path) -> Store:
    """The store at a location: a folder, or `s3://bucket/prefix`.

    Nothing is read, so that a location may be checked before anything else is done.

    Raises:
        ValueError: no location of a kind that there is a store for.
    """
    if not is_remote(location):
        return LocalStore(Path(location))
    from factory.s3 import S3Store  # its SDK takes longer to import than all else here together

    return S3Store(str(location))


def is_remote(location: str | Path) -> bool:
    """Whether a location lies in an object store.

    Raises:
        ValueError: neither a path nor `s3://bucket/prefix`.
    """
    text = str(location)
    scheme, separator, rest = text.partition("://")
    if not separator:
        if text.startswith("s3:"):
            raise ValueError(f"{text}: an S3 location is s3://bucket/prefix, with two slashes")
        return False
    if scheme != "s3":
        host = re.split("[/?#]", rest)[0].rpartition("@")[2]
        raise ValueError(
            f"{scheme}://{host}…: no store speaks {scheme}://; give a local path or "
            "s3://bucket/prefix"
        )
    return True


def absolute(location: str | Path) -> str:
    """A location that means the same in every process: a path from the root, or the S3 URL."""
    return open_store(location).location


def real_place(location: str | Path) -> str:
    """A location by which two ways to name one place are found to be the same."""
    return absolute(location) if is_remote(location) else os.path.realpath(location)


def name_of(location: str | Path) -> str:
    """The last part of a location: a name for what lies there."""
    return absolute(location).rpartition("/")[2]


class LocalStore:
    """A folder on a POSIX file system."""

    def __init__(self, root: Path):
        self.root = root.absolute()
        self.location = str(self.root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        with (self.root / name).open("rb") as file:
            content = os.pread(file.fileno(), length, offset)
        if len(content) != length:
            raise OSError(errno.EIO, f"ends at byte {offset + len(content)}", f"{self.root / name}")
        return content

    def read_tail(self, name: str, length: int) -> bytes:
        with (self.root / name).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), length, max(0, size - length))

    def size(self, name: str) -> int | None:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def entries(self, prefix: str) -> Iterator[Entry]:
        folder = self.root / prefix
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            files = sorted(
                (entry for entry in entries if entry.is_file()), key=lambda entry: entry.name
            )
        for entry in files:
            status = entry.stat()
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            yield Entry(name, status.st_size, status.st_mtime_ns)

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        pending = [f"{prefix}/" if prefix else ""]
        while pending:
            below = pending.pop()
            if not (self.root / below).is_dir():
                continue
            with suppress(FileNotFoundError), os.scandir(self.root / below) as entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{name}/")
                    elif entry.is_file():
                        with suppress(FileNotFoundError):  # a temporary file of a run at work
                            status = entry.stat()
                            yield Entry(name, status.st_size, status.st_mtime_ns)

    def folders(self, prefix: str) -> list[str]:
        folder = self.root / prefix
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.is_dir())

    def put_new(self, name: str, content: bytes) -> None:
        target = self.root / name
        temporary = self._write_temporary(content)
        try:
            _publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        target = self.root / name
        if not durable:
            write_atomically(target, content, durable=False)
            return
        temporary = self._write_temporary(content)
        try:
            _make_folder(target.parent)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def _write_temporary(self, content: bytes) -> Path:
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk: leave no half file behind
            path.unlink(missing_ok=True)
            raise
        return path


def _publish(temporary: Path, target: Path) -> None:
    """Give a written file its final name, unless the name is taken."""
    _make_folder(target.parent)
    try:
        os.link(temporary, target)
    except FileExistsError:
        # Over NFS a link can succeed and its answer be lost: then the retry finds our own file.
        if temporary.stat().st_nlink != 2:
            raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _rename_without_replacing(temporary, target)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def _rename_without_replacing(source: Path, target: Path) -> None:
    """renameat2(2) with RENAME_NOREPLACE, for file systems without hard links."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_fdcwd, rename_noreplace = -100, 1
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is not None:
        result = renameat2(
            at_fdcwd, os.fsencode(source), at_fdcwd, os.fsencode(target), rename_noreplace
        )
        if result == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), str(target))  # EEXIST: a FileExistsError
    raise OSError(
        errno.EOPNOTSUPP,
        "this file system has neither hard links nor rename without replace, so a shard could "
        "not be published safely; choose an output on another file system",
        str(target),
    )
