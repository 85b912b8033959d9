"""The loose files of a location: those of a folder, or the objects below a prefix."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from factory.sources.archives import is_archive
from factory.sources.members import DamagedFileError, check_size
from factory.sources.names import (
    HIDDEN,
    MisnamedError,
    is_hidden,
    other_spellings,
    plain_name,
    suffix_of,
)
from factory.sources.scan import BATCH_ROWS, Container, FileBatch, FileFacts, in_batches
from factory.store.base import Store
from factory.store.local import LocalStore
from schemas.inputs import HIDDEN_FILES

READ_BYTES = 1 << 16
NO_SUFFIX = "without a suffix"
LEADS_NOWHERE = "links that lead to no file"
_ALL_MAY_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
Inodes = frozenset[tuple[int, int]]
Pending = tuple[str, Inodes]
"""a folder to walk, and the inodes of the folders above it"""


def _without_etags(batch: FileBatch) -> FileBatch:
    """The same batch without etags, which a local file system does not have."""
    return replace(batch, etags=[None] * len(batch.names))


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


_UNREADABLE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR)
"""errors that are about one file, whatever state its file system is in"""


class OtherFiles:
    """What a walk comes across beside inputs."""

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self.problems: list[Container] = []

    def add_problem(self, name: str, why: str) -> None:
        """Name a file or folder that cannot be read."""
        self.problems.append(Container(name, 0, 0, problem=why))

    def plain(self, name: str) -> str | None:
        """The plain name of a loose file; None where it has none under which it can be read."""
        try:
            plain = plain_name(name)
        except MisnamedError as error:
            self.add_problem(ascii(name), str(error))
            return None
        if plain == name or name in other_spellings(plain):
            return plain
        self.add_problem(ascii(name), f"{name!r}: rename this file, as to {plain!r}")
        return None


class Folder:
    """A folder and all folders below it; links to a folder above are not followed."""

    def __init__(self, root: Path):
        self.root = root
        self.store: Store = LocalStore(root)

    def walk(self, suffixes: Set[str], others: OtherFiles) -> Iterator[FileBatch]:
        """Files with one of the suffixes; files that vanish meanwhile are skipped."""
        pending = [("", frozenset({_inode(self.root.stat())}))]
        while pending:
            prefix, above = pending.pop()
            try:
                # Facts take the system a third less time relative to an open folder than by path.
                folder = os.open(self.root / prefix, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if not prefix:
                    raise
                if not isinstance(error, FileNotFoundError):
                    others.add_problem(prefix, f"{self.root / prefix}: {error.strerror}")
                continue
            try:
                yield from self._walk_one(folder, prefix, suffixes, above, pending, others)
            finally:
                os.close(folder)

    def _walk_one(
        self,
        folder: int,
        prefix: str,
        suffixes: Set[str],
        above: Inodes,
        pending: list[Pending],
        others: OtherFiles,
    ) -> Iterator[FileBatch]:
        batch, ignored = FileBatch(), others.ignored
        with os.scandir(folder) as entries:
            for entry in entries:  # may run millions of times, so every call counts
                name = entry.name
                if name.startswith(HIDDEN):
                    ignored[HIDDEN_FILES] += 1
                    continue
                try:
                    if entry.is_dir():
                        inode = _inode(entry.stat())
                        if inode not in above:
                            pending.append((f"{prefix}{name}/", above | {inode}))
                    elif not entry.is_file():
                        what = LEADS_NOWHERE if entry.is_symlink() else "pipes, sockets and devices"
                        ignored[what] += 1
                    elif name[name.rfind(".") :].lower() not in suffixes:
                        ignored[suffix_of(name) or NO_SUFFIX] += 1
                    else:
                        status = entry.stat()
                        path: str | None = prefix + name
                        if status.st_mode & _ALL_MAY_READ != _ALL_MAY_READ and not os.access(
                            name, os.R_OK, dir_fd=folder, effective_ids=True
                        ):
                            why = f"{self.root}/{path}: {os.strerror(errno.EACCES)}"
                            others.add_problem(prefix + name, why)
                            continue
                        if "\\" in prefix + name:
                            path = others.plain(prefix + name)
                            if path is None:
                                continue
                        batch.names.append(cast(str, path))
                        batch.sizes.append(status.st_size)
                        batch.mtimes_ns.append(status.st_mtime_ns)
                        if len(batch.names) == BATCH_ROWS:
                            yield _without_etags(batch)
                            batch = FileBatch()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno == errno.ELOOP:
                        ignored[LEADS_NOWHERE] += 1
                    else:
                        others.add_problem(
                            prefix + name, f"{self.root}/{prefix}{name}: {error.strerror}"
                        )
        if batch.names:
            yield _without_etags(batch)

    def read(self, name: str) -> bytes:
        # Takes a third of the time of Path.read_bytes, which makes a path and a buffer each time.
        try:
            file = os.open(f"{self.root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            # For this run it is not there; when it can be read again, it is planned again.
            raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
        try:
            size = os.fstat(file).st_size
            check_size(name, size)
            content = os.read(file, size + 1)
            if len(content) != size:  # the file is being changed, or a signal interrupted the read
                content += b"".join(iter(partial(os.read, file, READ_BYTES), b""))
        finally:
            os.close(file)
        return content


class Prefix:
    """Objects below one prefix of an object store."""

    def __init__(self, store: Store):
        self.store = store

    def walk(self, suffixes: Set[str], others: OtherFiles) -> Iterator[FileBatch]:
        """Objects with one of the suffixes."""
        return in_batches(self._files(suffixes, others))

    def _files(self, suffixes: Set[str], others: OtherFiles) -> Iterator[FileFacts]:
        for entry in self.store.walk():
            if is_hidden(entry.name):
                others.ignored[HIDDEN_FILES] += 1
            elif (suffix := suffix_of(entry.name)) not in suffixes:
                if not entry.name.endswith("/"):  # consoles make such objects for folders
                    others.ignored[suffix or NO_SUFFIX] += 1
            elif (name := others.plain(entry.name)) is not None:
                try:
                    if not is_archive(name):
                        check_size(name, entry.size)
                except DamagedFileError as error:
                    others.add_problem(name, str(error))
                    continue
                yield FileFacts(name, entry.size, entry.mtime_ns, entry.etag)

    def read(self, name: str) -> bytes:
        return self.store.read(name)
