"""Plans: decided once, whoever else is planning, in whatever order a folder is listed."""

import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.ingestion.planning import parse_splits, split_of
from factory.store.local import LocalStore
from support import fakes, misbehaving
from support.planners import (
    OPTIONS,
    SPLITS,
    check_each_is_planned_once,
    empty_dataset,
    numbered,
    people,
    plan,
    plan_files,
    planned_ids,
)


def test_inputs_are_cut_into_shards_in_their_order(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    assert plan(dataset, numbered(1, 2, 3, 4, 5, 6, 7)) == 7
    assert planned_ids(dataset) == {0: ["1", "2", "3"], 1: ["4", "5", "6"], 2: ["7"]}


@pytest.mark.slow
def test_plans_do_not_depend_on_the_order_of_a_folders_listing(tmp_path, monkeypatch) -> None:
    stems = [f"{name}{n}" for name in ("a", "B", "sub/", "10_") for n in (1, 2, 9, 10, 11)]
    for folder in ("in", "in/sub"):
        (tmp_path / folder).mkdir()
    for stem in stems:
        (tmp_path / "in" / f"{stem}.jpg").write_bytes(b"x")
        os.utime(tmp_path / "in" / f"{stem}.jpg", ns=(1, 1))
    scandir, plans = os.scandir, []

    class Shuffled:
        def __init__(self, folder):
            self.entries = list(scandir(folder))
            random.Random(seed).shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *exception):
            pass

    for seed in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", Shuffled)
            dataset = fakes.plan_here(tmp_path / "in", tmp_path / str(seed), OPTIONS)
        plans.append(plan_files(dataset))
    assert all(files == plans[0] for files in plans)
    ids = [id for inputs in planned_ids(dataset).values() for id in inputs]
    assert ids.index("a2") < ids.index("a9") < ids.index("a10") < ids.index("a11")


