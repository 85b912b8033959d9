"""What every store of files offers: a folder, or an object store's prefix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

READERS = 16
"""small objects to read at once, as each takes an object store some milliseconds to answer"""


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    name: str
    """relative to the store, with forward slashes"""
    size: int
    """bytes"""
    mtime_ns: int
    """time of the last change, nanoseconds since 1970 UTC"""
    etag: str | None = None
    """the object store's own digest of the content; None on a local file system"""


class Store(Protocol):
    """Named objects of bytes below one location."""

    location: str

    def read(self, name: str) -> bytes:
        """The content of an object. Raises `FileNotFoundError`."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of an object from byte `offset` on.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: the object ends before the range does.
        """

    def read_tail(self, name: str, length: int) -> bytes:
        """The last `length` bytes, or all where there are fewer. Raises `FileNotFoundError`."""

    def size(self, name: str) -> int | None:
        """The size of an object in bytes, or None where there is no such object."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects directly below `prefix/` (directly in the store for ""), in order of name."""

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        """All objects anywhere below `prefix/`, in no order, also hidden and temporary files."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix/`, in order."""

    def put_new(self, name: str, content: bytes) -> None:
        """Publish an object durably under a name that nobody holds.

        Raises:
            FileExistsError: the name is taken.
        """

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Publish an object and replace what the name held before.

        Args:
            durable: wait until the object would survive a power cut. An object that is cheap to
                make again does not need this.
        """

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
