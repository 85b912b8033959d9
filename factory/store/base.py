"""What every store of files offers: a folder, or an object store's prefix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

READERS = 16
"""small objects to read at once: each costs an object store some milliseconds of waiting"""


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    name: str
    """relative to the store, with forward slashes"""
    size: int
    """bytes"""
    mtime_ns: int
    """last change, nanoseconds since 1970 UTC"""
    etag: str | None = None
    """the object store's own digest of the content; None on a local file system"""


class Store(Protocol):
    """Named objects of bytes below one location."""

    location: str

    def read(self, name: str) -> bytes:
        """The whole object. Raises `FileNotFoundError`."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises `FileNotFoundError`, `OSError` where it ends."""

    def read_tail(self, name: str, length: int) -> bytes:
        """The last `length` bytes, or all where there are fewer. Raises `FileNotFoundError`."""

    def size(self, name: str) -> int | None:
        """Bytes, or None where there is no such object."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Objects directly below `prefix/` (of "": of the store), in order of name."""

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        """Objects anywhere below `prefix/`, in no order; hidden and temporary files too."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix/`, in order."""

    def put_new(self, name: str, content: bytes) -> None:
        """Publish durably and exclusively. Raises `FileExistsError`: the name is taken."""

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Publish, replacing what was there.

        Args:
            durable: wait until it would survive a power cut; what is cheap to make again need not.
        """

    def delete(self, name: str) -> None:
        """Remove, if it is there."""