@pytest.mark.slow
def test_new_inputs_get_new_shards_and_old_plans_stay(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    plan(dataset, numbered(2, 4, 6, 8))
    before = plan_files(dataset)
    assert plan(dataset, numbered(1, 2, 3, 4, 5, 6, 8)) == 3
    after = plan_files(dataset)
    assert {name: after[name] for name in before} == before
    assert planned_ids(dataset) == {0: ["2", "4", "6"], 1: ["8"], 2: ["1", "3", "5"]}
    assert plan(dataset, numbered(1, 2, 3, 4, 5, 6, 8)) == 0
    assert plan_files(dataset) == after


def test_inputs_that_are_gone_stay_planned(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    plan(dataset, numbered(1, 2))
    assert plan(dataset, numbered(2)) == 0
    assert planned_ids(dataset) == {0: ["1", "2"]}


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(4))
def test_a_planner_that_is_overtaken_plans_only_what_is_left(tmp_path, moment) -> None:
    """Another run, which sees more inputs, plans everything just before our plan `moment`."""
    dataset = empty_dataset(tmp_path / "eyes")
    ours, theirs = numbered(*range(1, 11)), numbered(*range(1, 15))
    calls = []

    def overtake(when: str, name: str) -> None:
        if when == "before":
            calls.append(name)
            if len(calls) == moment + 1:
                plan(dataset, theirs)

    plan(misbehaving.hooked(dataset, overtake), ours)
    assert calls
    check_each_is_planned_once(dataset, theirs.content)


@pytest.mark.slow
def test_planners_that_take_turns_never_plan_an_input_twice(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", shard_size=2)
    depth = 0

    def interleave(when: str, name: str) -> None:
        nonlocal depth
        if when == "before" and depth < 4:
            depth += 1
            plan(misbehaving.hooked(dataset, interleave), numbered(*range(1, 5 + 4 * depth)))

    plan(misbehaving.hooked(dataset, interleave), numbered(*range(1, 12)))
    assert depth == 4
    check_each_is_planned_once(dataset, numbered(*range(1, 21)).content)


@pytest.mark.slow
def test_planners_in_threads_never_plan_an_input_twice(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", shard_size=2)
    barrier = threading.Barrier(6)

    def run(number: int) -> None:
        barrier.wait()
        plan(dataset, numbered(*range(1, 31 + number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_each_is_planned_once(dataset, numbered(*range(1, 36)).content)


@pytest.mark.slow
def test_a_listing_that_misses_a_plan_makes_no_input_planned_twice(tmp_path) -> None:
    """A folder read while plans appear in it may show the second and not the first."""
    dataset = empty_dataset(tmp_path / "eyes")
    plan(dataset, numbered(1, 2, 3, 4, 5))
    store = misbehaving.ForgetfulStore(Path(dataset.location), ["plan/000000.json"])
    assert plan(Dataset(store, dataset.card), numbered(1, 2, 3, 4, 5, 6)) == 1
    check_each_is_planned_once(dataset, numbered(*range(1, 7)).content)


# --- inputs that change -----------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path) -> Path:
    for number in (1, 2, 3):
        fakes.write_pair(tmp_path / "in", str(number), seed=number)
    return tmp_path / "in"


def ingest(inputs: Path, tmp_path: Path) -> Dataset:
    return fakes.ingest_here(inputs, tmp_path / "eyes", OPTIONS, shard_size=3)


def touch(path: Path, ns: int) -> None:
    os.utime(path, ns=(ns, ns))


@pytest.mark.slow
def test_an_input_that_was_touched_and_not_changed_is_not_planned_again(inputs, tmp_path) -> None:
    ingest(inputs, tmp_path)
    for path in inputs.iterdir():
        touch(path, 5)
    assert planned_ids(ingest(inputs, tmp_path)) == {0: ["1", "2", "3"]}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jpg", "json"])
def test_an_input_whose_bytes_changed_is_superseded(inputs, tmp_path, suffix) -> None:
    first = ingest(inputs, tmp_path)
    before = fakes.files_below(Path(first.location), "shards", "index", "plan")
    if suffix == "jpg":
        (inputs / "2.jpg").write_bytes(fakes.jpeg(fakes.grey_picture(seed=99)))
    else:
        raw = (inputs / "2.json").read_text().replace("1.1E-17", "2.2E-17")
        (inputs / "2.json").write_text(raw)
    touch(inputs / f"2.{suffix}", 7)
    dataset = ingest(inputs, tmp_path)
    assert planned_ids(dataset) == {0: ["1", "2", "3"], 1: ["2"]}
    assert dataset.index(1)["supersedes"].to_pylist() == ["000000-000001"]
    assert dataset.index(0)["supersedes"].to_pylist() == [None] * 3
    after = fakes.files_below(Path(first.location), "shards", "index", "plan")
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_a_changed_input_of_an_unbuilt_shard_is_read_as_it_is_when_built(inputs, tmp_path) -> None:
    fakes.plan_here(inputs, tmp_path / "eyes", OPTIONS, shard_size=3)
    (inputs / "2.jpg").write_bytes(fakes.jpeg(fakes.grey_picture(seed=99)))
    assert planned_ids(ingest(inputs, tmp_path)) == {0: ["1", "2", "3"]}
    dataset = ingest(inputs, tmp_path)
    assert planned_ids(dataset) == {0: ["1", "2", "3"]}, "its facts changed, its bytes did not"


@pytest.mark.slow
def test_a_rejected_input_that_was_mended_becomes_a_sample_that_supersedes_none(
    inputs, tmp_path
) -> None:
    (inputs / "2.jpg").write_bytes(b"half")
    ingest(inputs, tmp_path)
    (inputs / "2.jpg").write_bytes(fakes.jpeg(fakes.grey_picture()))
    dataset = ingest(inputs, tmp_path)
    assert planned_ids(dataset)[1] == ["2"]
    assert dataset.index(1)["supersedes"].to_pylist() == [None]


@pytest.mark.slow
def test_a_sample_supersedes_the_newest_sample_not_a_rejected_version_between(
    inputs, tmp_path
) -> None:
    ingest(inputs, tmp_path)
    (inputs / "2.jpg").write_bytes(b"half")
    ingest(inputs, tmp_path)
    (inputs / "2.jpg").write_bytes(fakes.jpeg(fakes.grey_picture(seed=50)))
    dataset = ingest(inputs, tmp_path)
    assert planned_ids(dataset) == {0: ["1", "2", "3"], 1: ["2"], 2: ["2"]}
    assert len(dataset.index(1)) == 0
    assert dataset.index(2)["supersedes"].to_pylist() == ["000000-000001"]


# --- splits -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_identity_falls_in_one_split_and_a_shard_holds_one(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", splits=SPLITS)
    source = people()
    ids = list(source.content)
    for some in (ids[:37], ids[:80], ids):  # three runs, ever more renders
        part = misbehaving.FakeSource({id: source.content[id] for id in some}, source.identities)
        plan(dataset, part)
    splits_of: dict[str, set[str]] = {}
    for shard in dataset.planned():
        for planned in dataset.plan(shard).inputs:
            assert planned.identity == source.identities[planned.id]
            splits_of.setdefault(planned.identity, set()).add(dataset.plan(shard).split)
    assert len(splits_of) == 10 and all(len(splits) == 1 for splits in splits_of.values())
    assert set.union(*splits_of.values()) == set(SPLITS)
    check_each_is_planned_once(dataset, ids)


def test_shares_of_identities_are_those_asked_for() -> None:
    counts = Counter(split_of(f"person {n}", SPLITS) for n in range(20_000))
    assert abs(counts["train"] / 20_000 - 0.6) < 0.01


def test_an_input_without_readable_label_is_planned_all_the_same(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", splits=SPLITS)
    source = numbered(1, 2)
    source.identities = {"1": "unreadable"}
    plan(dataset, source)
    check_each_is_planned_once(dataset, ["1", "2"])


@pytest.mark.parametrize(
    "texts",
    [
        ["train"],
        ["train=x"],
        ["train=1", "train=1"],
        ["=1=2"],
        ["train=nan"],
        ["train=0.9", "test=nan"],
        ["train=inf", "test=-inf"],
    ],
)
def test_splits_that_make_no_sense_are_refused(texts) -> None:
    with pytest.raises(ValueError, match="split"):
        parse_splits(texts)


@pytest.mark.slow
def test_a_store_that_lists_in_another_order_changes_nothing(tmp_path, monkeypatch) -> None:
    dataset = empty_dataset(tmp_path / "eyes", shard_size=1)
    plan(dataset, numbered(*range(1, 12)))
    entries = LocalStore.entries
    monkeypatch.setattr(LocalStore, "entries", lambda s, p: reversed(list(entries(s, p))))
    assert plan(dataset, numbered(*range(1, 13))) == 1
    assert planned_ids(dataset)[11] == ["12"]
