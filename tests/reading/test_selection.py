"""Samples chosen by an expression on the index."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest

from factory.reading.release import Release
from factory.reading.selection import Expression, Selection, SelectionError, TooSlowError
from support.reading import keys, place_of

CHOICES = {
    "gaze_yaw_rad > 0": lambda row: row["gaze_yaw_rad"] > 0,
    "degrees(gaze_yaw_rad) BETWEEN -10 AND 5": lambda row: (
        -10 <= np.degrees(row["gaze_yaw_rad"]) <= 5
    ),
    "gaze[1] > 0 and pupil_px[2] < 18.5": lambda row: (
        row["gaze"][0] > 0 and row["pupil_px"][1] < 18.5
    ),
    "identity IS NOT NULL AND NOT mirrored": lambda row: (
        row["identity"] is not None and not row["mirrored"]
    ),
    "shard in (1, 3) or key like '000000-%2'": lambda row: (
        row["shard"] in (1, 3) or (row["key"].startswith("000000-") and row["key"].endswith("2"))
    ),
    "1 = 1": lambda row: True,
    "supersedes > 'x'": lambda row: False,
}


@pytest.mark.parametrize("where", CHOICES)
def test_exactly_the_samples_are_read_that_a_loop_selects(released, where) -> None:
    index = pyarrow.dataset.dataset(f"{place_of(released)}/index").to_table().to_pylist()
    expected = [row["key"] for row in index if CHOICES[where](row)]
    release = Release(place_of(released), where=where)
    assert len(release) == len(expected)
    assert keys(release) == keys(release[i] for i in range(len(release))) == expected
    assert sorted(keys(release.epoch())) == expected
    parts = [keys(release.epoch(rank=rank, num_ranks=3, ends="uneven")) for rank in range(3)]
    assert sorted(key for part in parts for key in part) == expected


def test_it_selects_across_groups_of_rows_and_within_a_split(released, monkeypatch) -> None:
    """Groups that end in the middle of shards, as those of large indexes do."""
    plain = Release(place_of(released), where="gaze_yaw_rad > 0")
    expected, part = keys(plain), f"releases/r1/{plain.manifest.index_parts[0].url}"
    table = pa.parquet.read_table(f"{released.location}/{part}")
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, row_group_size=7)
    content = sink.getvalue().to_pybytes()
    store = type(released.store)
    monkeypatch.setattr(store, "size", lambda self, name: len(content))
    monkeypatch.setattr(store, "read_range", lambda self, name, at, n: content[at : at + n])
    release = Release(place_of(released), split="train", where="gaze_yaw_rad > 0")
    assert keys(release) == keys(release[i] for i in range(len(release))) == expected


REFUSED = {
    "gaze_yaw_deg > 20": "there is no column gaze_yaw_deg",
    "gaze_yaw_rad >": "syntax error",
    "gaze_yaw_rad": "not true or false",
    "mirrored; DROP TABLE x": "syntax error",
    "true) FROM read_text('/etc/passwd') WHERE (true": "it is more than an expression",
    "true), (false": "it is more than an expression",
    "(SELECT count(*) FROM read_text('/etc/hostname')) > 0": "may not have a subquery",
    "EXISTS (FROM range(10))": "may not have a subquery",
    "random() > 0.5": "random is no function of one row",
    "now() > made": "now is no function of one row",
    "sum(gaze_yaw_rad) > 1": "sum is no function of one row",
    "row_number() OVER () > 1": "may not have a window",
    "read_text('/etc/hostname') IS NULL": "read_text is no function of one row",
    "no_such(gaze_yaw_rad)": "there is no function no_such",
    "list_filter(gaze, lambda x: x > 0)[1] > 0": "may not have a lambda",
    "? > 1": "may not have a parameter",
    "identity > 1 + ": "syntax error",
    "x" * 5000: "longer than 4000 characters",
}


@pytest.mark.parametrize("where", REFUSED, ids=lambda where: where[:30])
def test_what_is_not_one_expression_on_the_columns_is_refused(released, where) -> None:
    with pytest.raises(SelectionError, match=REFUSED[where]) as refused:
        Release(place_of(released), where=where)
    assert "The columns of the index are key (string)" in str(refused.value)
    assert "gaze_yaw_rad (float)" in str(refused.value)


def test_a_value_that_cannot_be_computed_is_an_error_and_not_a_miss(released) -> None:
    with pytest.raises(SelectionError, match="Could not convert"):
        Release(place_of(released), where="cast(key as integer) > 0")


def test_names_of_columns_may_be_written_in_either_case(released) -> None:
    schema = released.index(0).schema
    assert Selection("GAZE_Yaw_rad > 0 and Mirrored", schema).columns == [
        name for name in schema.names if name in ("gaze_yaw_rad", "mirrored")
    ]


def test_an_expression_that_takes_too_much_memory_is_refused_soon(released) -> None:
    started = time.monotonic()
    with pytest.raises(SelectionError):
        Release(place_of(released), where="length(repeat(extra, 2000000000)) > 0")
    assert time.monotonic() - started < 20


def test_an_error_says_which_part_of_the_expression_is_wrong(released) -> None:
    schema = released.index(0).schema
    for where, wrong in (
        ("mirrored and 'ä' = key and gaze > 1", "gaze > 1"),
        ("shard > 1 or no_such < 2", "no_such"),
        ("abs(key) > 1 and mirrored", "abs(key)"),
    ):
        with pytest.raises(SelectionError) as caught:
            Selection(where, schema)
        part = caught.value.part
        assert part is not None and where[part.start :][: part.length] == wrong
        assert caught.value.expression == where and caught.value.why in str(caught.value)


def test_an_expression_is_given_up_when_its_time_is_up() -> None:
    rows = pa.concat_tables([pa.table({"text": ["a" * 10_000] * 1_000})] * 100)
    slow = Selection("regexp_matches(text, '(a+)(a+)(a*)b')", rows.schema)
    started = time.monotonic()
    with pytest.raises(TooSlowError, match=r"longer than 0\.1 s for 100,000 rows"):
        slow.of(rows, seconds=0.1)
    assert time.monotonic() - started < 10
    assert slow.of(rows.slice(0, 3), seconds=60).tolist() == [False] * 3


def test_functions_can_be_limited(released) -> None:
    schema, few = released.index(0).schema, {"abs", "+"}
    assert Selection("abs(gaze_yaw_rad) > 1", schema, functions=few).columns == ["gaze_yaw_rad"]
    with pytest.raises(SelectionError, match=r"the function sqrt cannot be used here.*: abs"):
        Selection("sqrt(gaze_yaw_rad) > 1", schema, functions=few)


def test_an_expression_that_is_no_selection_gives_values(released) -> None:
    rows = released.index(0)
    turned = Expression("degrees(gaze_yaw_rad)", rows.schema)
    expected = np.degrees(rows["gaze_yaw_rad"].to_numpy())
    assert np.allclose(turned.values(rows).to_numpy(), expected) and turned.type == pa.float64()
