"""A stored object as a file to seek in."""

import hashlib
import io
from collections.abc import Callable
from functools import partial
from typing import Any

from factory.store.base import Store

READ_AT_ONCE = 1 << 23
"""bytes of a large object that are in memory at once"""


class StoredFile(io.RawIOBase):
    """A stored object as a file of which only the requested ranges are read.

    Args:
        read_range: gives bytes of the object, by their offset and number, as `Store.read_range`.
        size: bytes of the object, from its listing.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int):
        self._read_range, self._size = read_range, size
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
            buffer[:length] = self._read_range(self._position, length)
            self._position += length
        return length


def opened(store: Store, name: str, size: int) -> io.BufferedReader:
    """An object of so many bytes as a file, of which little is in memory at once."""
    return io.BufferedReader(StoredFile(partial(store.read_range, name), size), READ_AT_ONCE)


def stored_sha256(store: Store, name: str) -> tuple[str, int]:
    """(sha256 in hexadecimal digits, bytes) of an object, of which little is in memory at once.

    Raises:
        FileNotFoundError: there is no such object.
    """
    size = store.size(name)
    if size is None:
        raise FileNotFoundError(f"{store.location}/{name}")
    with opened(store, name, size) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), size
