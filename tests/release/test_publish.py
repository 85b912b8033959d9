"""Releases: only what passed, exactly what was validated, unchanged for ever."""

import multiprocessing
import signal
import time
from pathlib import Path

import orjson
import pyarrow.dataset
import pytest
from pydantic import ValidationError

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.dataset.tar import DamagedShardError, sha256
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.release.pins import ReleaseFinishedError
from factory.release.publish import NotReleasableError, latest_report, publish
from factory.release.run import abandon_release
from factory.release.state import (
    ReleaseState,
    broken_releases,
    held_by,
    read_manifest,
    release_names,
    release_state,
)
from factory.upkeep.garbage import clean, stray_objects
from schemas.report import GateCheck
from support import fakes, misbehaving, planted, releases

REPORT_ID = "20261121-000000-aaaa"


def make(folder: Path, renders: Path) -> Dataset:
    """`in`, ingested as `parent`, refined as `refined`: shards 0..5, of which the last is empty."""
    for stem in map(str, range(1, 11)):
        for suffix in ("jpg", "json"):
            target = folder / "in" / f"{stem}.{suffix}"
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(renders / target.name)
    for number in (11, 12):
        fakes.write_pair(folder / "in", str(number), image=b"no picture")
    return refine_anew(folder)


def refine_anew(folder: Path) -> Dataset:
    """Ingest and refine what is new in `in`."""
    parent = fakes.ingest_here(folder / "in", folder / "parent", UnityEyesOptions(), shard_size=2)
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    return fakes.refine_here(parent, refiner, folder / "refined")


@pytest.fixture(scope="module")
def made(renders, tmp_path_factory) -> Dataset:
    """What `make` makes. Read only."""
    return make(tmp_path_factory.mktemp("publish"), renders)


@pytest.fixture
def refined(made, tmp_path) -> Dataset:
    """A copy of it, which a test may release."""
    return planted.copied(made, tmp_path / "refined")


def release_files(dataset: Dataset) -> dict[str, bytes]:
    return fakes.files_below(Path(dataset.location), "releases")


def test_a_release_names_its_shards_with_digests_and_leaves_empty_ones_out(refined) -> None:
    assert refined.committed() == [0, 1, 2, 3, 4, 5]
    manifest = releases.release(refined)
    assert [shard.shard for shard in manifest.shards] == [0, 1, 2, 3, 4]
    assert manifest.num_samples == 10 and manifest.splits == {"train": 10}
    for shard, path in zip(manifest.shards, releases.urls_of(refined), strict=True):
        raw = Path(path).read_bytes()
        assert (sha256(raw), len(raw)) == (shard.sha256, shard.size)
    folder = Path(refined.location) / "releases" / "r1"
    (part,) = manifest.index_parts
    assert sha256((folder / part.url).read_bytes()) == part.sha256 and part.num_samples == 10
    report = Path(refined.location) / "reports" / REPORT_ID / "report.json"
    assert sha256(report.read_bytes()) == manifest.report and manifest.gate == releases.GATE


def test_the_merged_index_holds_every_row_with_its_shard(refined) -> None:
    releases.release(refined)
    folder = Path(refined.location) / "releases" / "r1" / "index"
    merged = pyarrow.dataset.dataset(folder).to_table().to_pylist()
    rows = [row for shard in refined.committed() for row in refined.index(shard).to_pylist()]
    assert merged == rows


def test_a_larger_index_is_in_parts_which_an_outside_reader_takes_as_one(
    refined, monkeypatch
) -> None:
    rows = [row for shard in refined.committed() for row in refined.index(shard).to_pylist()]
    size = refined.index(0).nbytes
    monkeypatch.setattr("factory.release.content.MAX_PART_BYTES", int(size * 2.5))
    manifest = releases.release(refined)
    assert [part.num_samples for part in manifest.index_parts] == [4, 4, 2]
    folder = Path(refined.location) / "releases" / "r1"
    assert pyarrow.dataset.dataset(folder / "index").to_table().to_pylist() == rows
    assert broken_releases(refined) == []
    refined.store.delete("releases/r1/index/000001.parquet")
    (state,) = broken_releases(refined)
    assert state.broken == ("index/000001.parquet is missing",)


