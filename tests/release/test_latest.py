"""releases/latest.json: which release readers of `latest` get, and what keeps it true."""

import re
import shutil
from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from factory import publish
from factory.dataset.dataset import Dataset
from factory.dataset.tar import sha256
from factory.reading.release import Release
from factory.release.latest import note_nothing_newer, read_latest, seen_nothing_newer
from factory.release.pins import expire
from factory.release.state import read_manifest
from factory.upkeep.expire import expire_releases
from factory.upkeep.garbage import stray_objects
from factory.upkeep.options import DescribeOptions
from factory.upkeep.run import describe_place
from schemas.base import FormatError
from schemas.options import OptionError
from schemas.release import LatestRelease
from support import fakes, misbehaving, planted, releases
from support.filtered import FAILED

LATER = "20261122-000000-bbbb"
NAME = "releases/latest.json"


def latest_of(dataset: Dataset) -> Release:
    return Release(f"{dataset.location}/releases/latest")


def test_readers_of_latest_get_what_was_published_last(refined) -> None:
    publish(refined, "r1")
    releases.put_report(refined, id=LATER)
    publish(refined, "r2", report=LATER)
    assert (latest_of(refined).name, len(latest_of(refined))) == ("r2", 24)
    location = f"{refined.location}/{NAME}"
    assert Release(location).location == f"{refined.location}/releases/r2"
    publish(refined, "r1", report=LATER)  # set back: it is there already
    assert latest_of(refined).name == "r1"
    publish(refined, "r3", report=LATER, latest=False)
    assert latest_of(refined).name == "r1"


def test_a_reader_stays_with_the_release_that_was_the_latest(refined) -> None:
    publish(refined, "r1")
    before = latest_of(refined)
    publish(refined, "r2")
    assert before.name == "r1" and before[0].key == "000000-000000"


def test_the_pointer_has_the_digest_of_the_manifest(refined) -> None:
    publish(refined, "r1")
    raw = refined.store.read("releases/r1/manifest.json")
    latest = read_latest(refined.store)
    assert latest.release == "r1" and latest.dataset is None
    assert latest.manifest == sha256(raw)
    assert seen_nothing_newer(refined.store) is None
    note_nothing_newer(refined)
    seen = seen_nothing_newer(refined.store)
    assert seen is not None and seen.isoformat() >= latest.published
    assert read_latest(refined.store) == latest


def test_a_filtered_release_is_the_latest_of_both_datasets(refined, tmp_path) -> None:
    publish(refined, "r1", drop_failed=True)
    kept = Dataset.open(f"{refined.location}-kept")
    for dataset in (refined, kept):
        latest = latest_of(dataset)
        assert latest.location == f"{kept.location}/releases/r1"
        assert len(latest) == 24 - len(FAILED)
    assert read_latest(refined.store).dataset == "../refined-kept"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for dataset in (refined, kept):
        shutil.move(dataset.location, moved)
    assert latest_of(Dataset.open(moved / "refined")).location.startswith(str(moved))


def test_a_filtered_dataset_that_lies_elsewhere_is_named_by_its_location(refined, tmp_path) -> None:
    kept = tmp_path / "other" / "kept"
    publish(refined, "r1", drop_failed=True, kept=kept)
    assert read_latest(refined.store).dataset == str(kept)
    assert latest_of(refined).location == f"{kept}/releases/r1"


@pytest.mark.parametrize("name", ["latest", "latest.json", "nothing-newer.json"])
def test_the_name_of_the_pointer_is_no_name_of_a_release(refined, name) -> None:
    with pytest.raises(ValidationError, match=r"releases/latest\.json says which release is the"):
        publish(refined, name)
    assert fakes.files_below(Path(refined.location), "releases") == {}


def test_a_release_that_an_earlier_version_named_latest_is_still_read(refined) -> None:
    releases.release(refined, "latest")
    assert read_manifest(refined, "latest").release == "latest"
    publish(refined, "r1")
    assert latest_of(refined).name == "latest"
    assert Release(f"{refined.location}/releases/r1").name == "r1"


