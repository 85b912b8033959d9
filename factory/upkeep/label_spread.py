"""Ranges and quantiles of index columns, added up shard by shard in bounded memory."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.base import Float, Model

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_KEPT = 1 << 16
"""values of a column that its quantiles are computed from: a random sample where there are more"""
MAX_VALUES = 1000
"""different texts of a column that are counted one by one"""
_AXES = {2: ("x", "y"), 3: ("x", "y", "z")}


class Numbers(Model):
    """A distribution of numbers."""

    min: Float
    quantiles: tuple[Float, ...]
    """at 5, 25, 50, 75 and 95 %"""
    max: Float
    mean: Float
    sampled: bool
    """True: the quantiles are those of a random sample of 65,536; all else is exact"""


class ColumnSpread(Model):
    """What the values of one column, or of one coordinate of it, are."""

    column: str
    """`gaze_yaw_rad`; `pupil_px.x` for a coordinate, over all points where there are several"""
    num: int
    """values"""
    num_null: int
    """samples without"""
    numbers: Numbers | None = None
    """None for texts, and where every value is null"""
    values: dict[str, int] | None = None
    """texts and truth values, most frequent first"""


class _Sample:
    """Up to `MAX_KEPT` values, each of those added equally likely to be among them.

    Each value draws a number, and those with the smallest are kept: cut back when twice as many
    have gathered, so that a value is moved a few times only.
    """

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)
        self._values: list[NDArray[np.float64]] = []
        self._drawn: list[NDArray[np.float64]] = []
        self._num, self._limit = 0, 1.0

    def add(self, values: NDArray[np.float64]) -> None:
        drawn = self._rng.random(len(values))
        if self._limit < 1:
            low = drawn < self._limit
            values, drawn = values[low], drawn[low]
        self._values.append(values)
        self._drawn.append(drawn)
        self._num += len(values)
        if self._num > 2 * MAX_KEPT:
            self.values()

    def values(self) -> NDArray[np.float64]:
        values, drawn = np.concatenate(self._values), np.concatenate(self._drawn)
        if len(values) > MAX_KEPT:
            smallest = np.argpartition(drawn, MAX_KEPT - 1)[:MAX_KEPT]
            values, drawn = values[smallest], drawn[smallest]
            self._limit = float(drawn.max())
        self._values, self._drawn, self._num = [values], [drawn], len(values)
        return values


class _NumberColumn:
    def __init__(self, seed: int):
        self.num, self.num_null, self.total = 0, 0, 0.0
        self.min, self.max = np.inf, -np.inf
        self._sample = _Sample(seed)

    def add(self, values: NDArray[np.float64], num_null: int) -> None:
        self.num_null += num_null
        if not len(values):
            return
        self.num += len(values)
        self.total += float(values.sum())
        self.min, self.max = min(self.min, values.min()), max(self.max, values.max())
        self._sample.add(values)

    def spread(self, column: str) -> ColumnSpread:
        numbers = None
        if self.num:
            numbers = Numbers(
                min=float(self.min),
                quantiles=tuple(np.quantile(self._sample.values(), QUANTILES).tolist()),
                max=float(self.max),
                mean=self.total / self.num,
                sampled=self.num > MAX_KEPT,
            )
        return ColumnSpread(column=column, num=self.num, num_null=self.num_null, numbers=numbers)


class _TextColumn:
    def __init__(self) -> None:
        self.num, self.num_null = 0, 0
        self._counts: Counter[str] = Counter()

    def add(self, column: pa.ChunkedArray) -> None:
        self.num_null += column.null_count
        self.num += len(column) - column.null_count
        for pair in pc.value_counts(column.drop_null()).to_pylist():
            text = str(pair["values"])
            known = text in self._counts or len(self._counts) < MAX_VALUES
            self._counts[text if known else "(others)"] += pair["counts"]

    def spread(self, column: str) -> ColumnSpread:
        counts = dict(self._counts.most_common())
        return ColumnSpread(column=column, num=self.num, num_null=self.num_null, values=counts)


class LabelSpread:
    """Adds up columns of any domain: numbers, points and vectors, texts and truth values."""

    def __init__(self) -> None:
        self._columns: dict[str, _NumberColumn | _TextColumn] = {}

    def add(self, table: pa.Table) -> None:
        """The rows of one more shard."""
        for name, column in _fields(table):
            if not (_is_number(column.type) or pa.types.is_fixed_size_list(column.type)):
                held = self._columns.setdefault(name, _TextColumn())
                assert isinstance(held, _TextColumn)
                held.add(column)
                continue
            for part, values in _parts(name, column):
                held = self._columns.setdefault(part, _NumberColumn(seed=len(self._columns)))
                assert isinstance(held, _NumberColumn)
                held.add(values, column.null_count)

    def spreads(self) -> tuple[ColumnSpread, ...]:
        """Of every column so far, in the order of the table."""
        return tuple(held.spread(name) for name, held in self._columns.items())


def _fields(table: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Columns, the fields of records each as one of its own: `camera.fx_px`."""
    for name in table.column_names:
        column = table[name]
        if not pa.types.is_struct(column.type):
            yield name, column
            continue
        for field in column.type:
            yield f"{name}.{field.name}", pc.struct_field(column, field.name)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _parts(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The numbers of a column, one part for each coordinate of points and vectors."""
    values, size = column.combine_chunks(), 1
    while pa.types.is_fixed_size_list(values.type):
        size = values.type.list_size
        values = values.flatten()  # leaves null lists out
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64).reshape(-1, size)
    axes = _AXES.get(size, tuple(map(str, range(size))))
    for axis in range(size):
        part = numbers[:, axis]
        yield name if size == 1 else f"{name}.{axes[axis]}", part[~np.isnan(part)]
