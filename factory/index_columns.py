"""Rows of an index, gathered column by column: numbers never become lists of lists for Arrow."""

from array import array
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from schemas.base import FormatError


class IndexColumns:
    """Takes one row after the other, and gives the table of all."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._columns = [(field.name, _column(field)) for field in schema]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; a column that it lacks is null.

        Raises:
            FormatError: a list of numbers has another length than its column.
        """
        for name, column in self._columns:
            column.add(row.get(name))

    def table(self) -> pa.Table:
        """All rows.

        Raises:
            FormatError: a number is beyond the range of float32.
        """
        return pa.Table.from_arrays(
            [column.array() for _, column in self._columns], schema=self.schema
        )


class _Column(Protocol):
    def add(self, value: Any) -> None: ...
    def array(self) -> pa.Array: ...


def _column(field: pa.Field) -> _Column:
    shape, inner = [], field.type
    while pa.types.is_fixed_size_list(inner):
        shape.append(inner.list_size)
        inner = inner.value_type
    return _Floats(field, shape) if inner == pa.float32() else _Plain(field.type)


class _Plain:
    """Texts, counts and truth values."""

    def __init__(self, kind: pa.DataType):
        self.kind = kind
        self.values: list[Any] = []
        self.add = self.values.append

    def array(self) -> pa.Array:
        return pa.array(self.values, self.kind)


class _Floats:
    """Numbers, points (n, 2), vectors (3,): one flat buffer of float32, and where it is null."""

    def __init__(self, field: pa.Field, shape: list[int]):
        self.field = field
        self.num_levels = len(shape)
        self.nothing = [0.0] * int(np.prod(shape))
        self.flat = array("f")
        self.is_null: list[bool] = []

    def add(self, value: Any) -> None:
        self.is_null.append(value is None)
        self.flat.extend(self.nothing if value is None else self._flattened(value))
        if len(self.flat) != len(self.is_null) * len(self.nothing):
            raise FormatError(f"{self.field.name}: expected {len(self.nothing)} numbers")

    def _flattened(self, value: Any) -> Iterable[float]:
        if self.num_levels == 0:
            return (value,)
        return value if self.num_levels == 1 else chain.from_iterable(value)

    def array(self) -> pa.Array:
        numbers = np.frombuffer(self.flat, np.float32)
        if not np.isfinite(numbers).all():
            raise FormatError(f"{self.field.name}: a number beyond the range of float32")
        is_null = np.array(self.is_null, bool)
        if self.num_levels == 0:
            return pa.array(numbers, mask=is_null)
        return _nested(pa.array(numbers), self.field.type, pa.array(is_null))


def _nested(numbers: pa.Array, kind: pa.DataType, is_null: pa.Array | None) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return numbers
    inner = _nested(numbers, kind.value_type, None)
    return pa.FixedSizeListArray.from_arrays(inner, type=kind, mask=is_null)
