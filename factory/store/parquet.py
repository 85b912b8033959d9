"""Parquet files in a store: read whole, or only the parts that are asked for."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.store.base import Store
from schemas.base import FormatError


class DamagedParquetError(FormatError):
    """Bytes that were read well and are no whole Parquet file."""


class StoredFile(io.RawIOBase):
    """A stored object as a file of which only the ranges asked for are read.

    Args:
        size: of the object, bytes, as its listing says.
    """

    def __init__(self, store: Store, name: str, size: int):
        self._store, self._object, self._size = store, name, size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), max(0, self._size - self._place))
        if length:
            buffer[:length] = self._store.read_range(self._object, self._place, length)
            self._place += length
        return length


def read_columns(
    store: Store, name: str, size: int, columns: list[str]
) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Some columns of a Parquet file, and its metadata; the other columns are not read.

    Args:
        size: of the object, bytes.

    Raises:
        FileNotFoundError: no such object.
        DamagedParquetError: not a Parquet file with these columns.
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
        FileNotFoundError: no such object.
        DamagedParquetError: not a Parquet file.
    """
    raw = store.read(name)
    with parsing_parquet(f"{store.location}/{name}"):
        file = pq.ParquetFile(pa.BufferReader(raw))
        # The table's schema holds the metadata once more; other readers take the file's.
        return file.read().replace_schema_metadata(), dict(file.metadata.metadata or {})


@contextmanager
def parsing_parquet(where: str) -> Iterator[None]:
    """Tell bytes that do not parse from a store that could not be read.

    The second must never pass for damage: damaged shards are removed.
    """
    try:
        yield
    except pa.ArrowException as error:
        raise DamagedParquetError(f"{where}: {error}") from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise DamagedParquetError(f"{where}: {error}") from error  # as pyarrow says it


def parquet_bytes(table: pa.Table, repeated: Sequence[str] | None = None) -> bytes:
    """A Parquet file in memory.

    Args:
        repeated: columns whose values repeat. Others are stored as they are, which is faster and
            smaller than a dictionary of values that never come twice. None: let Parquet try.
    """
    buffer = io.BytesIO()
    dictionary = True if repeated is None else list(repeated)
    pq.write_table(table, buffer, compression="zstd", use_dictionary=dictionary)
    return buffer.getvalue()
