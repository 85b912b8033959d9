"""Columns of Arrow tables as numpy arrays, and arrays as columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def values_of(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of numbers as (N,) float64, NaN for null."""
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), np.float64)


def with_values(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The rows with (N,) other values in a column, whose type and place stay."""
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(index), values)


def points_of(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of points as (N, 2) float64."""
    return np.array(rows[name].to_pylist(), np.float64).reshape(len(rows), 2)


def lists_of(rows: pa.Table, name: str, what: str) -> NDArray[np.floating]:
    """A column of lists of fixed size, which may be nested, as (N, ...) in its own type.

    Args:
        what: the rows need it for, to begin with what it is: `gaze to learn from`.

    Raises:
        ValueError: some rows have none.
    """
    column, shape = rows[name].combine_chunks(), [len(rows)]
    if column.null_count:
        raise ValueError(f"{column.null_count} samples have no {what}")
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)


def table_of(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table of columns of one length; NaN, and columns that are not given, are null."""
    num = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type, from_pandas=True)
        if field.name in columns
        else pa.nulls(num, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
