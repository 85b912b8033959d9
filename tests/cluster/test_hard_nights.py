"""Nights in places that were copied, damaged or half written, and by clocks that are wrong."""

import shutil
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from cluster.job.night.chain import NightFailedError
from cluster.job.night.settings import NightSettings
from cluster.job.night.telling import (
    OverdueError,
    require_recent,
)
from factory import publish
from factory.dataset.dataset import Dataset
from factory.release.latest import LATEST_NAME, read_latest, wrong_with_latest
from factory.release.pins import expire
from factory.release.state import read_manifest, release_names
from factory.validation.withheld import withheld_shards
from schemas.options import OptionError
from schemas.report import GateCheck
from support import releases
from support.nights import FakeSteps, Nights
from support.planted import copied

pytestmark = pytest.mark.slow
ON_THE_WHOLE = GateCheck(measure="realism.x", at_most=1, why="x", value=2, passed=False)


# --- bad shards ---------------------------------------------------------------------------------


def test_shards_that_a_report_counts_and_does_not_name_are_bad_too(nights, monkeypatch) -> None:
    nights.steps.bad = {nights.steps.digest(3)}
    validate = nights.steps.validate

    def counting(leave_out):
        report = validate(leave_out)
        checks = tuple(of.model_copy(update={"num_bad_shards": 3}) for of in report.samples)
        return report.model_copy(update={"samples": checks})

    monkeypatch.setattr(nights.steps, "validate", counting)
    message = nights.missed()[1]
    assert "bad shards: 000003 and 2 more; that is 3 of 4, more than the 2" in message
    assert nights.steps.refined.committed() == [0, 1, 2, 3]


@pytest.mark.parametrize("is_named", [True, False])
def test_a_network_that_is_missing_is_no_fault_of_the_new_shards(
    nights, monkeypatch, is_named
) -> None:
    nights.run()
    nights.steps.arrived.add(4)
    validate = nights.steps.validate
    nights.steps.bad, nights.steps.names_bad = {nights.steps.digest(4)}, False

    def blind(leave_out):
        report = validate(leave_out)
        checks = tuple(of.model_copy(update={"num_measured": 0}) for of in report.samples)
        line = ON_THE_WHOLE.model_copy(update={"value": None})
        changes = {"samples": checks} if is_named else {"samples": (), "checks": (line,)}
        return report.model_copy(update=changes)

    monkeypatch.setattr(nights.steps, "validate", blind)
    assert "no shard is named" in nights.missed()[1]
    assert nights.steps.refined.committed() == [0, 1, 2, 3, 4]


def test_shards_that_any_release_has_are_not_new(nights) -> None:
    nights.run()
    by_hand = releases.put_report(
        nights.steps.refined,
        id="20261129T000000Z-aaaaaa",
        shards=releases.report_on(nights.steps.refined).shards[:2],
    )
    publish(nights.steps.refined, "paper-v1", report=by_hand)
    nights.steps.arrived.add(4)
    nights.steps.bad, nights.steps.names_bad = {nights.steps.digest(4)}, False
    assert "bad shards: 000004; they are withheld" in nights.missed()[1]


def test_a_withholding_that_was_killed_is_ended_by_the_next_night(nights, monkeypatch) -> None:
    nights.run()
    nights.steps.arrived.add(4)
    nights.steps.spoilt = {4}
    nights.steps.bad = {nights.steps.digest(4, spoilt=True)}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("factory.validation.withheld.withdraw", killed)
    with pytest.raises(KeyboardInterrupt):
        nights.run()
    monkeypatch.undo()
    assert list(withheld_shards(nights.steps.refined)) == [4]
    assert nights.run().record(0).outcome == "nothing new"
    assert 4 not in nights.steps.refined.committed()
    nights.run()
    assert nights.latest.name == "2026-12-01", "made again, the shard is whole"
    assert len(nights.latest) == 24


# --- copies, and what was removed ---------------------------------------------------------------


def test_nights_on_a_copy_leave_the_releases_of_the_original_alone(nights, tmp_path) -> None:
    nights.steps.drop_failed = True
    nights.run()
    twin = Nights(FakeSteps(copied(nights.steps.refined, tmp_path / "twin"), drop_failed=True))
    twin.settings, twin.num = NightSettings(keep_releases=1), 1
    for _ in range(2):
        twin.run()
    twin.steps.arrived.add(4)
    twin.run()
    kept = Dataset.open(f"{nights.steps.refined.location}-kept-2026-11-28")
    assert release_names(kept) == ["2026-11-28"]
    assert len(nights.latest) == 20 and len(twin.latest) == 24
    assert twin.latest.location.startswith(f"{twin.steps.refined.location}-kept-")


