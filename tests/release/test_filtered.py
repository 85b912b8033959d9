"""The filtered child: exactly the samples that validation kept, byte for byte, and no other."""

import json
import multiprocessing
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.job.command import parse
from factory.dataset.dataset import CardMismatchError, Dataset
from factory.dataset.loading import load_index
from factory.dataset.names import index_name
from factory.dataset.tar import DamagedShardError
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.eye.validator import crop_of
from factory.refinement.card import refined_card
from factory.release.filtered import ShardFilter, enter_filtered
from factory.release.latest import LATEST_NAME
from factory.release.publish import NotReleasableError, publish
from factory.release.run import beside_location
from factory.upkeep.describe import describe
from factory.upkeep.description_text import text_of
from factory.upkeep.garbage import stray_objects
from factory.validation.pairs import NotComparableError, open_trio
from jobs.publish import PublishJob, main
from schemas.base import FormatError
from support import fakes, misbehaving, planted, releases
from support.filtered import FAILED, REPORT_ID, kept_here, parts_of
from support.job_runs import work_here
from support.planted import verified

pytestmark = pytest.mark.slow


@pytest.fixture
def run(monkeypatch) -> Callable[..., None]:
    """Run the job in this process, its work too."""
    work_here(monkeypatch)

    def run(*options: object) -> None:
        main(parse(PublishJob, [str(option) for option in options]))

    return run


def members(paths: list[str]) -> dict[str, bytes]:
    """Every file in some tars, as a plain reader finds it."""
    contents: dict[str, bytes] = {}
    for path in paths:
        with tarfile.open(path) as tar:
            contents |= {m.name: tar.extractfile(m).read() for m in tar}
    return contents


def tars_of(dataset: Dataset) -> list[str]:
    return [f"{dataset.location}/{fakes.tar_of(dataset, shard)}" for shard in dataset.committed()]


def without_failed(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: raw for name, raw in contents.items() if name.split(".")[0] not in FAILED}


def dropped(refined: Dataset, release: str = "r1") -> tuple[object, ...]:
    return ("--input", refined.location, "--release", release, "--drop-failed")


# --- what is in it ------------------------------------------------------------------------------


def test_a_release_of_the_kept_samples_holds_them_byte_for_byte_and_no_other(
    refined, run, tmp_path
) -> None:
    run(*dropped(refined))
    child = Dataset.open(tmp_path / "refined-kept")
    expected = without_failed(members(tars_of(refined)))
    assert len(expected) == 2 * (24 - 7)
    released = members(releases.urls_of(child))
    assert list(released.items()) == list(expected.items()), "in the same order too"
    manifest = json.loads(child.store.read("releases/r1/manifest.json"))
    assert manifest["num_samples"] == 17
    assert [shard["shard"] for shard in manifest["shards"]] == [0, 1, 3, 4]
    assert manifest["report_id"] == REPORT_ID and manifest["gate"] == releases.GATE
    assert child.committed() == [0, 1, 2, 3, 4] and child.facts(2).num_samples == 0
    assert [path.name for path in (tmp_path / "refined" / "releases").iterdir()] == ["latest.json"]


def test_webdataset_sees_no_failed_sample(refined, run, tmp_path) -> None:
    import webdataset

    run(*dropped(refined), "--kept", tmp_path / "elsewhere")
    urls = releases.urls_of(Dataset.open(tmp_path / "elsewhere"))
    read = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    every = load_index(refined)["key"].to_pylist()
    assert read == [key for key in every if key not in FAILED]


def test_the_child_is_refined_by_the_same_refiner_and_says_by_what_it_was_kept(
    refined, kept
) -> None:
    assert kept.card.kind == "refined" and kept.card.refiner == refined.card.refiner
    assert kept.card.parent.card == refined.card.digest()
    assert kept.card.kept is not None and kept.card.kept.report == REPORT_ID
    assert refined.card.kept is None
    for shard in kept.committed():
        assert kept.facts(shard).parent_sha256 == refined.facts(shard).tar_sha256
    same = ("report.json", "report.html", "verdicts.parquet")
    for name in (f"reports/{REPORT_ID}/{file}" for file in same):
        assert kept.store.read(name) == refined.store.read(name)


def test_labels_are_the_parents_but_for_their_places(refined, kept) -> None:
    places = ["png_offset", "json_offset"]
    rows = load_index(refined).filter(pa.array([k not in FAILED for k in all_keys(refined)]))
    assert load_index(kept).drop(places).equals(rows.drop(places).combine_chunks())


def all_keys(dataset: Dataset) -> list[str]:
    return load_index(dataset)["key"].to_pylist()


def test_it_is_described_as_what_it_is(kept) -> None:
    described = describe(kept)
    assert [ancestor.kind for ancestor in described.lineage] == ["refined", "refined", "synthetic"]
    (report,) = described.reports
    assert report.of_present_shards and described.unreadable == {}
    assert described.gaps.not_committed == () and described.num_samples == 17
    page = text_of(described)
    assert f"those that report {REPORT_ID} kept" in page
    assert f"by the verdicts of report {REPORT_ID}" in page
    kept.store.delete(index_name(3))
    assert "1 validated and not made" not in page and "1 validated and not made" in text_of(
        describe(kept)
    )


