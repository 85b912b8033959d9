"""A planner that runs again and again: what it need not open, hash or plan."""

import io
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesSource
from factory.images.png import encode_png
from factory.ingestion.planning import OtherPlaceError
from factory.sources.scan import Container
from factory.store.parquet import parquet_bytes
from support import fakes, misbehaving
from support.planners import (
    OPTIONS,
    SPLITS,
    check_each_is_planned_once,
    commit_planned,
    committed_dataset,
    empty_dataset,
    numbered,
    people,
    plan,
    planned_ids,
)

# --- what need not be looked at again ---------------------------------------------------------


@pytest.mark.slow
def test_content_is_hashed_once_after_a_touch_and_never_without_one(tmp_path) -> None:
    source = numbered(1, 2, 3)
    dataset = committed_dataset(tmp_path / "eyes", source)
    assert plan(dataset, source) == 0 and source.hashed == []
    source.mtimes_ns["2"] = 5
    for _ in range(3):
        assert plan(dataset, source) == 0
    assert source.hashed == ["2"]
    source.mtimes_ns["2"] = 6
    assert plan(dataset, source) == 0
    assert source.hashed == ["2", "2"]


@pytest.mark.slow
def test_without_its_cache_a_planner_hashes_again_and_plans_the_same(tmp_path) -> None:
    source = numbered(1, 2, 3)
    dataset = committed_dataset(tmp_path / "eyes", source)
    source.mtimes_ns["2"] = 5
    plan(dataset, source)
    for broken in (None, b"no parquet", parquet_bytes(pa.table({"x": [1]}))):
        dataset.store.delete("plan/seen.parquet")
        if broken is not None:
            dataset.store.put("plan/seen.parquet", broken)
        source.hashed.clear()
        assert plan(dataset, source) == 0
        assert source.hashed == ["2"]
    assert planned_ids(dataset) == {0: ["1", "2", "3"]}