def test_a_pointer_to_a_release_that_is_gone_names_the_newest_one(nights) -> None:
    refined = nights.steps.refined
    nights.run()
    publish(refined, "paper-v1", report=nights.latest.manifest.report_id)
    expire(refined, "paper-v1", "a test")  # as in a race with a publish
    assert wrong_with_latest(refined) is not None
    nights.run()
    assert nights.latest.name == "2026-11-28" and wrong_with_latest(refined) is None


@pytest.mark.long
def test_a_filtered_dataset_that_was_removed_is_made_anew(nights) -> None:
    nights.steps.drop_failed = True
    nights.run()
    shutil.rmtree(f"{nights.steps.refined.location}-kept-2026-11-28")
    nights.run()
    assert nights.latest.name == "2026-11-29" and len(nights.latest) == 20


def test_a_damaged_pointer_is_replaced_where_people_alone_made_releases(nights) -> None:
    refined = nights.steps.refined
    publish(refined, "paper-v1", report=releases.put_report(refined, id="20261120T000000Z-aaaaaa"))
    nights.steps.arrived.add(4)
    refined.store.put(LATEST_NAME, b"{")
    nights.run()
    assert nights.latest.name == "2026-11-28"


@pytest.mark.parametrize("what", ["manifest.json", "intent.json", "report.json"])
def test_one_damaged_record_does_not_keep_later_nights_from_a_release(nights, what) -> None:
    refined = nights.steps.refined
    nights.run()
    report_id = nights.latest.manifest.report_id
    publish(refined, "2026-11-27", report=report_id, latest=False)
    if what == "intent.json":
        refined.store.delete("releases/2026-11-27/manifest.json")
    folder = f"reports/{report_id}" if what == "report.json" else "releases/2026-11-27"
    refined.store.put(f"{folder}/{what}", b"{" * 600)
    nights.steps.arrived.add(4)
    if what == "report.json":
        nights.run()
    else:
        with pytest.raises(NightFailedError, match=f"2026-11-27/{what}"):
            nights.next().run()
    assert nights.latest.name == "2026-11-29" and len(nights.latest) == 24


# --- clocks -------------------------------------------------------------------------------------


def test_a_release_from_the_future_does_not_make_every_night_release(nights, monkeypatch) -> None:
    monkeypatch.setattr("support.nights.FIRST", later := nights.next()._started + timedelta(1500))
    nights.num = 0
    nights.run()
    (future,) = release_names(nights.steps.refined)
    assert future == f"{later:%Y-%m-%d}"
    monkeypatch.undo()
    nights.steps.arrived.add(4)
    nights.num = 1
    nights.run()
    assert nights.latest.name == "2026-11-29"
    for _ in range(2):
        assert nights.run().record(0).outcome == "nothing new"
    assert nights.latest.name == "2026-11-29" and len(nights.latest) == 24
    assert read_manifest(nights.steps.refined, future).num_samples == 20


def test_a_release_from_the_future_does_not_hide_a_missing_night(nights) -> None:
    nights.run()
    store = nights.steps.refined.store
    now = datetime(2026, 12, 24, tzinfo=UTC)
    for hours, is_recent in ((-27, False), (-25, True), (0.5, True), (2, False), (9999, False)):
        published = (now + timedelta(hours=hours)).isoformat(timespec="seconds")
        latest = read_latest(store).model_copy(update={"published": published})
        store.put(LATEST_NAME, latest.to_json())
        with nullcontext() if is_recent else pytest.raises(OverdueError):
            require_recent(nights.steps.refined.location, 26, None, now)


def test_a_repair_that_has_no_means_does_not_change_how_the_night_ends(nights) -> None:
    nights.steps.raising = {"refine": ValueError("x"), "mend refined": OptionError("--refiner y")}
    with pytest.raises(NightFailedError, match="2026-11-28 was made") as raised:
        nights.next().run()
    assert "refine: x" in str(raised.value) and "--refiner y" in str(raised.value)
