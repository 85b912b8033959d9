"""What was read of a record once is not read again, unless the record is another one."""

from pathlib import Path

import pytest

from factory.dataset import known_facts as module
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import FACTS_CACHE, known_facts
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from support import fakes, planted


@pytest.fixture(scope="module")
def made(renders, tmp_path_factory) -> Dataset:
    output = tmp_path_factory.mktemp("known") / "eyes"
    return fakes.ingest_here(renders, output, UnityEyesOptions(), shard_size=6)


@pytest.fixture
def dataset(made, tmp_path, monkeypatch) -> Dataset:
    """Four shards, whose facts are saved."""
    monkeypatch.setattr(module, "WORTH_SAVING", 2)
    copy = planted.copied(made, tmp_path / "eyes")
    known_facts(copy, save=True)
    return copy


def read_anew(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards whose indexes are read when all facts are asked for; they are those on disk."""
    read: list[int] = []
    plain = dataset.facts_in
    with monkeypatch.context() as patch:
        patch.setattr(
            dataset,
            "facts_in",
            lambda shard, generation: read.append(shard) or plain(shard, generation),
        )
        facts = known_facts(dataset)
    assert facts == {shard: dataset.facts(shard) for shard in dataset.committed()}
    return read


def test_what_is_saved_is_not_read_again(dataset, monkeypatch) -> None:
    assert dataset.committed() == [0, 1, 2, 3]
    assert read_anew(dataset, monkeypatch) == []


def test_a_shard_that_was_replaced_or_withdrawn_is_another_one(
    dataset, renders, monkeypatch
) -> None:
    withdraw(dataset, 1, 1, "a test")
    assert read_anew(dataset, monkeypatch) == []
    fakes.build_here(dataset, renders, UnityEyesOptions())
    assert read_anew(dataset, monkeypatch) == [1] and known_facts(dataset)[1].generation == 3


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"nothing of the kind", None])
def test_without_the_cache_all_is_read(dataset, monkeypatch, content, caplog) -> None:
    if content is None:
        dataset.store.delete(FACTS_CACHE)
    else:
        dataset.store.put(FACTS_CACHE, content)
    assert read_anew(dataset, monkeypatch) == [0, 1, 2, 3]
    assert ("cannot be read and is left aside" in caplog.text) == (content is not None)


def test_a_cache_with_one_flipped_bit_is_left_aside(dataset, monkeypatch) -> None:
    raw = dataset.store.read(FACTS_CACHE)
    for position in range(20, len(raw), 97):
        dataset.store.put(FACTS_CACHE, planted.flipped(raw, position))
        assert sorted(read_anew(dataset, monkeypatch)) in ([0, 1, 2, 3], [])


def test_few_new_facts_are_not_worth_a_file(made, tmp_path) -> None:
    copy = planted.copied(made, tmp_path / "few")
    known_facts(copy, save=True)
    assert not (Path(copy.location) / FACTS_CACHE).exists()
