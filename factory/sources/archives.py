"""Tar and zip archives, read without unpacking them, in a folder or in an object store.

A compressed tar is the exception: its members cannot be reached one by one, so it is unpacked into
a temporary file by every worker that reads it.
"""

import bz2
import gzip
import lzma
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, cast

from factory.sources.members import (
    MAX_RATIO,
    Archive,
    UnreadableArchiveError,
    is_failure_of_store,
)
from factory.sources.ranged_file import RangedFile
from factory.sources.tar_archive import InOrder, TarArchive
from factory.sources.zip_archive import ZipArchive
from factory.store.base import Store
from factory.store.local import LocalStore

_ENDINGS = (
    *(".tar", ".zip", ".tgz", ".tbz2", ".txz", ".tzst"),
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"),
)
ARCHIVE_SUFFIXES = frozenset(ending[ending.rfind(".") :] for ending in _ENDINGS)
"""the suffixes of archives, some of which other files have too"""
MIN_UNPACKED_BYTES = 1 << 28
"""up to which any compressed tar may be unpacked; a large one, up to `MAX_RATIO` times its size"""
_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 16


def _zstd(file: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_CODECS: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (rb"\x1f\x8b\x08", gzip.open),
    (rb"BZh[1-9]1AY&SY", bz2.open),
    (rb"\xfd7zXZ\x00", lzma.open),
    (rb"\x28\xb5\x2f\xfd", _zstd),
)
"""how the bytes of a compressed file begin, and what reads them"""


def is_archive(name: str) -> bool:
    """Whether a file is named as an archive is."""
    return name.lower().endswith(_ENDINGS)


def open_archive(store: Store, name: str) -> Archive:
    """The archive under a name, with its list of files read.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableArchiveError: it is neither a zip nor a tar, or nothing in it can be read.
        OSError: the store failed.
    """
    where = f"{store.location}/{name}"
    file = _file(store, name)
    # Read some bytes first: `is_zipfile` takes an error of the store for a file that is not a zip.
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    try:
        for begins, opened in _CODECS:
            if re.match(begins, head) is not None:
                return _unpacked(opened, file, where)
        # A tar is not tried as a zip, as its last member may be one.
        if not name.lower().endswith(".tar") and zipfile.is_zipfile(file):
            return ZipArchive(file, where)
        is_local = isinstance(store, LocalStore)
        read = partial(store.read_range, name) if is_local else InOrder(RangedFile(store, name))
        with file:
            return TarArchive(file, where, read)
    except UnreadableArchiveError as error:
        raise UnreadableArchiveError(
            f"{where}: expected a zip or a tar archive ({error})"
        ) from error


def _unpacked(opened: Callable[[IO[bytes]], Any], file: IO[bytes], where: str) -> Archive:
    """A compressed tar, unpacked into a temporary file."""
    largest = max(MIN_UNPACKED_BYTES, MAX_RATIO * file.seek(0, 2))
    file.seek(0)
    ends_early = False
    held = cast(IO[bytes], tempfile.TemporaryFile(prefix="simgan-archive-"))  # noqa: SIM115 - kept
    try:
        with file, opened(file) as packed:
            while piece := packed.read(_PIECE_BYTES):
                held.write(piece)
                if held.tell() > largest:
                    raise UnreadableArchiveError(f"it would be unpacked to over {largest:,} bytes")
    except EOFError:  # what came before is whole
        ends_early = True
    except UnreadableArchiveError:
        raise
    except Exception as error:
        if is_failure_of_store(error):
            raise
        raise UnreadableArchiveError(f"it cannot be unpacked: {error}") from error
    held.seek(0)
    archive = TarArchive(held, where, InOrder(held))
    if ends_early and not archive.contents.problems:
        archive.contents.problems.append("it is cut off")
    return archive


def _file(store: Store, name: str) -> IO[bytes]:
    if isinstance(store, LocalStore):
        return (store.root / name).open("rb")
    return cast(IO[bytes], RangedFile(store, name))


def split_at_archive(name: str) -> Iterator[tuple[str, str]]:
    """The ways to split a name into that of an archive and that of a file in it."""
    parts = name.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            yield "/".join(parts[:end]), "/".join(parts[end:])
