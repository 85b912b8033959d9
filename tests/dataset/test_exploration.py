"""Writers, repair, removal of leftovers and publishing, in every order within a bound.

The code under test is the real one, against a store in memory that stops before each operation:
see `support.exploration`. `tests/all/test_all_interleavings.py` goes further.
"""

import pyarrow as pa
import pytest

from factory.dataset import commit
from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, tar_name
from factory.release import pins, publish
from factory.store.parquet import parquet_bytes
from factory.upkeep import garbage, repair
from schemas.index import ShardFacts, with_facts
from support import exploration
from support.exploration import ViolationError, explore

BOUNDS = {
    "two writers": (3, 1),
    "writer, removal": (3, 1),
    "writer, removal of a dead one's": (2, 1),
    "two repairs": (1, 0),
    "repair, removal": (1, 1),
    "withdrawal, writer": (2, 1),
    "publish, removal": (2, 1),
    "publish, abandoning": (3, 1),
    "two refinings": (1, 1),
}
"""preemptions and deaths at most; fewer where actors look at much"""


def _takes_nothing(monkeypatch) -> None:
    monkeypatch.setattr(garbage, "_is_too_late", lambda dataset, name: True)


def _keeps_nothing(monkeypatch) -> None:
    monkeypatch.setattr(garbage, "pinned_tars", lambda dataset: {})


def _does_not_look_again(monkeypatch) -> None:
    monkeypatch.setattr(publish, "_look_again", lambda dataset, parts, release: None)


def _writes_no_intent(monkeypatch) -> None:
    monkeypatch.setattr(publish, "_put_intent", lambda *arguments: None)


def _replaces_records(monkeypatch) -> None:
    def put(dataset: Dataset, table: pa.Table, facts: ShardFacts) -> bool:
        raw = parquet_bytes(with_facts(table, facts))
        dataset.store.put(index_name(facts.shard, facts.generation), raw)
        return True

    monkeypatch.setattr(commit, "put_record", put)


def _uses_names_twice(monkeypatch) -> None:
    """As when a writer that finds a tar of the name takes it for its own."""
    put_new = exploration.MemoryStore.put_new

    def put_or_take(store: exploration.MemoryStore, name: str, content: bytes) -> None:
        try:
            put_new(store, name, content)
        except FileExistsError:
            if not name.startswith(("shards/", "rejected/")):
                raise

    monkeypatch.setattr(commit, "new_tar_name", lambda facts, _: "shards/000000.tar")
    monkeypatch.setattr(commit, "new_rejects_name", lambda facts, _: "rejected/000000.parquet")
    monkeypatch.setattr(exploration.MemoryStore, "put_new", put_or_take)


def _withdraws_in_place(monkeypatch) -> None:
    def delete(dataset: Dataset, shard: int, generation: int, why: str) -> bool:
        name = tar_name(dataset.facts(shard))
        dataset.store.delete(index_name(shard, generation))
        dataset.store.delete(name)
        return True

    monkeypatch.setattr(repair, "withdraw", delete)


def _drops_without_a_trace(monkeypatch) -> None:
    monkeypatch.setattr(
        pins, "drop_unfinished", lambda dataset, release, why: pins._remove_files(dataset, release)
    )


FAULTS = [
    ("writer, removal", _takes_nothing),
    ("publish, withdrawal, removal", _keeps_nothing),
    ("publish, withdrawal, removal", _does_not_look_again),
    ("publish, withdrawal, removal", _writes_no_intent),
    ("two writers", _replaces_records),
    ("two writers", _uses_names_twice),
    ("withdrawal, writer", _withdraws_in_place),
    ("publish, abandoning", _drops_without_a_trace),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_each_fault_is_found_when_its_mend_is_taken_out(scenes, monkeypatch, name, fault) -> None:
    dataset, actors, invariants = scenes[name]
    fault(monkeypatch)
    with pytest.raises(ViolationError):
        explore(dataset, actors, invariants, preemptions=2, deaths=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_no_interleaving_loses_anything(scenes, name) -> None:
    dataset, actors, invariants = scenes[name]
    preemptions, deaths = BOUNDS[name]
    explored = explore(dataset, actors, invariants, preemptions=preemptions, deaths=deaths)
    print(f"{name}: {explored}")
    assert {f"{number} done" for number in range(len(actors))} <= explored.outcomes
