"""Index rows gathered by column are those that Arrow makes of the rows themselves, and say what
tars hold."""

import io
import tarfile

import numpy as np
import orjson
import pyarrow as pa
import pytest

from factory.dataset.index_rows import IndexColumns
from factory.dataset.tar import sha256
from schemas.base import FormatError
from support import fakes

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


def test_every_member_is_found_by_a_ranged_read_as_tarfile_finds_it(synthetic) -> None:
    for shard in synthetic.committed():
        tar = io.BytesIO(synthetic.store.read(fakes.tar_of(synthetic, shard)))
        with tarfile.open(fileobj=tar) as archive:
            members = {m.name: archive.extractfile(m).read() for m in archive}
        rows = synthetic.index(shard).to_pylist()
        assert len(members) == 2 * len(rows)
        for row in rows:
            for field in ("png", "json"):
                span = row[f"{field}_offset"], row[f"{field}_length"]
                raw = synthetic.store.read_range(fakes.tar_of(synthetic, shard), *span)
                assert raw == members[f"{row['key']}.{field}"]
            assert sha256(members[f"{row['key']}.png"]) == row["png_sha256"]


def test_index_rows_say_what_the_json_members_say(synthetic) -> None:
    for shard in synthetic.committed():
        rows = synthetic.index(shard).to_pylist()
        for row, sample in zip(rows, synthetic.samples(shard), strict=True):
            record = orjson.loads(sample.json)
            assert record.keys() == orjson.loads(next(synthetic.samples(0)).json).keys()
            for name in ("key", "split", "identity", "pupil_from", "eye_side", "mirrored"):
                assert row[name] == record[name]
            for name in ("pupil_px", "iris_px", "lid_px", "caruncle_px", "gaze", "crop_affine"):
                assert np.array_equal(np.float32(row[name]), np.float32(record[name])), name
            for name in ("eye_width_px", "gaze_yaw_rad", "head_pitch_rad", "pupil_size"):
                assert np.float32(row[name]) == np.float32(record[name]), name
            assert orjson.loads(row["extra"]) == record["extra"]
            assert (row["source_id"], row["shard"]) == (record["source"]["id"], shard)
