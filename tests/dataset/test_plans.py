"""The form of a plan, and reading many of them."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.dataset.plans import plan_of_table, read_locations
from factory.ingestion.planning import plan_new_shards
from factory.sources.input_table import InputTable
from factory.sources.scan import FileFacts, batch_of
from schemas.base import FormatError
from schemas.dataset import plan_json
from support import fakes, misbehaving
from support.planners import OPTIONS, empty_dataset, numbered, plan, planned_ids


def test_a_plan_is_what_its_model_writes_and_names_the_files_of_its_inputs(tmp_path) -> None:
    for number in (1, 2):
        fakes.write_pair(tmp_path / "in", str(number))
    dataset = fakes.plan_here(tmp_path / "in", tmp_path / "eyes", OPTIONS)
    raw = dataset.store.read("plan/000000.json")
    assert dataset.plan(0).to_json() == raw
    assert {planned.suffixes for planned in dataset.plan(0).inputs} == {".jpg .json"}
    assert len(raw.splitlines()) == 4, "a line for each input"


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.text(min_size=1, max_size=12),
                "size": st.integers(0, 2**40),
                "mtime_ns": st.integers(-(2**60), 2**60),
                "etag": st.none() | st.just("etag"),
                "suffixes": st.none() | st.sampled_from([".jpg .json", '."', ".\\"]),
                "supersedes": st.none() | st.just("000000-000001"),
                "identity": st.none() | st.text(max_size=5),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_plan_of_columns_is_that_of_its_rows(rows) -> None:
    rows = [{name: row[name] for name in rows[0]} for row in rows]
    numbers = ("size", "mtime_ns")
    schema = pa.schema([(n, pa.int64() if n in numbers else pa.string()) for n in rows[0]])
    table = pa.Table.from_pylist(rows, schema=schema)
    assert plan_of_table(3, "train", "x", "there", table) == plan_json(
        3, "train", "x", "there", rows
    )


def test_heads_say_what_whole_plans_say(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    source = numbered(*range(7))
    source.location = "far/" + 3000 * "é"  # type: ignore[misc]
    plan(dataset, source)
    source.location = "near"  # type: ignore[misc]
    source.content |= {"8": "x"}
    plan(dataset, source)
    locations = [dataset.plan(shard).location for shard in range(4)]
    assert list(read_locations(dataset, range(4))) == locations
    dataset.store.put("plan/000003.json", dataset.store.read("plan/000002.json"))
    with pytest.raises(FormatError, match=r"plan/000003\.json: not the plan of shard 3"):
        list(read_locations(dataset, [3]))


def test_plans_of_an_older_writer_are_read(tmp_path) -> None:
    """Indented, with nulls, without etag and suffixes."""
    dataset = empty_dataset(tmp_path / "eyes")
    inputs = [{"id": str(n), "size": 9, "mtime_ns": 0, "identity": None, "supersedes": None}
              for n in (1, 2, 3)]  # fmt: skip
    old = {"format_version": 1, "shard": 0, "split": "train", "source": "unityeyes"}
    dataset.store.put_new(
        "plan/000000.json", json.dumps(old | {"inputs": inputs}, indent=2).encode()
    )
    assert plan(dataset, numbered(1, 2, 3, 4)) == 1
    assert planned_ids(dataset) == {0: ["1", "2", "3"], 1: ["4"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan["inputs"][1].pop("size"), r"inputs\.1\.size: Field required"),
        (lambda plan: plan["inputs"][1].update(id=7), r"inputs\.1\.id: Input should be a"),
        (lambda plan: plan["inputs"][0].update(size=-1), r"inputs\.0\.size.*greater than"),
        (lambda plan: plan["inputs"].append("x"), r"inputs\.3"),
        (lambda plan: plan.update(format_version=99), "newer than this program"),
        (lambda plan: plan.update(shard=7), "not the plan of shard 0 .* of shard 7"),
        (lambda plan: plan.pop("inputs"), "inputs: Field required"),
        (lambda plan: plan.clear(), "Field required"),
    ],
)  # fmt: skip
def test_a_plan_that_is_none_stops_the_planner_and_says_what_is_wrong(
    tmp_path, change, message
) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    plan(dataset, numbered(1, 2, 3))
    content = json.loads(dataset.store.read("plan/000000.json"))
    change(content)
    dataset.store.put("plan/000000.json", json.dumps(content).encode())
    with pytest.raises(FormatError, match=rf"plan/000000\.json: .*{message}"):
        plan(dataset, numbered(1, 2, 3, 4))


@pytest.mark.slow
def test_tables_that_outgrow_their_memory_go_to_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("factory.sources.input_table.MEMORY_LIMIT", "40MB")
    ids = [f"imgs/{n}" for n in range(300_000)]
    batch = batch_of(ids, FileFacts("x", 1, 2), None)
    dataset = empty_dataset(tmp_path / "eyes", shard_size=100_000)
    with InputTable(iter([batch])) as inputs:
        assert plan_new_shards(dataset, misbehaving.FakeSource(), inputs).num_new == 300_000
    with InputTable(iter([batch])) as inputs:
        assert plan_new_shards(dataset, misbehaving.FakeSource(), inputs).num_new == 0
    assert dataset.plan(2).inputs[-1].id == "imgs/299999"
