"""A folder that appears as a whole: written under another name beside its place, then renamed."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from factory.store.atomic import make_folder, sync_folder
from schemas.export import ExportManifest

MARK = "export.json"
"""the file by which a folder is known as an export"""


class FolderTakenError(ValueError):
    """A folder cannot become the export that was asked for, because of what it is already."""


def export_in(folder: Path) -> ExportManifest | None:
    """What an earlier run has exported to a folder; None where nothing is there.

    Raises:
        FolderTakenError: something else is there.
        FormatError: the mark of an export is there, and cannot be read.
    """
    try:
        raw = (folder / MARK).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
            return None
        raise FolderTakenError(
            f"{folder} exists and is not an export of a release (it has no {MARK}): name a folder "
            "that does not exist yet"
        ) from None
    return ExportManifest.from_json(raw, where=str(folder / MARK))


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes its place when the block ends without an error.

    Until then it is `.<name>.incomplete` beside its place. What a run left there that was killed
    is removed by the next one.

    Raises:
        FolderTakenError: another run writes the same export, or something has taken the place.
    """
    incomplete = folder.with_name(f".{folder.name}.incomplete")
    make_folder(incomplete)
    descriptor = os.open(incomplete, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTakenError(f"another run is exporting to {folder}") from None
        _empty(incomplete)
        try:
            yield incomplete
            _sync_all(incomplete)
            _move(incomplete, folder)
        except BaseException:
            shutil.rmtree(incomplete, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync_all(folder: Path) -> None:
    """Wait until all names below a folder would survive a power cut; files have been synced."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(path)


def _move(incomplete: Path, folder: Path) -> None:
    try:
        incomplete.rename(folder)  # replaces an empty folder, and nothing else
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise FolderTakenError(f"{folder} was made by something else meanwhile") from error
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Wait until what was written to a file would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, and wait until it would survive a power cut."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
