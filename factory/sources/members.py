"""What all archives have in common: what their members are, how much is read, and what goes wrong.

Whatever an archive's parser raises is a fact about the archive or about one of its members. Only
the store's own failures are failures of a run, as they say nothing about the file.
"""

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from factory.sources.scan import FileFacts, joined_problems

MAX_FILE_BYTES = 1 << 29
"""of one file that is an input. Real pictures and labels are far smaller"""
MAX_RATIO = 200
"""how many times larger than its compressed form a file may be that is larger than `SMALL_BYTES`;
pictures and labels reach 20"""
SMALL_BYTES = 1 << 24


class DamagedFileError(Exception):
    """A file is listed, but its content cannot be read."""


class UnreadableArchiveError(ValueError):
    """A file is not an archive of a kind that is read here, or nothing in it can be read."""


@dataclass
class Contents:
    """What an archive holds beside the files that are listed."""

    problems: list[str] = field(default_factory=list)
    """why not all files of the archive can be listed, or not under their names"""
    ignored: Counter[str] = field(default_factory=Counter)
    """members that are no files of their own, by what they are"""

    def problem(self, where: str) -> str | None:
        """The problems of the archive at a place in one line; None where there is none."""
        joined = joined_problems(self.problems)
        return None if joined is None else f"{where}: {joined}"


class Archive(Protocol):
    """Named files in one archive."""

    contents: Contents

    def files(self) -> Iterator[FileFacts]:
        """Every file once, by its plain name; where a name is there twice, the last one of it."""

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            FileNotFoundError: the archive has no such file.
            DamagedFileError: the content cannot be read.
        """


def is_failure_of_store(error: BaseException) -> bool:
    """Whether an error came from the store that an archive lies in, and not from its content."""
    if isinstance(error, PermissionError | ConnectionError | FileNotFoundError | TimeoutError):
        return True
    # Parsers raise an OSError without a number, or seek to a place before the beginning.
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def check_size(name: str, size: int, packed: int | None = None) -> None:
    """Refuse a file that is larger than any input, before memory is taken for it.

    Args:
        size: of the content, bytes.
        packed: of its compressed form, bytes; None where it is not compressed.

    Raises:
        DamagedFileError: it is too large.
    """
    if size > MAX_FILE_BYTES:
        raise DamagedFileError(
            f"{name} has {size:,} bytes, more than the {MAX_FILE_BYTES:,} that one file may have"
        )
    if packed is not None and size > SMALL_BYTES and size > MAX_RATIO * packed:
        raise DamagedFileError(
            f"{name} would be unpacked from {packed:,} to {size:,} bytes, which is more than "
            f"{MAX_RATIO} times as much"
        )
