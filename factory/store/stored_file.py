"""A stored object as a file to seek in."""

import hashlib
import io
from typing import Any, Protocol

from factory.store.base import Store

READ_AT_ONCE = 1 << 23
"""bytes of a large object that are in memory at once"""


class Ranged(Protocol):
    """What a `StoredFile` asks of a store."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """As `Store.read_range`."""


class StoredFile(io.RawIOBase):
    """A stored object as a file of which only the requested ranges are read.

    Args:
        size: bytes of the object, from its listing.
    """

    def __init__(self, store: Ranged, name: str, size: int):
        self._store, self._object, self._size = store, name, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), max(0, self._size - self._position))
        if length:
            buffer[:length] = self._store.read_range(self._object, self._position, length)
            self._position += length
        return length


def stored_sha256(store: Store, name: str) -> tuple[str, int]:
    """(sha256 in hexadecimal digits, bytes) of an object, of which little is in memory at once.

    Raises:
        FileNotFoundError: there is no such object.
    """
    size = store.size(name)
    if size is None:
        raise FileNotFoundError(f"{store.location}/{name}")
    with io.BufferedReader(StoredFile(store, name, size), READ_AT_ONCE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), size
