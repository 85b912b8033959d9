"""Queries on labels and measures: what they find, in which order, what they cost, what is wrong."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from factory.browse import query
from factory.browse.measured import JoinedTable, Measurements
from factory.browse.query import Answers, Query, QueryError
from factory.browse.table import DatasetTable, ReleaseTable
from factory.domains.registry import domain_of
from factory.reading.selection import Selection
from factory.release.state import read_manifest
from support.browsing import NOT_MEASURED
from support.releases import REPORT_ID

pytestmark = pytest.mark.slow

Row = dict[str, Any]
FOUND: dict[str, Callable[[Row], bool]] = {
    "gaze_yaw_deg > 5": lambda row: math.degrees(row["gaze_yaw_rad"]) > 5,
    "registration_px > 0.45 and gaze[1] < 0": lambda row: (
        row["registration_px"] is not None and row["registration_px"] > 0.45 and row["gaze"][0] < 0
    ),
    "likeness is null": lambda row: row["likeness"] is None,
    "shard in (0, 3) and not registration_px between 0.25 and 0.65": lambda row: (
        row["shard"] in (0, 3)
        and row["registration_px"] is not None
        and not 0.25 <= row["registration_px"] <= 0.65
    ),
    "key like '%3'": lambda row: row["key"].endswith("3"),
    "abs(degrees(gaze_pitch_rad)) < 8": lambda row: abs(math.degrees(row["gaze_pitch_rad"])) < 8,
    "regexp_matches(key, '[25]$') or key similar to '.*3'": lambda row: row["key"][-1] in "253",
    "not keep": lambda row: row["key"] in ("000000-000001", "000001-000000") or row["shard"] == 2,
    "list_contains(reasons, 'drift_px')": lambda row: (
        row["key"] in ("000000-000001", "000001-000000")
    ),
}
ORDERS: dict[str, Callable[[Row], float | None]] = {
    "registration_px": lambda row: row["registration_px"],
    "gaze_yaw_deg": lambda row: row["gaze_yaw_rad"],
    "abs(gaze_yaw_deg)": lambda row: abs(row["gaze_yaw_rad"]),
    "likeness - 2 * registration_px": lambda row: (
        None if row["likeness"] is None else row["likeness"] - 2 * row["registration_px"]
    ),
}


def joined(places, release: str | None = None, report: str | None = REPORT_ID) -> JoinedTable:
    dataset, domain = places.refined, domain_of(places.refined)
    table = (
        DatasetTable.of(dataset)
        if release is None
        else ReleaseTable(dataset, read_manifest(dataset, release))
    )
    notes, guide = domain.label_guide().notes, domain.measure_guide()
    return JoinedTable(table, notes, Measurements.newest(dataset), guide, report)


@pytest.fixture(scope="module")
def table(places) -> JoinedTable:
    return joined(places)


def keys_of(table: JoinedTable, **asked: Any) -> list[str]:
    answer = Answers(table).of(Query(**asked))
    rows = answer.page(0, 1000)
    assert len(rows) == answer.num_found and answer.is_complete
    return [row["key"] for row in table.take(rows, ["key"]).to_pylist()]


@pytest.mark.parametrize("where", FOUND)
def test_exactly_the_samples_are_found_that_a_loop_finds(table, places, where) -> None:
    expected = [row["key"] for row in places.rows() if FOUND[where](row)]
    assert 0 < len(expected) < 24
    assert keys_of(table, where=where) == expected


def test_a_release_is_asked_as_its_dataset_is(table, places) -> None:
    asked = {"where": "shard in (1, 3) and registration_px > 0.05", "sort": "registration_px"}
    released = joined(places, "r1")
    assert released.num_samples == table.num_samples == 24
    assert keys_of(released, **asked) == keys_of(table, **asked) != []


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ORDERS)
def test_the_order_is_that_of_a_loop_and_what_is_not_measured_comes_last(
    table, places, sort, descending
) -> None:
    def place(row: Row) -> tuple[bool, float, str]:
        value = ORDERS[sort](row)
        number = 0.0 if value is None else round(-value if descending else value, 5)
        return value is None, number, row["key"]

    expected = [row["key"] for row in sorted(places.rows(), key=place)]
    assert keys_of(table, sort=sort, descending=descending) == expected
    assert (expected[-1] == NOT_MEASURED) == ("gaze" not in sort)


def test_measures_and_verdicts_stand_beside_the_right_samples(table, places) -> None:
    """Those of one shard are in another order than its samples, and one is missing."""
    order = list(range(table.num_samples))[::-3]
    rows = table.take(order, ["likeness", "keep", "key"]).to_pylist()
    by_key = {row["key"]: row for row in places.rows()}
    assert len(rows) == 8
    for row in rows:
        assert row["likeness"] == by_key[row["key"]]["likeness"]
        assert row["keep"] is not FOUND["not keep"](by_key[row["key"]])


def test_functions_that_a_query_may_use_follow_from_one_row(places) -> None:
    import duckdb

    rows = duckdb.execute(
        "SELECT function_name, bool_and(function_type = 'scalar' AND stability = 'CONSISTENT') "
        "FROM duckdb_functions() GROUP BY 1"
    ).fetchall()
    plain = {name for name, is_plain in rows if is_plain}
    assert query.FUNCTIONS - plain == set()


WRONG = {
    "gaze_yaw_deg > 20 and iris_px > 1": (23, "iris_px > 1", "iris_px is not one number"),
    "registration > 1": (1, "registration", "there is no column registration"),
    "gaze_yaw_deg >": (15, "", "it ends before it is complete"),
    "repeat(key, 9) = 'x'": (1, "repeat(key, 9)", "the function repeat cannot be used here"),
    "replace(key, '0', key) = 'x'": (1, "replace(key, '0', key)", "cannot be used here"),
    "key = 'ä' and (select 1) = 1": (15, "(select 1)", "it may not have a subquery in it"),
    "read_text('/etc/passwd') = key": (1, "read_text('/etc/passwd')", "cannot be used here"),
    "list_transform(gaze, lambda x: x)[1] > 0": (22, "lambda x: x", "may not have a lambda"),
    "gaze_yaw_deg + 1": (None, "", "it is of type float, not true or false"),
    "1 = 1; drop table x": (6, ";", "syntax error"),
    "cast(key as integer) > 0": (None, "", "Could not convert"),
    "1 = 1) union select (true": (None, "", "it is more than an expression"),
    "1 = 1); select (true": (None, "", "it is more than an expression"),
    f"{'not ' * 950}keep": (None, "", "its parts are nested too deeply"),
    "regexp_matches(key, '.{0,1000}' || key)": (
        1,
        "regexp_matches(key, '.{0,1000}' || key)",
        "the pattern has to be one text in quotes",
    ),
    "keep and key similar to key": (14, "similar to key", "the pattern has to be one text"),
}


@pytest.mark.parametrize("where", WRONG)
def test_what_is_wrong_is_said_in_a_sentence_with_its_place(places, where) -> None:
    start, part, why = WRONG[where]
    with pytest.raises(QueryError) as caught:
        Answers(joined(places)).of(Query(where=where))
    error = caught.value
    assert why in str(error) and str(error).startswith("The query ") and str(error).endswith(".")
    assert (error.start is None) == (start is None)
    if start is not None:
        assert f"at character {start}" in str(error) and error.start == start - 1
        assert where[error.start :][: error.length] == part


def test_a_query_may_be_nested_deeper_than_the_stack_of_python() -> None:
    nested = Selection(f"{'not ' * 480}keep", pa.schema([("keep", pa.bool_())]))
    assert nested.columns == ["keep"]


def test_columns_that_may_be_meant_are_offered(places) -> None:
    table = joined(places)
    for where, meant in (
        ("gaze_yaw > 3", "gaze_yaw_deg"),
        ("registration_p > 1", "registration_px"),
    ):
        with pytest.raises(QueryError) as caught:
            Answers(table).of(Query(where=where))
        assert meant in caught.value.instead
        assert set(caught.value.instead) <= set(table.columns)


def test_an_order_that_is_no_single_value_is_refused(places) -> None:
    with pytest.raises(QueryError, match=r"cannot be sorted by 'gaze'.*gaze\[1\]"):
        Answers(joined(places)).of(Query(sort="gaze"))
    for sort in ("'1 day'::interval", "shard::bignum"):
        with pytest.raises(QueryError, match=r"values of its type, .* have no order"):
            Answers(joined(places)).of(Query(sort=sort))
    with pytest.raises(QueryError, match="The order cannot be understood at character 1"):
        Answers(joined(places)).of(Query(sort="no_such"))


def test_a_query_ends_when_its_time_is_up_and_says_how_far_it_came(places, monkeypatch) -> None:
    table, seen = joined(places), []
    read = JoinedTable.read
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(query.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(
        JoinedTable, "read", lambda self, span, names: seen.append(span) or read(self, span, names)
    )
    answer = Answers(table).of(Query(where="shard >= 0", seconds=15))
    assert not answer.is_complete
    assert 0 < len(seen) < 5, "it stopped between two shards"
    assert answer.num_looked_at == answer.num_found == seen[-1].stop < table.num_samples


def test_an_answer_holds_so_many_rows_and_counts_all(places, monkeypatch) -> None:
    monkeypatch.setattr(query, "MOST_HELD", 3)
    answers = Answers(joined(places))
    for asked in (Query(where="shard >= 0"), Query(sort="registration_px", descending=True)):
        answer = answers.of(asked)
        assert answer.num_found == 24 and answer.num_shown == len(answer.page(0, 99)) == 3
    rows = sorted(places.rows(), key=lambda row: (-(row["registration_px"] or -1), row["key"]))
    held = answers.table.take(answer.page(0, 3), ["key"])["key"].to_pylist()
    assert held == [row["key"] for row in rows[:3]]


def test_an_answer_is_remembered(places, monkeypatch) -> None:
    answers = Answers(joined(places))
    first = answers.of(Query(where="shard = 1"))
    monkeypatch.setattr(JoinedTable, "read", lambda *_: pytest.fail("it was read again"))
    assert answers.of(Query(where="shard = 1")) is first
    assert answers.of(Query()).page(20, 10) == [20, 21, 22, 23]


def test_a_query_does_not_wait_longer_for_others_than_it_may_take(places) -> None:
    """Else some impatient reloads of a slow query would keep all threads of the server."""
    answers = Answers(joined(places))
    with (
        ThreadPoolExecutor(1) as pool,
        answers._lock,
        pytest.raises(QueryError, match="Another query is still being answered"),
    ):
        pool.submit(answers.of, Query(where="shard = 1", seconds=0.01)).result(timeout=5)
    assert answers.of(Query(where="shard = 1")).num_found == 5
