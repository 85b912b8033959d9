"""Garbage: what is not part of a dataset is listed, mended or removed, and nothing else is."""

import os
import time
from pathlib import Path

import pytest

from factory.dataset.dataset import (
    Dataset,
    index_name,
    rejects_name,
    tar_name,
)
from factory.dataset.tar import pack, unpack
from factory.store.open import open_store
from factory.upkeep.garbage import (
    DAY_S,
    Stray,
    clean,
    stray_objects,
)
from schemas.lease import Lease
from schemas.version import WRITER
from support import fakes, planted, releases

OLD_S = 2 * DAY_S


def listed(dataset: Dataset, parent: Dataset | None = None, after_s: float = OLD_S) -> list[Stray]:
    """What is listed some time from now."""
    return stray_objects(dataset, parent, now_s=time.time() + after_s)


def actions(strays: list[Stray]) -> dict[str, tuple[str, str]]:
    return {stray.name: (stray.kind, stray.action) for stray in strays}


@pytest.mark.slow
def test_all_that_jobs_write_is_part_of_the_dataset(dataset, refiner, tmp_path) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    releases.release(child)
    for name in ("runs/x/config.json", "runs/x/log.txt", "reports/20261121-000000-aaaa/report.html",
                 "reports/20261121-000000-aaaa/samples/000000.parquet"):  # fmt: skip
        child.store.put(name, b"x")
    assert listed(dataset) == [] and listed(child, dataset) == []
    planned = fakes.plan_here(tmp_path / "eyes", tmp_path / "planned", planted.OPTIONS)
    assert listed(planned) == []


@pytest.mark.parametrize("after_s", [0.0, OLD_S])
def test_a_whole_orphan_is_committed_at_any_age(two_shards, dataset, after_s) -> None:
    dataset.store.delete(index_name(1))
    (stray,) = strays = listed(dataset, after_s=after_s)
    assert (stray.name, stray.kind, stray.action) == (tar_name(1), "orphan tar", "commit")
    (done,) = clean(dataset, strays)
    assert done.became == "committed"
    assert planted.content(dataset) == planted.content(two_shards), "byte for byte"
    assert listed(dataset) == []


def spoilt(dataset: Dataset) -> None:
    """Shard 1 without its index, and with two samples more than there should be."""
    samples = list(unpack(dataset.tar(1), where=""))
    dataset.store.delete(index_name(1))
    dataset.store.put(tar_name(1), pack([*samples, *samples]))


def test_a_spoilt_orphan_is_removed_when_it_is_old(dataset) -> None:
    spoilt(dataset)
    (young,) = listed(dataset, after_s=0.0)
    assert young.action == "keep" and "too young" in young.why and "planned keys" in young.why
    (unlimited,) = stray_objects(dataset, older_than_s=float("nan"))
    assert unlimited.action == "keep", "no age is old enough for a limit that is NaN"
    (old,) = strays = listed(dataset)
    assert old.action == "remove"
    assert [stray.became for stray in clean(dataset, strays)] == ["removed"]
    assert dataset.store.size(tar_name(1)) is None and listed(dataset) == []
    assert dataset.committed() == [0]


def test_nothing_is_removed_while_a_run_holds_a_lease(dataset) -> None:
    spoilt(dataset)
    held = Lease(holder="a", host="node-7", pid=3, since=0.0, expires=0.0)
    for expires, action in ((time.time() + 2 * OLD_S, "keep"), (time.time() + 60, "remove")):
        raw = held.model_copy(update={"expires": expires}).to_json()
        dataset.store.put("lease/ingest.json", raw)
        (stray,) = listed(dataset)
        assert stray.action == action
        assert ("process 3 on node-7" in stray.why) == (action == "keep")
    dataset.store.put("lease/ingest.json", b"half a le")
    assert listed(dataset)[0].action == "keep", "a lease that cannot be read may be held"


def test_an_orphan_that_nobody_planned_is_removed_when_it_is_old(dataset) -> None:
    dataset.store.put(tar_name(7), dataset.store.read(tar_name(0)))
    dataset.store.put(rejects_name(7), b"x")
    assert actions(listed(dataset)) == {
        tar_name(7): ("orphan tar", "remove"),
        rejects_name(7): ("rejects", "remove"),
    }


def test_rejects_of_a_planned_shard_are_on_their_way(dataset) -> None:
    dataset.store.delete(index_name(1))
    dataset.store.delete(tar_name(1))
    assert dataset.store.size(rejects_name(1)) and listed(dataset) == []


def test_leftovers_of_dead_writers_are_removed_when_they_are_old(dataset) -> None:
    dataset.store.put("tmp/0123456789abcdef", b"half a tar")
    assert actions(listed(dataset, after_s=0.0)) == {"tmp/0123456789abcdef": ("temporary", "keep")}
    (done,) = clean(dataset, listed(dataset))
    assert done.became == "removed" and listed(dataset) == []


