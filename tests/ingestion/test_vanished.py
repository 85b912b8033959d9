"""Inputs that are gone when their shard is built, come back, or lie at another place."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.on_ray.session import Session
from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.loading import load_index
from factory.dataset.shard_tasks import (
    failed_outcome,
)
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.ledger import containers_in
from factory.ingestion.planning import OtherPlaceError
from factory.ingestion.rejects import check_reject_share, vanished_inputs
from factory.ingestion.shards import InputsGoneError, ShardIngester
from factory.sources.base import VANISHED, SourceOptions
from jobs import ingest
from jobs.ingest import IngestJob
from schemas.base import FormatError
from support import fakes, planted
from support.job_runs import work_here

OPTIONS = UnityEyesOptions()


def write_renders(folder: Path, *numbers: int, seed: int = 0) -> Path:
    """Renders with a date of their own, as a file system gives it back that was away."""
    for number in numbers:
        fakes.write_pair(folder, str(number), seed=seed + number)
        for suffix in (".jpg", ".json"):
            os.utime(folder / f"{number}{suffix}", ns=(seed, seed))
    return folder


def build(dataset: Dataset, location: Path, options: SourceOptions = OPTIONS) -> None:
    for shard in sorted(set(dataset.planned()) - set(dataset.committed())):
        ShardIngester(dataset, make_source(location, options))(shard)


def ids_in(dataset: Dataset) -> list[str]:
    return sorted(load_index(dataset, ["source_id"])["source_id"].to_pylist())


# --- gone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["not there", "empty"])
@pytest.mark.parametrize(
    "options", [OPTIONS, PicturesOptions(), MpiiGazeOptions()], ids=lambda o: type(o).__name__
)
def test_a_place_that_a_worker_does_not_see_makes_no_empty_shard(tmp_path, options, how) -> None:
    folder = write_renders(tmp_path / "in", 1, 2, 3)
    eyes = np.full((1, 36, 60), 128, np.uint8), np.array([[0.0, 0, -1]]), np.zeros((1, 3))
    fakes.mpiigaze_day(folder / "p00" / "day01.mat", eyes, eyes)
    dataset = fakes.plan_here(folder, tmp_path / "out", options, shard_size=2)
    folder.rename(tmp_path / "elsewhere")
    if how == "empty":
        folder.mkdir()
    with pytest.raises((InputsGoneError, FileNotFoundError), match="in"):
        build(dataset, folder, options)
    assert dataset.committed() == [] and not list(dataset.store.walk("rejected"))
    shutil.rmtree(folder, ignore_errors=True)
    (tmp_path / "elsewhere").rename(folder)
    build(dataset, folder, options)
    assert dataset.committed() == dataset.planned()
    assert sum(facts.num_samples for facts in dataset.all_facts(dataset.committed())) >= 2


def test_that_may_help_to_try_again_on_another_node() -> None:
    assert failed_outcome(0, InputsGoneError("none of its inputs")).transient


def test_inputs_that_are_gone_for_good_can_be_given_up(tmp_path) -> None:
    folder = write_renders(tmp_path / "in", 1, 2)
    dataset = fakes.plan_here(folder, tmp_path / "out", OPTIONS)
    shutil.rmtree(folder)
    folder.mkdir()
    ShardIngester(dataset, make_source(folder, OPTIONS), may_be_gone=True)(0)
    assert dataset.rejects(0)["reason"].to_pylist() == [VANISHED] * 2
    assert check_reject_share(dataset, known_facts(dataset), 0.0) == (0, 0, 2)


def test_only_archives_with_vanished_inputs_are_opened_again() -> None:
    names = ["", "a.zip", "b/a.zip", "p00/day01.mat", "a.zip2", "b"]
    table = pa.table(
        {"location": ["/in"] * 6,
         "id": names, "size": [1] * 6, "mtime_ns": [1] * 6, "etag": pa.nulls(6, pa.string()),
         "key": pa.nulls(6, pa.string()), "num_inputs": [1] * 6}
    )  # fmt: skip
    left = containers_in(table, "/in", without=["b/a.zip/imgs/1", "p00/day01.mat:left:000001"])
    assert set(left) == {"a.zip", "a.zip2"}


@pytest.mark.slow
@pytest.mark.parametrize("in_archive", [False, True])
def test_an_input_that_is_back_is_planned_again_though_nothing_about_it_changed(
    tmp_path, in_archive
) -> None:
    folder = write_renders(tmp_path / "in", 1, 2, 3)
    if in_archive:
        shutil.make_archive(str(tmp_path / "tar" / "all"), "tar", folder)
        folder = write_renders(tmp_path / "tar", 9)
    dataset = fakes.plan_here(folder, tmp_path / "out", OPTIONS)
    name = "all.tar" if in_archive else "2.jpg"
    (folder / name).rename(tmp_path / "away")
    build(dataset, folder)
    gone = ["all.tar/1", "all.tar/2", "all.tar/3"] if in_archive else ["2"]
    assert sorted(vanished_inputs(dataset, known_facts(dataset))) == gone
    (tmp_path / "away").rename(folder / name)
    for _ in range(2):  # and once only
        fakes.plan_here(folder, tmp_path / "out", OPTIONS)
        build(dataset, folder)
        assert dataset.committed() == [0, 1]
        assert ids_in(dataset) == sorted([*gone, *(["9"] if in_archive else ["1", "3"])])
    assert [planned.supersedes for planned in dataset.plan(1).inputs] == [None] * len(gone)
    assert vanished_inputs(dataset, known_facts(dataset)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a truncated index", "truncated rejects", "missing rejects"])
def test_damage_does_not_hold_up_what_is_new(tmp_path, monkeypatch, damage) -> None:
    folder = write_renders(tmp_path / "in", 1, 2)
    dataset = fakes.ingest_here(folder, tmp_path / "out", OPTIONS, shard_size=16384)
    planted.DAMAGE[damage][0](dataset.store, 0)
    write_renders(folder, 3)
    os.utime(folder / "2.jpg", ns=(9, 9))
    work_here(monkeypatch)
    with suppress(FormatError):  # it is told, at the end
        ingest.main(job(folder, tmp_path / "out"))
    assert [planned.id for planned in dataset.plan(1).inputs] == ["3"]
    assert dataset.is_committed(1)


# --- elsewhere ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_other_renders_of_the_same_name_do_not_take_the_place_of_the_first(tmp_path) -> None:
    one, other = (write_renders(tmp_path / n, 1, 2, seed=s) for n, s in (("a", 10), ("b", 50)))
    dataset = fakes.ingest_here(one, tmp_path / "out", OPTIONS)
    before = fakes.files_below(tmp_path / "out")
    with pytest.raises(OtherPlaceError, match=f"1 in {other} has other content than 1 in {one}"):
        fakes.plan_here(other, tmp_path / "out", OPTIONS)
    assert fakes.files_below(tmp_path / "out") == before
    fakes.plan_here(tmp_path / "b", tmp_path / "out", OPTIONS, moved=True)
    build(dataset, other)
    assert dataset.committed() == [0, 1] and ids_in(dataset) == ["1", "2"]


@pytest.mark.slow
def test_nor_do_they_where_the_first_was_rejected_since(tmp_path) -> None:
    one, other = (write_renders(tmp_path / n, 1, seed=s) for n, s in (("a", 10), ("b", 50)))
    dataset = fakes.ingest_here(one, tmp_path / "out", OPTIONS)
    (one / "1.jpg").write_bytes(b"no picture")
    fakes.ingest_here(one, tmp_path / "out", OPTIONS)
    assert dataset.facts(1).num_rejected == 1
    with pytest.raises(OtherPlaceError):
        fakes.plan_here(other, tmp_path / "out", OPTIONS)


@pytest.mark.slow
def test_the_same_renders_at_a_new_place_are_nothing_new(tmp_path) -> None:
    one = write_renders(tmp_path / "a", 1, 2)
    fakes.ingest_here(one, tmp_path / "out", OPTIONS)
    other = tmp_path / "b"
    shutil.copytree(one, other)
    for path in other.iterdir():
        os.utime(path, ns=(7, 7))
    assert fakes.plan_here(other, tmp_path / "out", OPTIONS).planned() == [0]


@pytest.mark.slow
def test_places_without_a_name_in_common_share_a_dataset(tmp_path) -> None:
    for name, numbers in (("a", (1, 2)), ("b", (3, 4))):
        dataset = fakes.ingest_here(
            write_renders(tmp_path / name, *numbers), tmp_path / "out", OPTIONS
        )
    assert ids_in(dataset) == ["1", "2", "3", "4"]
    assert dataset.plan(0).location == str(tmp_path / "a")
    assert dataset.plan(1).location == str(tmp_path / "b")


def job(folder: Path, output: Path, **options: object) -> IngestJob:
    return IngestJob(source="unityeyes", input=str(folder), output=str(output), **options)


def test_an_output_below_its_input_is_refused(tmp_path) -> None:
    folder = write_renders(tmp_path / "in", 1)
    for output in (folder, folder / "deep" / "out", tmp_path / "other" / ".." / "in" / "out"):
        with pytest.raises(ValueError, match="lies in --input"):
            ingest.main(job(folder, output))
    assert {path.name for path in folder.iterdir()} == {"1.jpg", "1.json"}


@pytest.mark.slow
def test_shards_planned_from_one_place_wait_for_a_run_on_it(tmp_path, monkeypatch, caplog) -> None:
    one, other = (write_renders(tmp_path / n, k) for n, k in (("a", 1), ("b", 2)))
    output = tmp_path / "out"
    fakes.plan_here(one, output, OPTIONS, shard_size=16384)
    made: list[int] = []

    def make_shards(session, what, work, shards, num_samples):
        made.extend(shards)
        return fakes.make_shards_here(what, work, shards, num_samples)

    monkeypatch.setattr(Session, "make_shards", make_shards)
    caplog.set_level("INFO")
    with pytest.raises(ValueError, match=f"1 planned shards wait for a run with --input {one}"):
        ingest.main(job(other, output))
    assert made == [1] and "nothing to do" not in caplog.text
    link = tmp_path / "link"
    link.symlink_to(one)
    ingest.main(job(link / ".." / "a", output))  # the same place, otherwise named
    assert made == [1, 0] and ids_in(Dataset.open(output)) == ["1", "2"]


@pytest.mark.slow
def test_inputs_that_moved_before_they_were_built_are_built_where_they_are(
    tmp_path, monkeypatch
) -> None:
    folder = write_renders(tmp_path / "a", 1)
    fakes.plan_here(folder, tmp_path / "out", OPTIONS, shard_size=16384)
    folder.rename(tmp_path / "b")
    work_here(monkeypatch)
    ingest.main(job(tmp_path / "b", tmp_path / "out", moved=True))
    assert ids_in(Dataset.open(tmp_path / "out")) == ["1"]
