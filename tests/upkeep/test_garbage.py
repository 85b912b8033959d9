"""Garbage: what is not part of a dataset is listed, mended or removed, and nothing else is."""

import os
import shutil
import time
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.names import index_name
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.registry import make_source
from factory.ingestion.shards import ShardIngester
from factory.refinement.stages import refine_stages
from factory.release.publish import NotReleasableError
from factory.release.state import release_names
from factory.store.open import open_store
from factory.upkeep.describe import describe
from factory.upkeep.garbage import (
    DAY_S,
    Stray,
    clean,
    stray_objects,
)
from schemas.lease import Lease
from support import fakes, misbehaving, planted, releases

OLD_S = 2 * DAY_S


def listed(
    dataset: Dataset, *children: Dataset, after_s: float = OLD_S, older_than_s: float = DAY_S
) -> list[Stray]:
    """What is listed some time from now."""
    return stray_objects(
        dataset, lambda: children, now_s=time.time() + after_s, older_than_s=older_than_s
    )


def actions(strays: list[Stray]) -> dict[str, tuple[str, str]]:
    return {stray.name: (stray.kind, stray.action) for stray in strays}


@pytest.mark.slow
def test_all_that_jobs_write_is_part_of_the_dataset(dataset, refiner, tmp_path) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    releases.release(child)
    for name in ("runs/x/config.json", "runs/x/log.txt", "reports/20261121-000000-aaaa/report.html",
                 "reports/20261121-000000-aaaa/samples/000000.parquet"):  # fmt: skip
        child.store.put(name, b"x")
    assert listed(dataset, child) == [] and listed(child) == []
    planned = fakes.plan_here(tmp_path / "eyes", tmp_path / "planned", planted.OPTIONS)
    assert listed(planned) == []


def uncommitted(dataset: Dataset) -> tuple[str, str]:
    """The tar and rejects of a writer of shard 1 that died before its index."""
    dataset.store.delete(index_name(1))
    return fakes.tar_of(dataset, 1), fakes.rejects_of(dataset, 1)


def test_what_nobody_committed_is_removed_when_it_is_old(dataset, eight_inputs) -> None:
    tar, rejects = uncommitted(dataset)
    young = listed(dataset, after_s=0.0)
    assert {s.action for s in young} == {"keep"} and "too young" in young[0].why
    unlimited = listed(dataset, older_than_s=float("nan"))
    assert {s.action for s in unlimited} == {"keep"}, "no age is old enough for NaN"
    strays = listed(dataset)
    assert actions(strays) == {tar: ("uncommitted", "remove"), rejects: ("uncommitted", "remove")}
    assert [stray.became for stray in clean(dataset, strays)] == ["removed", "removed"]
    assert dataset.committed() == [0] and listed(dataset) == []
    fakes.build_here(dataset, eight_inputs, planted.OPTIONS)
    assert dataset.facts(1).generation == 2


def test_a_writer_that_wakes_after_its_tar_was_removed_commits_another(
    dataset, two_shards, eight_inputs
) -> None:
    planted.remove_shard(dataset, 1)

    def clean_up(when: str, name: str) -> None:
        if when == "before" and name == index_name(1):
            list(clean(dataset, listed(dataset)))

    ShardIngester(
        misbehaving.hooked(dataset, clean_up), make_source(str(eight_inputs), planted.OPTIONS)
    )(1)
    assert dataset.facts(1).generation == 2 and planted.verified(dataset) == []
    assert planted.content(dataset) == planted.content(two_shards)


def test_a_repair_that_wakes_after_its_tar_was_removed_costs_no_sample(
    dataset, two_shards, eight_inputs
) -> None:
    def clean_up(when: str, name: str) -> None:
        if when == "before" and name == index_name(1, 2):
            list(clean(dataset, listed(dataset)))
            assert dataset.committed() == [0, 1], "the damaged one stays"

    hooked = misbehaving.hooked(dataset, clean_up).replacing(
        {1: Replaced(1, fakes.tar_of(dataset, 1))}
    )
    ShardIngester(hooked, make_source(str(eight_inputs), planted.OPTIONS))(1)
    assert dataset.facts(1).generation == 3, "2 is what was there, named again"
    assert planted.verified(dataset) == []
    assert planted.content(dataset) == planted.content(two_shards)