def test_a_release_of_an_earlier_version_has_one_index(refined) -> None:
    manifest = orjson.loads(releases.release(refined).to_json())
    (part,) = manifest.pop("index_parts")
    raw = refined.store.read(f"releases/r1/{part['url']}")
    refined.store.delete(f"releases/r1/{part['url']}")
    refined.store.put("releases/r1/index.parquet", raw)
    manifest |= {"index": part["sha256"], "format_version": 1}
    refined.store.put("releases/r1/manifest.json", orjson.dumps(manifest))
    assert broken_releases(refined) == []
    (state,) = verified_releases(refined)
    assert state.broken == () and state.num_samples == 10
    refined.store.put("releases/r1/index.parquet", planted.flipped(raw, 500))
    (state,) = verified_releases(refined)
    assert state.broken == ("index.parquet is not the one that its manifest names",)


def verified_releases(dataset: Dataset) -> list[ReleaseState]:
    """As a full check sees them."""
    held = held_by(dataset)
    manifests = [read_manifest(dataset, name) for name in release_names(dataset)]
    return [release_state(dataset, manifest, held, read_all=True) for manifest in manifests]


@pytest.mark.slow
def test_the_wids_index_counts_samples_and_bytes(renders, refiner, tmp_path) -> None:
    splits = {"train": 0.6, "test": 0.4}
    parent = fakes.ingest_here(renders, tmp_path / "p", UnityEyesOptions(), splits=splits)
    refined = fakes.refine_here(parent, refiner, tmp_path / "r")
    manifest = releases.release(refined)
    assert set(manifest.splits) == set(splits) and sum(manifest.splits.values()) == 24
    folder = Path(refined.location) / "releases" / "r1"
    for split, num in manifest.splits.items():
        listing = orjson.loads((folder / f"{split}.wids.json").read_bytes())
        assert listing["__kind__"] == "wids-shard-index-v1"
        assert sum(shard["nsamples"] for shard in listing["shardlist"]) == num
        for shard in listing["shardlist"]:
            assert (folder / shard["url"]).stat().st_size == shard["filesize"]


def test_publishing_again_changes_nothing(refined) -> None:
    first = releases.release(refined)
    before = release_files(refined)
    assert publish(refined, "r1", REPORT_ID) == first
    assert release_files(refined) == before


def test_a_later_report_on_the_same_shards_leaves_the_release_as_it_was(refined) -> None:
    first = releases.release(refined)
    before = release_files(refined)
    again = publish(refined, "r1", releases.put_report(refined, id="20991231T000000Z-ffffff"))
    assert again == first
    assert release_files(refined) == before


@pytest.mark.slow
def test_a_dataset_that_grew_leaves_the_release_as_it_was(renders, tmp_path) -> None:
    refined = make(tmp_path, renders)
    releases.release(refined)
    before = release_files(refined)
    fakes.write_pair(tmp_path / "in", "99")
    refine_anew(tmp_path)
    assert release_files(refined) == before
    with pytest.raises(NotReleasableError, match="other content: a release never changes"):
        releases.release(refined, id="20261122-000000-bbbb")
    assert release_files(refined) == before
    assert releases.release(refined, "r2", id="20261122-000000-bbbb").num_samples == 11


FAILED = GateCheck(measure="drift.drift_px.p95", at_most=1, why="x", value=3, passed=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gate": None, "passed": None, "checks": ()}, "made without a gate"),
        ({"passed": False, "checks": (FAILED,)}, r"did not pass its gate: drift\.drift_px\.p95"),
        ({"shards": ()}, "hold no samples"),
        ({"passed": True, "checks": (FAILED,)}, "did not pass"),
        ({"gate": None}, "without a gate"),
    ],
)
def test_a_report_that_does_not_pass_is_no_release(refined, changes, reason) -> None:
    with pytest.raises(NotReleasableError, match=reason):
        releases.release(refined, **changes)
    assert release_files(refined) == {}


def test_a_report_on_another_dataset_is_no_release(refined, synthetic) -> None:
    with pytest.raises(NotReleasableError, match="is about another dataset"):
        releases.release(refined, dataset=synthetic.card)


def test_without_a_report_there_is_no_release(refined) -> None:
    with pytest.raises(NotReleasableError, match=r"has no report; make one with jobs/validate"):
        latest_report(refined)
    with pytest.raises(NotReleasableError, match=r"has no reports/nothing/report\.json"):
        publish(refined, "r1", "nothing")


def test_the_latest_report_is_the_latest_finished_one(refined) -> None:
    for number in ("20261121-000000-aaaa", "20261122-000000-bbbb"):
        releases.put_report(refined, id=number)
    (Path(refined.location) / "reports" / "20261123-000000-cccc").mkdir()
    assert latest_report(refined) == "20261122-000000-bbbb"


