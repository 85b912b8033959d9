"""The releases that nights make: their names, which was begun, and which are too old."""

from collections import Counter
from datetime import date
from itertools import islice
from pathlib import Path

import pytest

from factory import publish
from factory.dataset.children import registered_children
from factory.dataset.dataset import Dataset
from factory.reading.release import Release
from factory.release.latest import read_latest
from factory.release.pins import expire
from factory.release.publish import publish as publish_by_report
from factory.release.run import abandon_release
from factory.release.series import DatedNames, Series
from factory.release.state import broken_releases, is_dropped, release_names
from factory.store.local import LocalStore
from factory.upkeep.expire import expire_outdated
from support import misbehaving, planted, releases

BY_DAY = DatedNames("%Y-%m-%d")
TODAY = date(2026, 11, 30)


def series_of(dataset: Dataset, kept: str | None = None) -> Series:
    return Series(dataset, BY_DAY, kept)


def report_of(day: int, dataset: Dataset) -> str:
    """A report of some day of November that passes."""
    report_id = f"202611{day:02d}T030000Z-aaaaaa"
    releases.put_verdicts(dataset, {}, report_id)
    return releases.put_report(dataset, id=report_id)


def release_of(day: int, dataset: Dataset, **how) -> None:
    publish(dataset, f"2026-11-{day:02d}", report=report_of(day, dataset), **how)


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("2026-11-30", TODAY),
        ("2026-11-30.2", TODAY),
        ("2026-11-30.12", TODAY),
        ("2026-11-30.1", None),
        ("2026-11-30.0", None),
        ("2026-13-30", None),
        ("2026-1-3", None),
        ("paper-v1", None),
        ("v2026-11-30", None),
    ],
)
def test_a_name_tells_its_day_or_is_a_persons(name, day) -> None:
    assert BY_DAY.day_of(name) == day


def test_a_second_release_of_a_day_gets_a_number() -> None:
    assert list(islice(BY_DAY.of(TODAY), 3)) == ["2026-11-30", "2026-11-30.2", "2026-11-30.3"]
    assert DatedNames("eyes_%Y%m%d").day_of("eyes_20261130.2") == TODAY


@pytest.mark.parametrize("pattern", ["nightly", "%Y-%m", "%Y/%m/%d", "", "%A %Y-%m-%d"])
def test_a_pattern_whose_names_do_not_tell_days_is_refused(pattern) -> None:
    with pytest.raises(ValueError, match="gives names such as"):
        DatedNames(pattern)


def test_names_of_finished_begun_and_dropped_releases_are_taken(refined) -> None:
    assert series_of(refined).free_name(TODAY) == "2026-11-30"
    release_of(30, refined)
    assert series_of(refined).free_name(TODAY) == "2026-11-30.2"
    begin(refined, "2026-11-30.2", report_of(29, refined))
    assert series_of(refined).free_name(TODAY) == "2026-11-30.3"
    abandon_release(refined.location, "2026-11-30.2")
    assert series_of(refined).free_name(TODAY) == "2026-11-30.3"


