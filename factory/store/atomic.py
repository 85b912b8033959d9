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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each so that it survives a power cut.

    Raises:
        NotADirectoryError: a file has the name of one of them.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        message = "a file is where a folder is needed"
        raise NotADirectoryError(errno.ENOTDIR, message, str(folder)) from error
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder would survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
