"""A store in a local folder; `factory.store.s3` has the one in an object store.

A dataset relies on one guarantee of its store: `put_new` publishes a whole object under a name
that nobody held before, or raises `FileExistsError`. No reader ever sees half an object.
"""

import ctypes
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from factory.store.atomic import make_folder, sync_folder, write_atomically
from factory.store.base import Entry


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
        folder, files = self.root / prefix, []
        if not folder.is_dir():
            return
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            files = sorted(
                (entry for entry in entries if _is_file(entry)), key=lambda entry: entry.name
            )
        for entry in files:
            with suppress(FileNotFoundError):  # it was deleted since the folder was read
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
                    elif _is_file(entry) or _leads_nowhere(entry):
                        with suppress(FileNotFoundError):  # a temporary file of a run at work
                            status = entry.stat(follow_symlinks=_is_file(entry))
                            yield Entry(name, status.st_size, status.st_mtime_ns)

    def folders(self, prefix: str) -> list[str]:
        folder = self.root / prefix
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.is_dir())

    def put_new(self, name: str, content: bytes) -> None:
        self._give_name(content, self.root / name, _publish)

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        target = self.root / name
        if not durable:
            write_atomically(target, content, durable=False)
            return
        self._give_name(content, target, _replace)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def _give_name(self, content: bytes, target: Path, name: Callable[[Path, Path], None]) -> None:
        """Write a temporary file and have `name` give it its final name, durably.

        A writer that is paused for long may find its temporary file removed as a leftover; then it
        writes another one.
        """
        for is_last in (False, False, True):
            temporary = self._write_temporary(content)
            try:
                name(temporary, target)
                break
            except FileNotFoundError:
                if temporary.exists() or is_last:
                    raise
            finally:
                temporary.unlink(missing_ok=True)
        sync_folder(target.parent)

    def _write_temporary(self, content: bytes) -> Path:
        folder = self.root / "tmp"
        make_folder(folder)
        path = folder / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # e.g. the disk is full: leave no half-written file behind
            path.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        return path


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file or a link to one; a link that leads in a circle is none."""
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _leads_nowhere(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link whose target is missing, or that leads in a circle."""
    return entry.is_symlink() and not Path(entry.path).exists()


def _publish(temporary: Path, target: Path) -> None:
    """Give a written file its final name. Raises `FileExistsError` where the name is taken."""
    make_folder(target.parent)
    try:
        os.link(temporary, target)
    except FileExistsError:
        # Over NFS, a link can succeed while its answer is lost. The client then repeats the request
        # and finds the name taken, by this same file.
        if temporary.stat().st_nlink != 2:
            raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _rename_without_replacing(temporary, target)


def _replace(temporary: Path, target: Path) -> None:
    """Give a written file its final name, whoever had it."""
    make_folder(target.parent)
    temporary.replace(target)


def _rename_without_replacing(source: Path, target: Path) -> None:
    """Call renameat2(2) with RENAME_NOREPLACE, for file systems without hard links."""
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
            raise OSError(code, os.strerror(code), str(target))  # a FileExistsError for EEXIST
    raise OSError(
        errno.EOPNOTSUPP,
        "this file system has neither hard links nor rename without replace, so a shard could "
        "not be published safely; choose an output on another file system",
        str(target),
    )
