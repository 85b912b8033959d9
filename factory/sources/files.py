"""The files of an input, whether it is a folder, a tar or a zip archive."""

import calendar
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class FileFacts:
    """What a listing shows of one file."""

    size: int
    """bytes"""
    mtime_ns: int


class DamagedFileError(Exception):
    """An archive lists a file and cannot give its content."""


class Files(Protocol):
    """Named files below one place; names have forward slashes."""

    def facts(self) -> dict[str, FileFacts]:
        """Every regular file. Hidden files are passed over."""

    def read(self, name: str) -> bytes:
        """Raises `FileNotFoundError`, `DamagedFileError`."""


def open_files(location: str | Path) -> Files:
    """The files at a location.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: a file that is neither a plain tar nor a zip archive.
    """
    if "://" in str(location):
        raise ValueError(f"{location}: this version reads local folders and archives only")
    path = Path(location)
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FileNotFoundError(f"input {path} does not exist")
    if zipfile.is_zipfile(path):
        return ZipArchive(path)
    try:
        return TarArchive(path)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: expected a folder, a zip, or an uncompressed tar archive; a compressed tar "
            f"has to be unpacked first ({error})"
        ) from error


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Folder:
    """A folder and all folders below it; a link back to a folder above is not followed."""

    def __init__(self, root: Path):
        self.root = root

    def facts(self) -> dict[str, FileFacts]:
        found: dict[str, FileFacts] = {}
        pending = [("", frozenset({_inode(self.root.stat())}))]
        while pending:
            prefix, above = pending.pop()
            with os.scandir(self.root / prefix) as entries:
                for entry in entries:
                    name = f"{prefix}{entry.name}"
                    if _hidden(entry.name):
                        continue
                    if entry.is_dir():
                        inode = _inode(entry.stat())
                        if inode not in above:
                            pending.append((f"{name}/", above | {inode}))
                    elif entry.is_file():
                        status = entry.stat()
                        found[name] = FileFacts(status.st_size, status.st_mtime_ns)
        return found

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class TarArchive:
    """An uncompressed tar; members are read where they lie."""

    def __init__(self, path: Path):
        self.path = path
        with tarfile.open(path, "r:") as tar:
            # The last member of a name wins, as it does when a tar is unpacked.
            self._members = {m.name.removeprefix("./"): m for m in tar.getmembers() if m.isreg()}

    def facts(self) -> dict[str, FileFacts]:
        return {
            name: FileFacts(member.size, int(member.mtime * 1e9))
            for name, member in self._members.items()
            if not _hidden(name)
        }

    def read(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError(f"{self.path} has no member {name}")
        with self.path.open("rb") as file:
            content = os.pread(file.fileno(), member.size, member.offset_data)
        if len(content) != member.size:
            raise DamagedFileError(f"{self.path} ends in the middle of {name}")
        return content


class ZipArchive:
    """A zip archive."""

    def __init__(self, path: Path):
        self.path = path
        self._zip = zipfile.ZipFile(path)

    def facts(self) -> dict[str, FileFacts]:
        return {
            entry.filename: FileFacts(entry.file_size, _mtime_ns(entry))
            for entry in self._zip.infolist()
            if not entry.is_dir() and not _hidden(entry.filename)
        }

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except KeyError as error:
            raise FileNotFoundError(f"{self.path} has no member {name}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise DamagedFileError(f"{name} cannot be unpacked ({error})") from error


def _mtime_ns(entry: zipfile.ZipInfo) -> int:
    """Writers that know no date leave month and day 0."""
    year, month, day, *time = entry.date_time
    return calendar.timegm((year, min(max(1, month), 12), max(1, day), *time, 0, 0, 0)) * 10**9
