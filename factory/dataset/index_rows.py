"""Rows of an index, gathered column by column, as Arrow is slow to convert lists of lists."""

import math
from array import array
from collections.abc import Mapping
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.base import FormatError


class IndexColumns:
    """Takes one row after the other, and gives the table of all rows."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._columns = [_column(field) for field in schema]
        self._adders = [
            (field.name, column.add) for field, column in zip(schema, self._columns, strict=True)
        ]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; columns that it lacks become null.

        Raises:
            FormatError: a list of numbers has another length than its column.
        """
        for name, add in self._adders:
            add(row.get(name))

    def table(self) -> pa.Table:
        """All rows.

        Raises:
            FormatError: a number is beyond the range of float32.
        """
        return pa.Table.from_arrays(
            [column.array() for column in self._columns], schema=self.schema
        )


class _Column(Protocol):
    def add(self, value: Any) -> None: ...
    def array(self) -> pa.Array: ...


def _column(field: pa.Field) -> _Column:
    shape, inner = [], field.type
    while pa.types.is_fixed_size_list(inner):
        shape.append(inner.list_size)
        inner = inner.value_type
    return _Vectors(field, shape) if shape and inner == pa.float32() else _Scalars(field)


def _check_finite(name: str, numbers: pa.Array) -> None:
    if not pa.compute.all(pa.compute.is_finite(numbers), min_count=0).as_py():
        raise FormatError(f"{name}: a number beyond the range of float32")


class _Scalars:
    """A column of texts, integers, booleans, single floats, or structs of these."""

    def __init__(self, field: pa.Field):
        self.field = field
        self.values: list[Any] = []
        self.add = self.values.append

    def array(self) -> pa.Array:
        values = pa.array(self.values, self.field.type)
        parts = values.flatten() if pa.types.is_struct(values.type) else [values]
        for part in parts:
            if part.type == pa.float32():
                _check_finite(self.field.name, part)
        return values


class _Vectors:
    """A column of (n, 2) points or (3,) vectors: a flat float32 buffer, and which rows are null."""

    def __init__(self, field: pa.Field, shape: list[int]):
        self.field = field
        self.is_nested = len(shape) == 2
        self.nothing = [0.0] * math.prod(shape)
        self.flat = array("f")
        self.is_null: list[bool] = []

    def add(self, value: Any) -> None:
        self.is_null.append(value is None)
        if value is None:
            self.flat.extend(self.nothing)
        else:
            self.flat.extend(chain.from_iterable(value) if self.is_nested else value)
        if len(self.flat) != len(self.is_null) * len(self.nothing):
            raise FormatError(f"{self.field.name}: expected {len(self.nothing)} numbers")

    def array(self) -> pa.Array:
        numbers = pa.array(np.frombuffer(self.flat, np.float32))
        _check_finite(self.field.name, numbers)
        kind, is_null = self.field.type, pa.array(self.is_null, pa.bool_())
        if self.is_nested:
            numbers = pa.FixedSizeListArray.from_arrays(numbers, type=kind.value_type)
        return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=is_null)
