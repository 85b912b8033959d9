"""Columns of Arrow tables as numpy arrays."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def values_of(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of numbers as (N,) float64, NaN for null."""
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), np.float64)


def with_values(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The rows with (N,) other values in a column, whose type and place stay."""
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(place), values)


def points_of(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of points as (N, 2) float64."""
    return np.array(rows[name].to_pylist(), np.float64).reshape(len(rows), 2)