def test_nothing_is_removed_while_a_run_holds_a_lease(dataset, child) -> None:
    uncommitted(dataset)
    held = Lease(holder="a", host="node-7", pid=3, since=0.0, expires=0.0)
    for leased in (dataset, child):
        for expires, action in ((time.time() + 2 * OLD_S, "keep"), (time.time() + 60, "remove")):
            raw = held.model_copy(update={"expires": expires}).to_json()
            put_lease(leased, raw)
            for stray in listed(dataset, child):
                assert stray.action == action
                assert ("process 3 on node-7" in stray.why) == (action == "keep")
    put_lease(dataset, b"half a le")
    assert listed(dataset)[0].action == "keep", "a lease that cannot be read may be held"
    put_lease(dataset, b"half a le", OLD_S - 3600)
    assert listed(dataset)[0].action == "remove", "but not one that nobody renews"
    ahead = held.model_copy(update={"expires": time.time() + 3e7})
    put_lease(dataset, ahead.to_json(), OLD_S - 3600)
    assert listed(dataset)[0].action == "remove", "its holder's clock was a year ahead"


def put_lease(dataset: Dataset, raw: bytes, after_s: float = OLD_S) -> None:
    """A lease that was last renewed some time from now."""
    dataset.store.put("lease/ingest.json", raw)
    then = time.time() + after_s
    os.utime(Path(dataset.location) / "lease/ingest.json", (then, then))


def replaced(dataset: Dataset, inputs: Path) -> str:
    """Name of a tar of shard 1 that another one of the same bytes has replaced."""
    name = fakes.tar_of(dataset, 1)
    fakes.build_again(dataset.replacing({1: Replaced(1, name)}), inputs, 1)
    assert dataset.facts(1).tar != name
    return name


def test_what_was_replaced_is_removed_when_that_is_long_ago(dataset, eight_inputs) -> None:
    name = replaced(dataset, eight_inputs)
    os.utime(Path(dataset.location) / name, (0, 0))
    (_, young) = listed(dataset, after_s=0.0)
    assert (young.name, young.kind, young.action) == (name, "replaced", "keep")
    assert young.age_s < 60, "it counts from when it was replaced"
    (_, old) = strays = listed(dataset)
    assert (old.name, old.action) == (name, "remove")
    list(clean(dataset, strays))
    assert dataset.store.size(name) is None and listed(dataset) == []
    assert planted.verified(dataset) == []


def released_bytes(dataset: Dataset) -> list[bytes]:
    """The tars of the release r1."""
    return [dataset.store.read(url.removeprefix("../../")) for url in releases.urls_of(dataset)]


def test_a_lost_record_between_others_stops_no_listing(dataset, eight_inputs) -> None:
    first, second = replaced(dataset, eight_inputs), replaced(dataset, eight_inputs)
    dataset.store.delete(index_name(1, 2))
    by_name = {stray.name: stray for stray in listed(dataset)}
    assert (by_name[first].kind, by_name[second].kind) == ("replaced", "uncommitted")
    assert "generation 3 of its shard" in by_name[first].why


def test_what_a_release_names_stays(child, dataset, refiner) -> None:
    releases.release(child)
    before = released_bytes(child)
    name = fakes.tar_of(child, 1)
    again = child.replacing({1: Replaced(1, name)})
    collect(run_here(refine_stages(dataset, again, refiner), [1]))
    (kept,) = listed(child)
    assert kept.name == name and kept.action == "keep" and "a release names its tar" in kept.why
    list(clean(child, [kept]))
    assert released_bytes(child) == before
    (described,) = describe(child).releases
    assert described.held_back_bytes == child.store.size(name) and described.broken == ()


