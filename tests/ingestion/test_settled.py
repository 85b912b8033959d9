"""A look at inputs that cannot have changed anything is not made twice, and any other one is."""

import errno
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion import run
from factory.ingestion.planning import OtherPlaceError
from factory.ingestion.settled import SETTLED_CACHE
from factory.store.local import LocalStore
from schemas.outcome import Outcome
from support import fakes

pytestmark = pytest.mark.slow

Make = Callable[..., list[Outcome]]


class Night:
    """Runs of ingest on a folder, and how many of them compared inputs with plans."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.renders, self.output = folder / "in", folder / "out"
        self.num_compared = 0
        plan = run.plan_new_shards

        def counted(*given: Any, **more: Any) -> Any:
            self.num_compared += 1
            return plan(*given, **more)

        patch.setattr(run, "plan_new_shards", counted)
        for number in range(6):
            fakes.write_pair(self.renders, str(number), seed=number)

    def __call__(
        self,
        renders: Path | None = None,
        make_shards: Make = fakes.make_shards_here,
        **options: Any,
    ) -> bool:
        """One run; whether it compared inputs with plans."""
        before = self.num_compared
        source = make_source(renders or self.renders, UnityEyesOptions())
        card = run.card_of(source, str(self.output), shard_size=2, splits={"train": 1.0})
        run.ingest_new_inputs(
            source, str(self.output), card, max_reject_share=1, make_shards=make_shards, **options
        )
        return self.num_compared > before

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.output)


@pytest.fixture
def night(tmp_path, monkeypatch) -> Night:
    return Night(tmp_path, monkeypatch)


def test_the_second_night_with_the_same_files_compares_nothing(night, caplog) -> None:
    assert night()
    before = fakes.files_below(night.output, "plan", "index", "shards")
    with caplog.at_level("INFO"):
        assert not night()
    assert "nothing to do: 6 inputs listed, 0 new; 6 planned inputs = 6 samples" in caplog.text
    assert fakes.files_below(night.output, "plan", "index", "shards") == before


def add(night: Night) -> None:
    fakes.write_pair(night.renders, "new", seed=9)


def touch(night: Night) -> None:
    os.utime(night.renders / "1.jpg", (1, 1))


def remove(night: Night) -> None:
    (night.renders / "1.jpg").unlink()


def take_out(night: Night) -> None:
    withdraw(night.dataset, 1, 1, "a test")


def forget(night: Night) -> None:
    night.dataset.store.delete(SETTLED_CACHE)


def damage(night: Night) -> None:
    night.dataset.store.put(SETTLED_CACHE, b"{")


@pytest.mark.parametrize("change", [add, touch, remove, take_out, forget, damage])
def test_after_a_change_everything_is_compared_again(night, change) -> None:
    night()
    change(night)
    assert night()
    assert night.dataset.committed() == night.dataset.planned()
    assert not night() or (change is remove and not night())


def test_another_question_is_answered_anew(night) -> None:
    night()
    assert night(min_shard=3)
    assert night(moved=True)
    assert not night(min_shard=3)


def test_a_cache_that_cannot_be_written_fails_no_run(night, monkeypatch, caplog) -> None:
    plain = LocalStore.put

    def full(store: LocalStore, name: str, content: bytes, **how: Any) -> None:
        if name.startswith("cache/"):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        plain(store, name, content, **how)

    monkeypatch.setattr(LocalStore, "put", full)
    assert night() and night()
    assert "cache/settled.json is not saved; the next run compares all inputs" in caplog.text


def test_inputs_that_are_held_back_stay_so(night, caplog) -> None:
    night()
    add(night)
    assert night(min_shard=2) and not night(min_shard=2)
    with caplog.at_level("INFO"):
        night(min_shard=2)
    assert "7 inputs listed, 0 new, 1 held back until there are 2" in caplog.text


def test_an_input_that_was_gone_while_its_shard_was_built_is_not_forgotten(night) -> None:
    def without_one(*given: Any) -> list[Outcome]:
        (night.renders / "3.json").rename(night.renders.parent / "3.json")
        outcomes = fakes.make_shards_here(*given)
        (night.renders.parent / "3.json").rename(night.renders / "3.json")
        return outcomes

    night(make_shards=without_one)
    assert sum(night.dataset.facts(shard).num_samples for shard in range(3)) == 5
    assert night()
    assert sum(night.dataset.facts(shard).num_samples for shard in range(4)) == 6


def test_a_plan_that_another_run_adds_meanwhile_is_looked_at(night, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(night.renders, other)
    fakes.write_pair(other, "1", seed=77)

    def beside_another(*given: Any) -> list[Outcome]:
        outcomes = fakes.make_shards_here(*given)
        night(other, moved=True)
        return outcomes

    night(make_shards=beside_another)
    assert len(night.dataset.committed()) == 4
    with pytest.raises(OtherPlaceError, match="would replace it"):
        night()


def test_nor_is_one_forgotten_that_is_not_built_yet(night, tmp_path) -> None:
    other = tmp_path / "other"
    fakes.write_pair(other, "77", seed=77)

    def die(*_: Any) -> list[Outcome]:
        raise InterruptedError

    def beside_another(*given: Any) -> list[Outcome]:
        outcomes = fakes.make_shards_here(*given)
        with pytest.raises(InterruptedError):
            night(other, make_shards=die)
        return outcomes

    night(make_shards=beside_another)
    assert len(night.dataset.committed()) == 3
    with pytest.raises(ValueError, match=r"1 planned shards wait for a run with --input .*other"):
        night()


def test_archives_are_settled_by_the_first_night_that_opens_none(night) -> None:
    with zipfile.ZipFile(night.renders / "more.zip", "w") as archive:
        for name in ("1.jpg", "1.json"):
            archive.write(night.renders / name, name)
    assert night() and night() and not night()
    with zipfile.ZipFile(night.renders / "more.zip", "a") as archive:
        for name in ("2.jpg", "2.json"):
            archive.write(night.renders / name, name)
    assert night()
    assert sum(f.num_samples for f in night.dataset.all_facts(night.dataset.committed())) == 8


def test_plans_are_read_by_their_heads_where_nothing_is_listed(night, monkeypatch) -> None:
    for path in list(night.renders.iterdir()):
        with zipfile.ZipFile(night.renders / "all.zip", "a") as archive:
            archive.write(path, path.name)
        path.unlink()
    night()
    monkeypatch.setattr("factory.ingestion.ledger.read_plans", None)
    assert night()
    forget(night)
    withdraw(night.dataset, 1, 1, "a test")
    assert night() and night.dataset.committed() == [0, 1, 2]