def test_a_sample_that_a_failed_one_supersedes_does_not_come_back(refiner, tmp_path) -> None:
    """Of each input the newest sample alone is kept, or none."""
    options = UnityEyesOptions()
    for stem in "1234":
        fakes.write_pair(tmp_path / "in", stem, seed=int(stem))
    fakes.ingest_here(tmp_path / "in", tmp_path / "p", options, shard_size=2)
    for stem in "13":
        fakes.write_pair(tmp_path / "in", stem, seed=10 + int(stem))
    parent = fakes.ingest_here(tmp_path / "in", tmp_path / "p", options, shard_size=2)
    refined = fakes.refine_here(parent, refiner, tmp_path / "refined")
    assert refined.index(2)["source_id"].to_pylist() == ["1", "3"]
    releases.put_report(refined)
    releases.put_verdicts(refined, {"000002-000000": ["drift_px"]})
    kept = kept_here(refined, tmp_path / "kept")
    publish(kept, "r1", REPORT_ID)
    records = [json.loads(raw) for name, raw in members(releases.urls_of(kept)).items()
               if name.endswith(".json")]  # fmt: skip
    assert [record["source"]["id"] for record in records] == ["2", "4", "3"]
    assert load_index(kept)["supersedes"].to_pylist() == [None, None, "000001-000000"]
    assert verified(kept, refined) == []


# --- made once, whatever happens ------------------------------------------------------------------


def keep_and_die(refined: Dataset, location: Path, when: str, prefix: str) -> None:
    child = enter_filtered(refined, REPORT_ID, str(location), "kept")
    keeper = ShardFilter(misbehaving.hooked(child, misbehaving.kill_at(when, prefix)), refined)
    for shard in refined.committed():
        keeper(shard)


@pytest.mark.parametrize(
    ("when", "prefix", "num_uncommitted"),
    [
        ("before", "shards/000000", 0),
        ("after", "shards/000001", 1),
        ("before", "index/000003", 1),
        ("after", "index/000003", 0),
    ],
)
def test_a_filtering_that_was_killed_is_finished_by_the_same_command(
    refined, run, tmp_path, when, prefix, num_uncommitted
) -> None:
    run(*dropped(refined), "--kept", tmp_path / "whole")
    process = multiprocessing.get_context("fork").Process(
        target=keep_and_die, args=(refined, tmp_path / "kept", when, prefix)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    half = Dataset.open(tmp_path / "kept")
    assert len(half.committed()) < 5
    uncommitted = [s for s in stray_objects(half, older_than_s=0) if s.kind == "uncommitted"]
    assert len(uncommitted) == num_uncommitted
    run(*dropped(refined), "--kept", tmp_path / "kept")
    assert members(tars_of(half)) == members(tars_of(Dataset.open(tmp_path / "whole")))
    assert verified(half, refined) == []
    assert parts_of(half).keys() == parts_of(Dataset.open(tmp_path / "whole")).keys()


def test_publishing_again_changes_nothing_and_another_release_is_of_the_same_samples(
    refined, run, tmp_path
) -> None:
    run(*dropped(refined))
    child = Dataset.open(tmp_path / "refined-kept")
    but_the_pointer = "runs/", "children/", LATEST_NAME  # which says when it was published
    before = planted.content(child, *but_the_pointer)
    run(*dropped(refined))
    assert planted.content(child, *but_the_pointer) == before
    run(*dropped(refined, "r2"))
    assert releases.urls_of(child, "r2") == releases.urls_of(child, "r1")
    run("--input", child.location, "--release", "r3")
    assert releases.urls_of(child, "r3") == releases.urls_of(child, "r1")


def test_other_verdicts_or_another_report_are_refused_with_the_difference(refined, kept) -> None:
    releases.put_verdicts(refined, dict(list(FAILED.items())[:2]))
    with pytest.raises(CardMismatchError, match=r"config\.kept\.verdicts"):
        kept_here(refined, kept.location)
    other = releases.put_report(refined, id="20261122-000000-bbbb")
    releases.put_verdicts(refined, FAILED, other)
    with pytest.raises(CardMismatchError, match=r"config\.kept\.report: '20261121"):
        kept_here(refined, kept.location, other)
    with pytest.raises(CardMismatchError, match="kept"):
        kept_here(refined, refined.location)


def test_in_any_store(refined, any_location) -> None:
    kept = kept_here(refined, any_location)
    manifest = publish(kept, "r1", REPORT_ID)
    assert manifest.num_samples == 17 and verified(kept, refined) == []
    assert kept_here(refined, any_location).committed() == [0, 1, 2, 3, 4]
    assert publish(kept, "r1", REPORT_ID) == manifest


# --- what is refused ------------------------------------------------------------------------------


def test_a_report_that_does_not_pass_filters_nothing(refined, run, tmp_path) -> None:
    releases.put_report(refined, passed=False)
    with pytest.raises(NotReleasableError, match="did not pass its gate"):
        run(*dropped(refined))
    assert not (tmp_path / "refined-kept").exists()


def test_a_report_without_verdicts_filters_nothing_and_releases_as_before(
    refined, run, caplog
) -> None:
    refined.store.delete(f"reports/{REPORT_ID}/verdicts.parquet")
    with pytest.raises(NotReleasableError, match=r"no reports/.*verdicts\.parquet.*validate again"):
        run(*dropped(refined))
    publish(refined, "r1", REPORT_ID)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_a_release_of_all_says_how_many_failed(refined, caplog) -> None:
    assert publish(refined, "r1", REPORT_ID).num_samples == 24
    assert caplog.messages == [
        "7 of the 24 released samples missed the limits on single samples; publish with "
        "--drop-failed to release only the others"
    ]


def test_verdicts_that_keep_nothing_make_no_dataset(refined, tmp_path) -> None:
    releases.put_verdicts(refined, {key: ["drift_px"] for key in all_keys(refined)})
    with pytest.raises(NotReleasableError, match="keeps none of its 24 samples"):
        kept_here(refined, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def other_keys(table: pa.Table) -> pa.Table:
    keys = table["key"].to_pylist()
    return table.set_column(0, "key", pa.array([*keys[:-1], "999999-000000"]))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: pa.concat_tables([table, table.slice(0, 1)]),
        lambda table: table.take(list(range(len(table)))[::-1]),
        lambda table: table.drop_columns(["keep"]),
        other_keys,
    ],
    ids=["one too few", "one twice", "out of order", "without keep", "another key"],
)
def test_verdicts_that_are_not_on_the_validated_samples_are_refused(
    refined, tmp_path, change
) -> None:
    name = f"reports/{REPORT_ID}/verdicts.parquet"
    refined.store.put(name, planted.with_rows(refined.store.read(name), change))
    with pytest.raises(FormatError, match="not what its report names"):
        kept_here(refined, tmp_path / "kept")
    releases.put_report(refined)
    with pytest.raises(FormatError, match=r"verdicts\.parquet: "):
        kept_here(refined, tmp_path / "kept")
    with pytest.raises(FormatError):
        publish(refined, "r1", REPORT_ID)
    assert not (tmp_path / "kept").exists()