def test_a_shard_that_changed_since_it_was_validated_is_refused(refined) -> None:
    report = releases.report_on(refined)
    first = report.shards[0].model_copy(update={"tar_sha256": "f" * 64})
    with pytest.raises(DamagedShardError, match="shard 0 changed since it was validated"):
        releases.release(refined, shards=(first, *report.shards[1:]))
    path = Path(refined.location) / fakes.tar_of(refined, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedShardError, match=r"000001-1-\S+\.tar is damaged"):
        releases.release(refined)
    assert release_files(refined) == {}


def test_a_shard_that_was_withdrawn_is_refused_by_name(refined) -> None:
    releases.put_report(refined)
    withdraw(refined, 3, 1, "a test")
    with pytest.raises(DamagedShardError, match="shard 3 was validated and is no longer committed"):
        publish(refined, "r1", REPORT_ID)
    assert release_files(refined) == {}


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "ä"])
def test_a_name_that_leaves_the_folder_is_refused(refined, name) -> None:
    with pytest.raises(ValidationError, match="release"):
        releases.release(refined, name)
    assert release_files(refined) == {}


def publish_and_die(dataset: Dataset, when: str, name: str) -> None:
    publish(
        misbehaving.hooked(dataset, misbehaving.kill_at(when, f"releases/r1/{name}")),
        "r1",
        REPORT_ID,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "name"),
    [("before", "index"), ("after", "index"), ("after", "train"), ("before", "manifest")],
)
def test_a_publish_that_was_killed_left_no_release_and_is_finished_by_a_rerun(
    refined, when, name
) -> None:
    releases.put_report(refined)
    child = multiprocessing.get_context("fork").Process(
        target=publish_and_die, args=(refined, when, name)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert "releases/r1/manifest.json" not in release_files(refined)
    publish(refined, "r1", REPORT_ID)
    assert set(release_files(refined)) == {
        f"releases/r1/{file}"
        for file in ("intent.json", "index/000000.parquet", "train.wids.json", "manifest.json")
    }


@pytest.mark.slow
def test_a_shard_that_is_withdrawn_before_the_intent_is_noticed(refined) -> None:
    releases.put_report(refined)

    def repair(moment: str, name: str) -> None:
        """As a repair does that runs meanwhile."""
        if moment == "before" and name == "releases/r1/intent.json":
            withdraw(refined, 0, 1, "a test")

    with pytest.raises(DamagedShardError, match="replaced or lost while the release was made"):
        publish(misbehaving.hooked(refined, repair), "r1", REPORT_ID)
    assert release_names(refined) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["intent", "index", "manifest"])
def test_a_shard_that_is_withdrawn_after_the_intent_stays_in_the_release(refined, name) -> None:
    releases.put_report(refined)

    def repair(moment: str, put: str) -> None:
        if moment == "after" and put.startswith(f"releases/r1/{name}") and refined.is_committed(0):
            facts = refined.facts(0)
            withdraw(refined, 0, 1, "a test")
            collect_garbage(refined)
            assert refined.store.size(tar_name(facts)) == facts.tar_size

    if name == "intent":  # it is noticed, and the tar kept until the release is abandoned
        with pytest.raises(DamagedShardError, match="replaced or lost"):
            publish(misbehaving.hooked(refined, repair), "r1", REPORT_ID)
        return
    publish(misbehaving.hooked(refined, repair), "r1", REPORT_ID)
    assert broken_releases(refined) == []
    collect_garbage(refined)
    assert broken_releases(refined) == []


def collect_garbage(dataset: Dataset) -> None:
    strays = stray_objects(dataset, older_than_s=0, now_s=time.time() + 9)
    list(clean(dataset, [stray for stray in strays if stray.kind == "replaced"]))


@pytest.mark.slow
def test_an_unfinished_release_is_finished_by_its_report_or_abandoned(refined) -> None:
    first = releases.put_report(refined)
    second = releases.put_report(refined, id="20261122-000000-bbbb")

    def stop(moment: str, name: str) -> None:
        if moment == "before" and name.endswith("manifest.json"):
            raise InterruptedError

    for release in ("r1", "r2"):
        with pytest.raises(InterruptedError):
            publish(misbehaving.hooked(refined, stop), release, first)
    with pytest.raises(NotReleasableError, match=rf"--report {first}, abandon .* --abandon, or"):
        publish(refined, "r1", second)
    publish(refined, "r1", first)
    with pytest.raises(ReleaseFinishedError, match="r1 is finished"):
        abandon_release(refined.location, "r1")
    with pytest.raises(FileNotFoundError, match="no release r3 was begun"):
        abandon_release(refined.location, "r3")
    abandon_release(refined.location, "r2")
    assert release_names(refined) == ["r1"]
    with pytest.raises(NotReleasableError, match="a name is not used twice"):
        publish(refined, "r2", first)
