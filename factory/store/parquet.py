"""Parquet files in a store, read whole or by column."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from factory.store.base import Store
from factory.store.stored_file import StoredFile
from schemas.base import FormatError


class DamagedParquetError(FormatError):
    """The bytes of a file were read without a fault, but are not a whole Parquet file."""


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
        opened = pa.PythonFile(StoredFile(partial(store.read_range, name), size), "r")
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


def parquet_bytes(
    table: pa.Table, repeated: Sequence[str] | None = None, group_rows: int | None = None
) -> bytes:
    """A Parquet file in memory.

    Args:
        repeated: columns whose values repeat, which are stored as a dictionary. All others are
            stored plainly, which is faster and smaller where no value comes twice. None lets
            Parquet try a dictionary for every column.
        group_rows: rows that are stored together, and read together; None for a million.
    """
    buffer = io.BytesIO()
    dictionary = True if repeated is None else list(repeated)
    pq.write_table(
        table, buffer, compression="zstd", use_dictionary=dictionary, row_group_size=group_rows
    )
    return buffer.getvalue()
