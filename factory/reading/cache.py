"""Tars from an object store in a local folder of bounded size, which several processes share.

A file is named by the digest of its content, so one folder serves any number of releases. Whoever
fetches a file holds its lock, so that others wait instead of fetching it too; whoever makes room
holds the lock of the folder. A reader keeps the file open, so a removal takes nothing from it.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factory.store.base import Store
from factory.store.stored_file import READ_AT_ONCE


class WrongContentError(ValueError):
    """What was fetched has another digest or size than it should."""


class TarCache:
    """A folder of tars, of which the ones that were used least recently give way to new ones.

    A folder is for one user: it has to be on a file system with locks (flock).
    """

    def __init__(self, folder: Path, max_bytes: int):
        """
        Args:
            max_bytes: bytes of all files in the folder, those included that are being fetched.
        """
        self.folder = folder.absolute()
        self.max_bytes = max_bytes

    def opened(self, sha256: str, *, checked: bool) -> int | None:
        """A descriptor of a file that is there; None where it is not.

        Args:
            checked: only if its digest was compared when it was fetched.
        """
        for suffix in ("tar",) if checked else ("tar", "unchecked"):
            path = self.folder / f"{sha256}.{suffix}"
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                os.utime(descriptor)  # it was used just now
                return descriptor
        return None

    def fetched(
        self, store: Store, name: str, sha256: str, size: int, *, check: bool
    ) -> int | None:
        """A descriptor of a file, which is fetched if it is not there.

        Args:
            size: bytes of the object, as its release says.
            check: compare its digest.

        Returns:
            None where there is no room, as it is larger than the folder may be or others fetch too
            much at the same time.

        Raises:
            FileNotFoundError: the store has no such object.
            WrongContentError: it has another size or digest.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked(f"{sha256}.lock"):
            opened = self.opened(sha256, checked=check)
            if opened is not None:
                return opened
            part = self.folder / f"{sha256}.part"
            if not self._make_room(part, size):
                return None
            try:
                _fetch(store, name, part, sha256 if check else None, size)
                part.rename(self.folder / f"{sha256}.{'tar' if check else 'unchecked'}")
            finally:
                part.unlink(missing_ok=True)
            return self.opened(sha256, checked=check)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold a lock, whose file is removed afterwards unless somebody else waits for it."""
        path = self.folder / name
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, path):
                    yield
                    path.unlink(missing_ok=True)
                    return
            finally:
                os.close(descriptor)

    def _make_room(self, part: Path, size: int) -> bool:
        """Reserve bytes for a file that is going to be fetched, if there can be enough.

        The part gets its full size at once, without blocks on the disk, so that others count it.
        """
        with self._locked("folder.lock"):
            part.unlink(missing_ok=True)
            files = sorted(self._files(), key=lambda file: file[1].st_mtime_ns)
            held = sum(status.st_size for _, status in files)
            for path, status in files:
                if held + size <= self.max_bytes:
                    break
                if path.suffix != ".part" or self._is_left_over(path):
                    path.unlink(missing_ok=True)
                    held -= status.st_size
            if held + size > self.max_bytes:
                return False
            with part.open("xb") as file:
                file.truncate(size)
            return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.iterdir():
            if path.suffix in (".tar", ".unchecked", ".part"):
                with suppress(FileNotFoundError):
                    yield path, path.stat()

    def _is_left_over(self, part: Path) -> bool:
        """Whether nobody fetches a part any more, as a process died that did."""
        try:
            descriptor = os.open(part.with_suffix(".lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        finally:
            os.close(descriptor)
        return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _fetch(store: Store, name: str, target: Path, sha256: str | None, size: int) -> None:
    held_bytes = store.size(name)
    if held_bytes is None:
        raise FileNotFoundError(f"{store.location}/{name}")
    if held_bytes != size:
        raise WrongContentError(f"has {held_bytes} bytes, released {size}")
    digest = hashlib.sha256()
    with target.open("r+b") as file:
        for start in range(0, size, READ_AT_ONCE):
            piece = store.read_range(name, start, min(READ_AT_ONCE, size - start))
            digest.update(piece)
            file.write(piece)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise WrongContentError(f"has sha256 {digest.hexdigest()[:12]}…, released {sha256[:12]}…")
