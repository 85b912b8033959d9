"""Index rows gathered by column are those that Arrow makes of the rows themselves."""

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.index_rows import IndexColumns
from schemas.base import FormatError

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("mirrored", pa.bool_()),
        pa.field("shard", pa.int32()),
        pa.field("size", pa.float32()),
        pa.field("gaze", pa.list_(pa.float32(), 3)),
        pa.field("iris_px", pa.list_(pa.list_(pa.float32(), 2), 4)),
        pa.field("camera", pa.struct([("fx_px", pa.float32()), ("cx_px", pa.float32())])),
    ]
)


def random_rows(count: int) -> list[dict]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        row = {
            "key": str(number),
            "mirrored": bool(rng.integers(2)),
            "shard": 7,
            "size": rng.normal(),
            "gaze": rng.normal(size=3).tolist(),
            "iris_px": rng.normal(size=(4, 2)).tolist(),
            "camera": {"fx_px": rng.normal(), "cx_px": rng.normal()},
        }
        rows.append({name: v for name, v in row.items() if name == "key" or rng.random() < 0.7})
    return rows


@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_table_is_the_one_that_arrow_makes_of_the_rows(count: int) -> None:
    rows = random_rows(count)
    columns = IndexColumns(SCHEMA)
    for row in rows:
        columns.add(row | {"not a column": 1})
    table = columns.table()
    table.validate(full=True)
    assert table.equals(pa.Table.from_pylist(rows, schema=SCHEMA))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gaze", [1.0, 2.0]),
        ("gaze", [1.0, 2.0, 3.0, 4.0]),
        ("iris_px", [[1.0, 2.0]] * 3),
        ("iris_px", [[1.0, 2.0]] * 3 + [[1.0]]),
    ],
)
def test_lists_of_another_length_are_refused(name, value) -> None:
    with pytest.raises(FormatError, match=f"{name}: expected"):
        IndexColumns(SCHEMA).add({"key": "1", name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 1e39),
        ("gaze", [0, 0, -1e39]),
        ("iris_px", [[0, float("inf")]] * 4),
        ("camera", {"fx_px": 1.0, "cx_px": 1e39}),
    ],
)
def test_numbers_beyond_float32_are_refused(name, value) -> None:
    columns = IndexColumns(SCHEMA)
    columns.add({"key": "1", name: value})
    with pytest.raises(FormatError, match=f"{name}: a number beyond"):
        columns.table()