def test_a_shard_that_changed_since_it_was_validated_is_refused(refined, kept, tmp_path) -> None:
    report = releases.report_on(refined)
    first = report.shards[0].model_copy(update={"tar_sha256": "f" * 64})
    releases.put_report(refined, shards=(first, *report.shards[1:]))
    with pytest.raises(DamagedShardError, match="shard 0 changed since it was validated"):
        kept_here(refined, tmp_path / "other")
    releases.put_report(refined)
    path = Path(refined.location) / fakes.tar_of(refined, 1)
    path.write_bytes(planted.flipped(path.read_bytes(), 900))
    with pytest.raises(DamagedShardError, match=r"000001-1-\S+\.tar is damaged"):
        kept_here(refined, tmp_path / "other")
    assert Dataset.open(tmp_path / "other").committed() == [0]


def test_a_filtered_dataset_is_neither_refined_nor_filtered_again_nor_released_by_another_report(
    refined, kept, refiner, tmp_path
) -> None:
    with pytest.raises(ValueError, match="refined dataset; refine reads synthetic ones"):
        refined_card(kept, refiner, "x")
    with pytest.raises(ValueError, match="already holds only"):
        enter_filtered(kept, REPORT_ID, str(tmp_path / "x"), "x")
    other = releases.put_report(kept, id="20261122-000000-bbbb")
    with pytest.raises(NotReleasableError, match=f"released by that report, not by {other}"):
        publish(kept, "r1", other)


def test_a_filtered_dataset_is_not_validated_against_its_parent(kept, tmp_path, renders) -> None:
    from factory.domains.eye.sources.pictures import PicturesOptions

    camera = fakes.ingest_here(renders, tmp_path / "camera", PicturesOptions())
    with pytest.raises(NotComparableError, match="validate its parent"):
        crop_of(open_trio(kept.location, camera.location).parent)


def test_only_refined_datasets_are_filtered(dataset, tmp_path) -> None:
    releases.put_report(dataset)
    releases.put_verdicts(dataset, {})
    with pytest.raises(ValueError, match="is a synthetic dataset; refined ones are filtered"):
        kept_here(dataset, tmp_path / "kept")


def test_beside_a_whole_bucket_there_is_no_place() -> None:
    with pytest.raises(ValueError, match="with --kept"):
        beside_location("s3://lab")
    assert beside_location("s3://lab/eyes") == "s3://lab/eyes-kept"
