"""Parquet files in a store, read whole or by column."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.store.base import Store
from schemas.base import FormatError


class DamagedParquetError(FormatError):
    """The bytes of a file were read without a fault, but are not a whole Parquet file."""


class StoredFile(io.RawIOBase):
    """A stored object as a file of which only the requested ranges are read.

    Args:
        size: bytes of the object, from its listing.
    """

    def __init__(self, store: Store, name: str, size: int):
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


def read_columns(
    store: Store, name: str, size: int, columns: list[str]
) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Some columns of a Parquet file, and its metadata; the other columns are not read.

    Args:
        size: bytes of the object.

    Raises:
        FileNotFoundError: there is no such object.
        DamagedParquetError: the object is not a Parquet file with these columns.
    """
    with parsing_parquet(f"{store.location}/{name}"):
        opened = pa.PythonFile(StoredFile(store, name, size), "r")
        file = pq.ParquetFile(opened, pre_buffer=True)
        absent = set(columns) - set(file.schema_arrow.names)
        if absent:
            raise DamagedParquetError(f"{store.location}/{name} has no column {min(absent)}")
        return file.read(columns), dict(file.metadata.metadata or {})


def read_parquet(store: Store, name: str) -> tuple[pa.Table, dict[bytes, bytes]]:
    """All rows of a Parquet file, and its metadata.

    Raises:
        FileNotFoundError: there is no such object.
        DamagedParquetError: the object is not a Parquet file.
    """
    raw = store.read(name)
    with parsing_parquet(f"{store.location}/{name}"):
        file = pq.ParquetFile(pa.BufferReader(raw))
        # The table's schema repeats the metadata; callers take the file's.
        return file.read().replace_schema_metadata(), dict(file.metadata.metadata or {})


@contextmanager
def parsing_parquet(where: str) -> Iterator[None]:
    """Turn pyarrow's errors about bytes that do not parse into `DamagedParquetError`.

    An error of the store passes unchanged. It must never be taken for damage, because damaged
    shards are removed.
    """
    try:
        yield
    except pa.ArrowException as error:
        raise DamagedParquetError(f"{where}: {error}") from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise DamagedParquetError(f"{where}: {error}") from error  # pyarrow itself has no errno


def parquet_bytes(table: pa.Table, repeated: Sequence[str] | None = None) -> bytes:
    """A Parquet file in memory.

    Args:
        repeated: columns whose values repeat, which are stored as a dictionary. All others are
            stored plainly, which is faster and smaller where no value comes twice. None lets
            Parquet try a dictionary for every column.
    """
    buffer = io.BytesIO()
    dictionary = True if repeated is None else list(repeated)
    pq.write_table(table, buffer, compression="zstd", use_dictionary=dictionary)
    return buffer.getvalue()
