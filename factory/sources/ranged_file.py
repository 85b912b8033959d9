"""A stored object as a file that is read by ranges, ahead of what is asked for."""

from functools import partial

from factory.store.base import Store
from factory.store.stored_file import StoredFile

AHEAD_BYTES = 8 << 20
"""bytes to read at once from an object store while members are read in order"""
NEAR_BYTES = 1 << 12
"""largest gap in bytes between two members that count as adjacent"""


class RangedFile(StoredFile):
    """An object as a file to seek in, read by ranges; the last range is held in memory."""

    def __init__(self, store: Store, name: str):
        size = store.size(name)
        if size is None:
            raise FileNotFoundError(f"{store.location}/{name} does not exist")
        super().__init__(partial(store.read_range, name), size)
        self._start, self._range = 0, b""
        self._ahead = 0

    def read(self, length: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        length = left if length < 0 else min(length, left)
        if length == 0:
            return b""
        end = self._start + len(self._range)
        if not self._start <= self._position <= self._position + length <= end:
            self._fetch(self._position, max(length, AHEAD_BYTES))
        begin = self._position - self._start
        self._position += length
        return self._range[begin : begin + length]

    def prepare(self, offset: int, length: int) -> None:
        """Read a range, and increasingly more behind it while ranges are read in order.

        A single member takes one request; reading all members in order takes one request for every
        `AHEAD_BYTES`.
        """
        length = min(length, self._size - offset)
        end = self._start + len(self._range)
        if self._start <= offset and offset + length <= end:
            return
        in_order = self._start <= offset <= end + NEAR_BYTES
        self._ahead = min(AHEAD_BYTES, max(2 * self._ahead, 4 * length)) if in_order else 0
        self._fetch(offset, max(length, self._ahead))

    def _fetch(self, offset: int, length: int) -> None:
        """Read a range, or what of it lies within the object."""
        length = min(length, self._size - offset)
        self._start, self._range = offset, self._read_range(offset, length)