def test_without_a_pointer_the_reader_says_what_makes_one(refined) -> None:
    releases.release(refined, "r1")
    with pytest.raises(FileNotFoundError, match=r"has no releases/latest\.json, .* next publish"):
        latest_of(refined)


def test_a_pointer_of_a_later_version_is_refused(refined) -> None:
    publish(refined, "r1")
    content = orjson.loads(refined.store.read(NAME)) | {"format_version": 99}
    refined.store.put(NAME, orjson.dumps(content))
    with pytest.raises(FormatError, match="newer than this program"):
        latest_of(refined)


def test_the_release_is_whole_before_the_pointer_names_it(refined, monkeypatch) -> None:
    """Killed before the pointer is replaced, a publish leaves the earlier one."""
    publish(refined, "r1")

    def stop(moment: str, name: str) -> None:
        if moment == "before" and name == NAME:
            assert refined.store.size("releases/r2/manifest.json") is not None
            raise InterruptedError

    monkeypatch.setattr(Dataset, "open", lambda _: misbehaving.hooked(refined, stop))
    with pytest.raises(InterruptedError):
        publish(refined, "r2")
    monkeypatch.undo()
    assert latest_of(refined).name == "r1"
    publish(refined, "r2")
    assert latest_of(refined).name == "r2"


def test_what_latest_names_does_not_expire(refined) -> None:
    publish(refined, "r1")
    releases.put_report(refined, id=LATER)
    publish(refined, "r2", report=LATER, latest=False)
    with pytest.raises(OptionError, match=r"readers of .*/releases/latest get it"):
        expire_releases(refined, ["r1"], delete=True)
    with pytest.raises(OptionError, match="is the latest release"):
        expire_releases(refined, ["r2"], delete=True)
    publish(refined, "r2", report=LATER)
    (given_up,) = expire_releases(refined, ["r1"], delete=True)
    assert given_up.name == "r1" and latest_of(refined).name == "r2"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda dataset: dataset.store.put(NAME, b"{}"), "cannot be read"),
        (lambda dataset: expire(dataset, "r1", "a test"), "r1 of .*, which was dropped"),
        (
            lambda dataset: dataset.store.put(
                NAME,
                LatestRelease(release="r9", manifest="0" * 64, published="2026").to_json(),
            ),
            "release r9 of .*, which cannot be read",
        ),
        (
            lambda dataset: dataset.store.put(
                "releases/r1/manifest.json", dataset.store.read("releases/r1/manifest.json") + b" "
            ),
            "has another manifest now",
        ),
    ],
    ids=["no model", "dropped", "not there", "changed"],
)
def test_verify_finds_a_pointer_that_does_not_hold(judged_once, tmp_path, harm, words) -> None:
    dataset = planted.copied(judged_once, tmp_path / "refined")
    publish(dataset, "r1")
    assert [p.name for p in planted.verified(dataset) if p.kind == "release"] == []
    harm(dataset)
    problems = [p for p in planted.verified(dataset) if p.name == NAME]
    assert len(problems) == 1 and problems[0].kind == "release"
    assert re.search(words, problems[0].what)


def test_the_pointer_belongs_to_the_layout(refined) -> None:
    publish(refined, "r1")
    note_nothing_newer(refined)
    strays = {stray.name for stray in stray_objects(refined, older_than_s=0)}
    assert not {NAME, "releases/nothing-newer.json"} & strays


def test_commands_that_take_a_release_take_the_latest(refined) -> None:
    publish(refined, "r1")
    asked = DescribeOptions(input=f"{refined.location}/releases/latest")
    described = describe_place(asked).release
    assert described is not None and described.name == "r1" and described.broken == ()


@pytest.mark.s3
def test_the_latest_release_is_read_from_any_store(any_location, judged_once, tmp_path) -> None:
    dataset = planted.copied(judged_once, f"{any_location}/refined")
    publish(dataset, "r1")
    publish(dataset, "r2", drop_failed=True)
    assert read_latest(dataset.store).dataset == "../refined-kept"
    release = Release(f"{any_location}/refined/releases/latest", cache=tmp_path / "cache")
    assert release.name == "r2" and release.location.startswith(f"{any_location}/refined-kept/")
    assert len(list(release)) == 24 - len(FAILED)