@pytest.mark.slow
def test_the_cache_speaks_of_one_version_only(tmp_path) -> None:
    """The old content comes back with a date that was seen on it before."""
    source = numbered(1)
    dataset = committed_dataset(tmp_path / "eyes", source)
    source.mtimes_ns["1"] = 5
    assert plan(dataset, source) == 0
    source.mtimes_ns["1"], source.content["1"] = 6, "Content 1"
    assert plan(dataset, source) == 1
    commit_planned(dataset, source)
    source.mtimes_ns["1"], source.content["1"] = 5, "content 1"
    assert plan(dataset, source) == 1
    assert [dataset.plan(n).inputs[0].supersedes for n in dataset.planned()] == [
        None, "000000-000000", "000001-000000",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_etag_counts_and_a_time_does_not_where_both_listings_have_one(tmp_path) -> None:
    source = numbered(1, 2)
    source.etags = {"1": "a", "2": "b"}
    dataset = committed_dataset(tmp_path / "eyes", source)
    source.mtimes_ns = {"1": 8, "2": 8}
    assert plan(dataset, source) == 0 and source.hashed == []
    source.etags["2"] = "c"
    assert plan(dataset, source) == 0 and source.hashed == ["2"]
    source.etags = {}
    assert plan(dataset, source) == 0 and sorted(source.hashed) == ["1", "2"]


@pytest.mark.slow
def test_a_rejected_input_that_was_touched_is_planned_again_only_if_it_changed(tmp_path) -> None:
    source = numbered(1, 2)
    dataset = empty_dataset(tmp_path / "eyes")
    plan(dataset, source)
    commit_planned(dataset, source, rejected=["2"])
    source.mtimes_ns["2"] = 5
    assert plan(dataset, source) == 0 and source.hashed == ["2"]
    source.mtimes_ns["2"], source.content["2"] = 6, "Content 2"
    assert plan(dataset, source) == 1
    assert dataset.plan(1).inputs[0].supersedes is None


def in_archives(mtimes_ns: dict[str, int], *ids: str) -> misbehaving.FakeSource:
    containers = {name: Container(name, 100, mtime) for name, mtime in mtimes_ns.items()}
    source = misbehaving.FakeSource({id: f"content {id}" for id in ids}, containers=containers)
    source.mtimes_ns = {id: mtimes_ns.get(id.split("/")[0], 0) for id in ids}
    return source


def opened(dataset: Dataset, source: misbehaving.FakeSource, min_shard: int = 1) -> list[str]:
    source.opened.clear()
    fakes.plan_from(dataset, source, min_shard=min_shard)
    return sorted(source.opened)


@pytest.mark.slow
def test_an_unchanged_archive_is_not_opened_and_its_inputs_still_count(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    source = in_archives({"a.tar": 1, "b.tar": 1}, "a.tar/1", "a.tar/2", "b.tar/1", "c")
    assert opened(dataset, source) == ["a.tar", "b.tar"]
    assert opened(dataset, source) == []
    planned = fakes.plan_from(dataset, source)
    assert (planned.num_listed, planned.num_new) == (4, 0)
    more = in_archives({"a.tar": 1, "b.tar": 2, "d.tar": 1}, *source.content, "b.tar/2", "d.tar/1")
    assert opened(dataset, more) == ["b.tar", "d.tar"]
    assert opened(dataset, more) == ["b.tar"], "its shard is to be built from what is there now"
    commit_planned(dataset, more)
    assert opened(dataset, more) == ["b.tar"]
    assert opened(dataset, more) == []
    check_each_is_planned_once(dataset, more.content)


@pytest.mark.slow
def test_an_archive_is_opened_again_while_inputs_of_it_are_held_back(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    source = in_archives({"a.tar": 1, "b.tar": 1}, *(f"a.tar/{n}" for n in range(3)), "b.tar/1")
    assert opened(dataset, source, min_shard=2) == ["a.tar", "b.tar"]
    assert opened(dataset, source, min_shard=2) == ["b.tar"]
    assert opened(dataset, source) == ["b.tar"]
    assert opened(dataset, source) == []


def test_an_archive_that_cannot_be_read_is_named_and_the_others_are_planned(tmp_path) -> None:
    for number in (1, 2):
        fakes.write_pair(tmp_path / "in", str(number), seed=number)
    (tmp_path / "in" / "half.zip").write_bytes(b"PK")
    source = UnityEyesSource(tmp_path / "in", OPTIONS)
    dataset = empty_dataset(tmp_path / "eyes")
    planned = fakes.plan_from(dataset, source)
    assert planned.num_new == 2
    assert len(planned.unreadable) == 1 and "half.zip: expected a zip" in planned.unreadable[0]
    assert planned.unreadable == fakes.plan_from(dataset, source).unreadable


def test_a_file_whose_name_is_no_text_is_named_and_the_others_are_planned(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1")
    for name in (b"caf\xe9.jpg", b"caf\xe9.json"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(b"x")
    planned = fakes.plan_from(
        empty_dataset(tmp_path / "eyes"), UnityEyesSource(tmp_path / "in", OPTIONS)
    )
    assert planned.num_new == 1
    assert sorted(planned.unreadable) == [
        f"b'caf\\xe9.{suffix}': the name of this file is not UTF-8" for suffix in ("jpg", "json")
    ]


def test_an_archive_whose_name_is_no_text_is_named_and_the_others_are_planned(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/n\xe4chte.zip")).write_bytes(b"x")
    dataset = empty_dataset(tmp_path / "eyes")
    for num_new in (1, 0):
        planned = fakes.plan_from(dataset, UnityEyesSource(tmp_path / "in", OPTIONS))
        assert planned.num_new == num_new
        assert planned.unreadable == (r"b'n\xe4chte.zip': the name of this file is not UTF-8",)


# --- held back --------------------------------------------------------------------------------


@pytest.mark.slow
def test_new_inputs_are_held_back_until_enough_have_gathered(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", shard_size=5)
    counts = []
    for num in (1, 2, 3, 4, 10, 11, 12, 16):
        planned = fakes.plan_from(dataset, numbered(*range(1, num + 1)), min_shard=3)
        counts.append((planned.num_new, planned.num_held))
    assert counts == [(0, 1), (0, 2), (3, 0), (0, 1), (5, 2), (3, 0), (0, 1), (5, 0)]
    check_each_is_planned_once(dataset, numbered(*range(1, 17)).content)
    assert [len(inputs) for inputs in planned_ids(dataset).values()] == [3, 5, 3, 5]


@pytest.mark.slow
def test_each_split_gathers_its_own(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes", shard_size=50, splits=SPLITS)
    planned = fakes.plan_from(dataset, people(), min_shard=50)
    sizes = Counter(dataset.plan(n).split for n in dataset.planned())
    assert planned.num_new == 50 * sum(sizes.values()) and planned.num_held > 0
    assert planned.num_new + planned.num_held == 100
    fakes.plan_from(dataset, people())
    check_each_is_planned_once(dataset, people().content)


# --- facts that another content may have too --------------------------------------------------


def images_in_tar(path: Path, seed: int) -> None:
    """Two pictures in a tar as reproducible tools write it: no time, names and sizes as ever."""
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as tar:
        for number in range(2):
            content = encode_png(rng.integers(0, 255, (36, 60), dtype=np.uint8))
            member = tarfile.TarInfo(f"imgs/{number}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def ingested(archive: Path, output: Path) -> Dataset:
    return fakes.ingest_here(archive, output, PicturesOptions(), shard_size=2)


@pytest.fixture
def twins(tmp_path) -> tuple[Path, Path]:
    """Two archives of other content, alike in all that a listing says of them."""
    paths = tmp_path / "cam1.tar", tmp_path / "cam2.tar"
    for seed, path in enumerate(paths):
        images_in_tar(path, seed)
        os.utime(path, ns=(1, 1))
    assert paths[0].stat().st_size == paths[1].stat().st_size
    return paths


def test_an_archive_at_another_place_is_not_taken_for_the_one_that_was_planned(
    twins, tmp_path
) -> None:
    ingested(twins[0], tmp_path / "eyes")
    with pytest.raises(OtherPlaceError, match=r"cam2\.tar has other content than"):
        ingested(twins[1], tmp_path / "eyes")


@pytest.mark.slow
def test_an_archive_that_was_overwritten_is_compared(twins, tmp_path) -> None:
    archive = tmp_path / "latest.tar"
    shutil.copy(twins[0], archive)
    assert ingested(archive, tmp_path / "eyes").committed() == [0]
    shutil.copy(twins[1], archive)
    dataset = ingested(archive, tmp_path / "eyes")
    assert dataset.committed() == [0, 1]
    assert dataset.index(1)["supersedes"].to_pylist() == ["000000-000000", "000000-000001"]


@pytest.mark.slow
def test_a_copy_at_another_place_is_compared_once_and_is_nothing_new(tmp_path) -> None:
    source = numbered(1, 2, 3)
    dataset = committed_dataset(tmp_path / "eyes", source)
    moved = numbered(1, 2, 3)
    moved.location = "/elsewhere"
    for _ in range(3):
        assert plan(dataset, moved) == 0
    assert sorted(moved.hashed) == ["1", "2", "3"]
    assert plan(dataset, source) == 0 and source.hashed == [], "its own facts still count"


@pytest.mark.slow
def test_inputs_of_a_new_version_of_an_archive_are_compared_once(tmp_path) -> None:
    dataset = empty_dataset(tmp_path / "eyes")
    source = in_archives({"a.tar": 1}, "a.tar/1", "a.tar/2")
    fakes.plan_from(dataset, source)
    commit_planned(dataset, source)
    again = in_archives({"a.tar": 2}, *source.content)
    again.mtimes_ns = dict(source.mtimes_ns)  # those of the members are as they were
    again.content["a.tar/2"] = "Content a.tar/2"
    assert plan(dataset, again) == 1 and sorted(again.hashed) == ["a.tar/1", "a.tar/2"]
    commit_planned(dataset, again)
    again.hashed.clear()
    for _ in range(3):
        assert plan(dataset, again) == 0
    assert again.hashed == []