def test_what_a_child_was_made_from_stays(dataset, child, eight_inputs, tmp_path) -> None:
    inputs = tmp_path / "other"
    shutil.copytree(eight_inputs, inputs)
    fakes.write_pair(inputs, "5", seed=99)
    name = replaced(dataset, inputs)
    by_name = {stray.name: stray for stray in listed(dataset, child)}
    assert by_name[name].action == "keep" and child.location in by_name[name].why
    assert {stray.action for stray in listed(dataset)} == {"remove"}


def test_a_child_needs_no_tar_whose_bytes_are_there_again(dataset, child, eight_inputs) -> None:
    replaced(dataset, eight_inputs)
    assert {stray.action for stray in listed(dataset, child)} == {"remove"}


def test_tars_beside_a_damaged_index_are_kept(dataset) -> None:
    planted.DAMAGE["a truncated index"][0](dataset.store, 1)
    dataset.store.put_new(f"shards/000001-2-{'0' * 16}-{'0' * 8}.tar", b"x")
    assert {stray.action for stray in listed(dataset)} == {"keep"}
    assert all("repair first" in stray.why for stray in listed(dataset))


def test_leftovers_of_dead_writers_are_removed_when_they_are_old(dataset) -> None:
    dataset.store.put("tmp/0123456789abcdef", b"half a tar")
    assert actions(listed(dataset, after_s=0.0)) == {"tmp/0123456789abcdef": ("temporary", "keep")}
    (done,) = clean(dataset, listed(dataset))
    assert done.became == "removed" and listed(dataset) == []


def test_an_unfinished_release_and_report_are_removed_when_they_are_old(child) -> None:
    releases.release(child, "whole")
    for name in ("intent.json", "index/000000.parquet", "train.wids.json"):
        child.store.put(f"releases/half/{name}", b"x")
    child.store.put("reports/20261122-000000-bbbb/samples/000000.parquet", b"x")
    before = planted.objects(child)
    strays = listed(child)
    assert actions(strays) == {
        "releases/half/index/000000.parquet": ("unfinished release", "remove"),
        "releases/half/intent.json": ("unfinished release", "remove"),
        "releases/half/train.wids.json": ("unfinished release", "remove"),
        "reports/20261122-000000-bbbb/samples/000000.parquet": ("unfinished report", "remove"),
    }
    assert {stray.became for stray in clean(child, strays)} == {"removed"}
    left = planted.objects(child)
    assert before.keys() - left.keys() == actions(strays).keys()
    assert left.keys() - before.keys() == {"releases/half/manifest.json"}, "the name stays taken"
    assert listed(child) == [] and release_names(child) == ["whole"]
    with pytest.raises(NotReleasableError, match="a name is not used twice"):
        releases.release(child, "half")


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
     "plan/000000.json~", "other/000000.tar", "releases/readme.md",
     "shards/000000-1-0.tar", "index/000000-0.parquet", "releases/r1/extra.json",
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


def test_what_was_finished_since_it_was_listed_stays(dataset, child) -> None:
    index = dataset.store.read(index_name(1))
    uncommitted(dataset)
    child.store.put("releases/r1/index/000000.parquet", b"x")
    tars, halves = listed(dataset), listed(child)
    dataset.store.put(index_name(1), index)
    releases.put_report(child)
    child.store.put("releases/r1/manifest.json", b"x" * 1000)
    for of, strays in ((dataset, tars), (child, halves)):
        for done in clean(of, strays):
            assert done.became is not None and done.became.startswith("left: ")
            assert of.store.size(done.name) is not None


def test_garbage_in_every_kind_of_store(two_shards, any_location) -> None:
    dataset = planted.copied(two_shards, any_location)
    assert listed(dataset) == []
    tar, rejects = uncommitted(dataset)
    open_store(any_location).put("foreign.bin", b"x")
    assert actions(listed(dataset)) == {
        "foreign.bin": ("unknown", "keep"),
        tar: ("uncommitted", "remove"),
        rejects: ("uncommitted", "remove"),
    }
    list(clean(dataset, listed(dataset)))
    assert dataset.committed() == [0] and actions(listed(dataset)).keys() == {"foreign.bin"}
    assert dataset.facts(0) == two_shards.facts(0)