def test_an_unfinished_release_and_report_are_removed_when_they_are_old(child) -> None:
    releases.release(child, "whole")
    child.store.put("releases/half/index.parquet", b"x")
    child.store.put("releases/half/train.wids.json", b"x")
    child.store.put("reports/20261122-000000-bbbb/samples/000000.parquet", b"x")
    before = planted.content(child)
    strays = listed(child)
    assert actions(strays) == {
        "releases/half/index.parquet": ("unfinished release", "remove"),
        "releases/half/train.wids.json": ("unfinished release", "remove"),
        "reports/20261122-000000-bbbb/samples/000000.parquet": ("unfinished report", "remove"),
    }
    assert {stray.became for stray in clean(child, strays)} == {"removed"}
    left = planted.content(child)
    assert before.keys() - left.keys() == actions(strays).keys()
    assert left.items() <= before.items() and listed(child) == []


def test_a_report_on_which_somebody_works_is_kept_whole(child) -> None:
    """A long validation: its first measurements are old, its last are not."""
    names = [f"reports/20261122-000000-bbbb/samples/00000{n}.parquet" for n in range(2)]
    for name in names:
        child.store.put(name, b"x")
    two_days_ago = time.time() - OLD_S
    os.utime(Path(child.location) / names[0], (two_days_ago, two_days_ago))
    assert {stray.action for stray in listed(child, after_s=0.0)} == {"keep"}


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".DS_Store", "shards/000000.tar.bak", "shards/0.tar", "index/.000000.parquet-x1",
     "plan/000000.json~", "other/000000.tar", "releases/readme.md", "releases/r1/extra.json",
     "runs/stray.txt"],
)  # fmt: skip
def test_foreign_objects_are_listed_and_never_removed(dataset, name) -> None:
    dataset.store.put(name, b"mine")
    if name.startswith("releases/r1/"):
        dataset.store.put("releases/r1/manifest.json", b"x")
    (stray,) = strays = listed(dataset)
    assert (stray.name, stray.kind, stray.action, stray.size) == (name, "unknown", "keep", 4)
    assert [stray.became for stray in clean(dataset, strays)] == ["kept"]
    assert dataset.store.read(name) == b"mine"


def test_an_orphan_of_a_refined_dataset_is_compared_with_its_parent(child, dataset) -> None:
    expected, rows = child.facts(0), child.index(0)
    child.store.delete(index_name(0))
    (unknown,) = listed(child, None)
    assert unknown.action == "keep" and "--parent" in unknown.why
    list(clean(child, listed(child, dataset), dataset))
    # Nobody knows any more which engine refined the images.
    assert child.facts(0) == expected.model_copy(update={"writer": WRITER})
    assert expected.writer == f"{WRITER} (ncnn)" and child.index(0).equals(rows)
    child.store.delete(index_name(0))
    dataset.store.delete(index_name(0))
    (orphan,) = listed(child, dataset)
    assert orphan.action == "remove" and "nothing planned it" in orphan.why


def test_an_orphan_whose_plan_cannot_be_read_is_kept(dataset) -> None:
    dataset.store.delete(index_name(1))
    dataset.store.put("plan/000001.json", b"{")
    (stray,) = listed(dataset)
    assert stray.action == "keep"


def test_what_was_finished_since_it_was_listed_stays(dataset, child) -> None:
    spoilt(dataset)
    child.store.put("releases/r1/index.parquet", b"x")
    tars, halves = listed(dataset), listed(child)
    dataset.store.put(index_name(1), b"x")
    child.store.put("releases/r1/manifest.json", b"x")
    for of, strays, name in ((dataset, tars, tar_name(1)), (child, halves, strays_name(halves))):
        (done,) = clean(of, strays)
        assert done.became is not None and done.became.startswith("left: ")
        assert of.store.size(name) is not None


def strays_name(strays: list[Stray]) -> str:
    (stray,) = strays
    return stray.name


def test_garbage_in_every_kind_of_store(two_shards, any_location) -> None:
    dataset = planted.copied(two_shards, any_location)
    assert listed(dataset) == []
    dataset.store.delete(index_name(0))
    spoilt(dataset)
    open_store(any_location).put("foreign.bin", b"x")
    assert actions(listed(dataset)) == {
        "foreign.bin": ("unknown", "keep"),
        tar_name(0): ("orphan tar", "commit"),
        tar_name(1): ("orphan tar", "remove"),
    }
    list(clean(dataset, listed(dataset)))
    assert dataset.committed() == [0] and actions(listed(dataset)).keys() == {"foreign.bin"}
    assert dataset.facts(0) == two_shards.facts(0)
