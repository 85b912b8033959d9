"""Files that are written whole or not at all, even when the process is killed."""

import errno
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under its name, or leave what the name held before.

    Args:
        path: its folder is made if it is missing.
        durable: wait until the file would survive a power cut. A file that is cheap to make again
            does not need this.
    """
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:  # writing to a full disk does not say where that is
        Path(temporary).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.EOPNOTSUPP)
"""why a folder cannot be synced that is readable for others alone, or of another kind of system; no
run has made one in it"""
_durable: set[Path] = set()
"""folders whose names this process knows to survive a power cut"""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each so that it survives a power cut.

    A folder that is there may have been made a moment ago by another process, which has not made
    its name durable yet. So that is done here too, once for each folder.

    Raises:
        NotADirectoryError: a file has the name of one of them.
    """
    if folder in _durable and folder.is_dir():
        return
    if folder.parent == folder:
        return
    was_there = folder.is_dir()
    if not (was_there and folder.is_mount()):
        make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        message = "a file is where a folder is needed"
        raise NotADirectoryError(errno.ENOTDIR, message, str(folder)) from error
    try:
        sync_folder(folder.parent)
    except OSError as error:
        if not was_there or error.errno not in _NOT_OURS:
            raise
    _durable.add(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder would survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
