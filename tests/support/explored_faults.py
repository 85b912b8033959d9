"""Steps of the protocol that are taken out, so that a test can show that it finds the loss."""

import pyarrow as pa

from factory.dataset import commit
from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, tar_name
from factory.release import pins, publish
from factory.store.parquet import parquet_bytes
from factory.upkeep import garbage, repair
from schemas.index import ShardFacts, with_facts
from support.memory_store import MemoryStore


def takes_nothing(monkeypatch) -> None:
    monkeypatch.setattr(garbage, "_is_too_late", lambda dataset, name: True)


def keeps_nothing(monkeypatch) -> None:
    monkeypatch.setattr(garbage, "pinned_tars", lambda dataset: {})


def does_not_look_again(monkeypatch) -> None:
    monkeypatch.setattr(publish, "_look_again", lambda dataset, parts, release: None)


def writes_no_intent(monkeypatch) -> None:
    monkeypatch.setattr(publish, "_put_intent", lambda *arguments: None)


def replaces_records(monkeypatch) -> None:
    def put(dataset: Dataset, table: pa.Table, facts: ShardFacts) -> bool:
        raw = parquet_bytes(with_facts(table, facts))
        dataset.store.put(index_name(facts.shard, facts.generation), raw)
        return True

    monkeypatch.setattr(commit, "put_record", put)


def uses_names_twice(monkeypatch) -> None:
    """As when a writer that finds a tar of the name takes it for its own."""
    put_new = MemoryStore.put_new

    def put_or_take(store: MemoryStore, name: str, content: bytes) -> None:
        try:
            put_new(store, name, content)
        except FileExistsError:
            if not name.startswith(("shards/", "rejected/")):
                raise

    monkeypatch.setattr(commit, "new_tar_name", lambda facts, _: "shards/000000.tar")
    monkeypatch.setattr(commit, "new_rejects_name", lambda facts, _: "rejected/000000.parquet")
    monkeypatch.setattr(MemoryStore, "put_new", put_or_take)


def withdraws_in_place(monkeypatch) -> None:
    def delete(dataset: Dataset, shard: int, generation: int, why: str) -> bool:
        name = tar_name(dataset.facts(shard))
        dataset.store.delete(index_name(shard, generation))
        dataset.store.delete(name)
        return True

    monkeypatch.setattr(repair, "withdraw", delete)


def drops_without_a_trace(monkeypatch) -> None:
    monkeypatch.setattr(
        pins, "drop_unfinished", lambda dataset, release, why: pins._remove_files(dataset, release)
    )
