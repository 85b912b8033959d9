"""The integrity check finds every kind of damage, and nothing where there is none."""

from typing import Any

import numpy as np
import orjson
import pytest

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.names import index_name
from factory.store.parquet import DamagedParquetError, read_parquet
from factory.upkeep.means import FromSource
from factory.upkeep.repair import apply_repairs, repairs_for
from support import fakes, planted, releases
from support.planted import verified

pytestmark = pytest.mark.slow


def test_nothing_is_wrong_with_what_nobody_touched(dataset, child) -> None:
    releases.release(child)
    assert verified(dataset) == [] and verified(child, dataset) == []
    assert verified(child, None) == [], "also where the parent cannot be reached"


def test_an_empty_shard_is_whole(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1", image=b"no picture")
    assert verified(fakes.ingest_here(tmp_path / "in", tmp_path / "out", planted.OPTIONS)) == []


@pytest.mark.parametrize("damage", planted.DAMAGE)
def test_damage_is_found_by_name(dataset, damage) -> None:
    plant, kind = planted.DAMAGE[damage]
    plant(dataset.store, 1)
    (problem,) = verified(dataset)
    assert (problem.shard, problem.kind) == (1, kind)
    assert "000001" in problem.name and "jobs/repair.py" in problem.fix


@pytest.mark.parametrize("damage", planted.PLAN_DAMAGE)
def test_a_damaged_plan_is_found(dataset, damage) -> None:
    planted.PLAN_DAMAGE[damage](dataset.store, 1)
    (problem,) = verified(dataset)
    assert (problem.kind, problem.name) == ("plan", "plan/000001.json")
    assert "backup" in problem.fix


def test_a_plan_of_other_inputs_is_found(dataset) -> None:
    plan = orjson.loads(dataset.store.read("plan/000001.json"))
    plan["inputs"] = plan["inputs"][:-1]
    dataset.store.put("plan/000001.json", orjson.dumps(plan))
    assert "plans 3 inputs of train, its index says 4" in verified(dataset)[0].what


def test_damage_is_found_in_every_kind_of_store(two_shards, any_location) -> None:
    dataset = planted.copied(two_shards, any_location)
    assert verified(dataset) == []
    planted.DAMAGE["a bit flipped in an image"][0](dataset.store, 0)
    planted.DAMAGE["a truncated index"][0](dataset.store, 1)
    assert [(p.shard, p.kind) for p in verified(dataset)] == [(0, "tar"), (1, "index")]


def test_any_flipped_byte_of_an_index_is_found_or_changes_nothing(dataset) -> None:
    good = dataset.store.read(index_name(0))
    rows, facts = dataset.index(0), dataset.facts(0)
    places = np.random.default_rng(3).choice(len(good), 60, replace=False)
    num_found = 0
    for position in places.tolist():
        dataset.store.put(index_name(0), planted.flipped(good, position))
        problems = verified(dataset, shards=[0])
        num_found += bool(problems)
        if not problems:  # bytes that no reader looks at
            assert dataset.index(0).equals(rows)
            assert dataset.facts(0).model_copy(update={"writer": facts.writer}) == facts
    assert num_found > 15


def test_a_tar_of_another_dataset_with_its_index_is_found(dataset, tmp_path) -> None:
    """All digests fit, and it is still not the planned shard."""
    planted.write_inputs(tmp_path / "others")
    (tmp_path / "others" / "3.jpg").unlink()
    (tmp_path / "others" / "3.json").unlink()
    other = fakes.ingest_here(
        tmp_path / "others", tmp_path / "other", planted.OPTIONS, shard_size=4
    )
    planted.put_shard(dataset, other, 0)
    problems = verified(dataset)
    assert "made of the input" in problems[0].what and problems[0].kind == "tar"


def test_an_index_of_another_refiner_is_found(dataset, child, tmp_path) -> None:
    other = fakes.save_tiny_refiner(tmp_path / "other-refiner", seed=5)
    theirs = fakes.refine_here(dataset, other, tmp_path / "theirs")
    planted.put_shard(child, theirs, 0)
    kinds = [problem.kind for problem in verified(child, dataset)]
    assert kinds == ["index", "index", "tar"], "config digest, refiner, provenance of samples"


def test_a_child_whose_parent_changed_is_stale(dataset, child) -> None:
    dataset.store.delete(index_name(0))
    (gone,) = verified(child, dataset)
    assert gone.kind == "stale" and "that is gone" in gone.what
    raw = child.store.read(index_name(0))
    dataset.store.put(index_name(0), raw)
    (changed,) = verified(child, dataset)
    assert changed.kind == "stale" and "another parent shard" in changed.what
    assert "--withdraw-stale" in changed.fix


def test_a_parent_that_cannot_be_read_is_not_blamed_on_the_child(dataset, child) -> None:
    planted.DAMAGE["a truncated index"][0](dataset.store, 1)
    (problem,) = verified(child, dataset)
    assert (problem.kind, problem.shard) == ("parent", 1) and "Mend the parent" in problem.fix


def test_a_shard_that_is_not_committed_is_nobodys_fault(dataset) -> None:
    dataset.store.delete(index_name(1))
    assert verified(dataset) == [], "the next run makes it"
    withdraw(dataset, 0, 1, "a test")
    assert verified(dataset) == [] and dataset.committed() == []


@pytest.mark.parametrize("damage", ["a truncated tar", "a missing tar"])
def test_a_release_of_a_damaged_shard_is_broken(child, dataset, damage) -> None:
    releases.release(child)
    planted.DAMAGE[damage][0](child.store, 1)
    problems = verified(child, dataset)
    broken = [problem for problem in problems if problem.kind == "release"]
    assert len(problems) == 2 and len(broken) == 1
    assert broken[0].name == "releases/r1/manifest.json" and "shard 1" in broken[0].what


def test_a_lost_record_of_an_earlier_generation_is_found_and_made_again(
    dataset, eight_inputs
) -> None:
    expected = planted.content(dataset)
    again = dataset.replacing({1: Replaced(1, fakes.tar_of(dataset, 1))})
    fakes.build_again(again, eight_inputs, 1)
    dataset.store.delete(index_name(1))
    (problem,) = verified(dataset)
    assert (problem.kind, problem.name) == ("index", index_name(1))
    repairs = repairs_for(
        dataset, [problem], means=FromSource(dataset, str(eight_inputs)), parent=None,
        withdraw_stale=False,
    )  # fmt: skip
    apply_repairs(
        dataset, repairs, means=FromSource(dataset, str(eight_inputs)), parent=None, children=(),
        make_shards=fakes.make_shards_here,
    )  # fmt: skip
    assert verified(dataset) == [] and planted.content(dataset) == expected
    assert dataset.facts(1).generation == 2


def test_a_release_of_a_shard_that_was_replaced_is_whole_and_its_own_tar_is_read(
    child, dataset
) -> None:
    releases.release(child)
    released = fakes.tar_of(child, 1)
    withdraw(child, 1, 1, "a test")
    assert verified(child, dataset) == []
    child.store.put(released, planted.flipped(child.store.read(released), 900))
    (problem,) = verified(child, dataset)
    assert problem.kind == "release" and "shard 1 is damaged" in problem.what


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        (
            "index/000000.parquet",
            lambda raw: planted.flipped(raw, 500),
            "not the one that its manifest",
        ),
        ("index/000000.parquet", None, "index/000000.parquet is missing"),
        ("train.wids.json", None, "train.wids.json is missing"),
        ("train.wids.json", lambda raw: raw.replace(b"000001", b"000009"), "lists other shards"),
        ("manifest.json", lambda raw: raw[:80], "cannot be read"),
    ],
)
def test_a_release_that_was_touched_is_broken(child, dataset, name, change, what) -> None:
    releases.release(child)
    path = f"releases/r1/{name}"
    if change is None:
        child.store.delete(path)
    else:
        child.store.put(path, change(child.store.read(path)))
    (problem,) = verified(child, dataset)
    assert problem.kind == "release" and what in problem.what


def test_a_damaged_report_is_found(child, dataset) -> None:
    name = f"reports/{releases.put_report(child)}/report.json"
    child.store.put(name, b"{")
    assert [(p.kind, p.name) for p in verified(child, dataset)] == [("report", name)]


class UnreachableStore:
    """A store whose server does not answer."""

    location = "nowhere"

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError("nobody answers")


def test_a_store_that_does_not_answer_is_never_taken_for_damage(dataset) -> None:
    with pytest.raises(ConnectionError, match="nobody answers"):
        verified(Dataset(UnreachableStore(), dataset.card), shards=[0])
    with pytest.raises(ConnectionError):
        read_parquet(UnreachableStore(), "index/000000.parquet")


def test_bytes_that_do_not_parse_are_damage(dataset) -> None:
    dataset.store.put(index_name(0), b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(DamagedParquetError):
        read_parquet(dataset.store, index_name(0))