def begin(dataset: Dataset, name: str, report_id: str) -> None:
    """A publish that is stopped before it is finished."""

    def stop(moment: str, put: str) -> None:
        if moment == "before" and put.endswith("manifest.json"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        publish_by_report(misbehaving.hooked(dataset, stop), name, report_id)


def test_a_release_that_was_begun_is_found_with_its_report(refined) -> None:
    assert series_of(refined).begun() is None
    report_id = report_of(29, refined)
    begin(refined, "2026-11-29", report_id)
    begin(refined, "paper-v1", report_id)
    begun = series_of(refined).begun()
    assert begun is not None and (begun.name, begun.report_id) == ("2026-11-29", report_id)
    publish(refined, "2026-11-29", report=report_id)
    assert series_of(refined).begun() is None


def test_the_newest_release_says_which_shards_are_released(refined) -> None:
    assert series_of(refined).released_shards() is None
    release_of(28, refined)
    now = {shard: refined.facts(shard).tar_sha256 for shard in refined.committed()}
    assert series_of(refined).released_shards() == now
    refined.store.delete(f"reports/{report_of(28, refined)}/report.json")
    assert series_of(refined).released_shards() is None


def test_each_manifest_is_read_once_and_news_are_seen_all_the_same(refined, monkeypatch) -> None:
    for day in (28, 29):
        release_of(day, refined)
    refined.store.put("releases/2026-11-20/manifest.json", b"{" * 1000)
    reads, read = Counter(), LocalStore.read

    def counted(store: LocalStore, name: str) -> bytes:
        reads[name] += name.endswith("manifest.json")
        return read(store, name)

    monkeypatch.setattr(LocalStore, "read", counted)
    series = series_of(refined)
    for _ in range(2):
        assert [of.name for of in series.finished()] == ["2026-11-28", "2026-11-29"]
        (line,) = series.unreadable()
        assert "2026-11-20/manifest.json: not JSON" in line
        assert series.released_shards() == series.shards_of_latest() != {}
        assert series.outdated(TODAY, keep_releases=2, keep_days=None) == []
    names = (f"releases/2026-11-{day}/manifest.json" for day in (20, 28, 29))
    assert +reads == dict.fromkeys(names, 1)
    release_of(30, refined)
    expire(refined, "2026-11-28", "it is too old")
    assert [of.name for of in series.finished()] == ["2026-11-29", "2026-11-30"]


@pytest.mark.slow
def test_releases_that_no_rule_keeps_expire(refined) -> None:
    for day in (20, 25, 28, 30):
        release_of(day, refined, latest=day == 30)
    publish(refined, "paper-v1", report=report_of(1, refined), latest=False)
    series = series_of(refined)
    for num, days, too_old in (
        (None, None, []),
        (2, None, [20, 25]),
        (None, 5, [20, 25]),
        (1, 6, [20]),
        (3, 1, [20]),
        (9, 9, []),
    ):
        outdated = series.outdated(TODAY, keep_releases=num, keep_days=days)
        assert [of.name for of in outdated] == [f"2026-11-{day}" for day in too_old], (num, days)
    expire_outdated(series, TODAY, keep_releases=2, keep_days=None)
    assert release_names(refined) == ["2026-11-28", "2026-11-30", "paper-v1"]
    assert broken_releases(refined) == []


def test_the_release_that_latest_names_does_not_expire(refined) -> None:
    release_of(20, refined)
    release_of(30, refined, latest=False)
    assert expire_outdated(series_of(refined), TODAY, keep_releases=1, keep_days=None) == []
    assert Release(f"{refined.location}/releases/latest").name == "2026-11-20"


@pytest.mark.slow
def test_filtered_datasets_of_the_series_are_one_for_each_release(refined) -> None:
    kept = f"{refined.location}-kept"
    series = series_of(refined, kept)
    for day in (29, 30):
        release_of(day, refined, drop_failed=True, kept=series.place_of(f"2026-11-{day}"))
    assert [of.name for of in series.finished()] == ["2026-11-29", "2026-11-30"]
    assert series.free_name(TODAY) == "2026-11-30.2"
    assert read_latest(refined.store).dataset == "../refined-kept-2026-11-30"
    assert expire_outdated(series, TODAY, keep_releases=1, keep_days=None) == ["2026-11-29"]
    old = Dataset.open(f"{kept}-2026-11-29")
    assert is_dropped(old, "2026-11-29") and old.committed() == []
    assert list(old.store.entries("shards")) == []
    assert list(registered_children(refined)) == [f"{kept}-2026-11-30"]
    assert series.free_name(date(2026, 11, 29)) == "2026-11-29.2"
    assert len(Release(f"{refined.location}/releases/latest")) == 24


@pytest.mark.slow
def test_an_expiry_that_was_killed_is_ended_by_the_next_one(refined, monkeypatch) -> None:
    series = series_of(refined, f"{refined.location}-kept")
    for day in (29, 30):
        release_of(day, refined, drop_failed=True, kept=series.place_of(f"2026-11-{day}"))

    def killed(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("factory.upkeep.expire._empty", killed)
    with pytest.raises(InterruptedError):
        expire_outdated(series, TODAY, keep_releases=1, keep_days=None)
    monkeypatch.undo()
    old = Dataset.open(f"{refined.location}-kept-2026-11-29")
    assert is_dropped(old, "2026-11-29") and old.committed() != []
    assert expire_outdated(series, TODAY, keep_releases=1, keep_days=None) == []
    assert old.committed() == []


def test_a_filtered_dataset_that_was_begun_is_found_with_its_report(refined) -> None:
    series = series_of(refined, f"{refined.location}-kept")
    report_id = report_of(30, refined)
    publish(refined, "2026-11-30", report=report_id, drop_failed=True,
            kept=series.place_of("2026-11-30"))  # fmt: skip
    assert series.begun() is None
    child = Dataset.open(f"{refined.location}-kept-2026-11-30")
    child.store.delete("releases/2026-11-30/manifest.json")
    begun = series.begun()
    assert begun is not None and (begun.name, begun.report_id) == ("2026-11-30", report_id)
    assert series_of(refined).begun() is None


def test_a_child_that_is_gone_is_left_aside(refined, caplog) -> None:
    series = series_of(refined, f"{refined.location}-kept")
    release_of(30, refined, drop_failed=True, kept=series.place_of("2026-11-30"))
    gone = Path(f"{refined.location}-kept-2026-11-30")
    gone.rename(gone.with_name("moved"))
    assert series.finished() == [] and "cannot be looked at" in caplog.text
    assert planted.verified(refined)[-1].what.startswith("names the release 2026-11-30 of")
