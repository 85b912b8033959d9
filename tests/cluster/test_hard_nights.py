"""Nights in places that were copied, damaged or half written, and by clocks that are wrong."""

import logging
import shutil
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from cluster.job.command import GateFailedError
from cluster.job.night.chain import NightFailedError
from cluster.job.night.settings import NightSettings
from cluster.job.night.telling import (
    OverdueError,
    require_recent,
    run_night,
    told_if_not_begun,
)
from factory import publish
from factory.dataset.dataset import Dataset
from factory.reading.release import Release
from factory.release.latest import LATEST_NAME, read_latest, wrong_with_latest
from factory.release.pins import expire
from factory.release.state import read_manifest, release_names
from factory.validation.withheld import withheld_shards
from schemas.options import OptionError
from schemas.report import GateCheck
from support import releases
from support.nights import FakeSteps, Hook, Nights
from support.planted import copied

pytestmark = pytest.mark.slow
ON_THE_WHOLE = GateCheck(measure="realism.x", at_most=1, why="x", value=2, passed=False)


@pytest.fixture
def nights(refined) -> Nights:
    """Shards 0 to 3 are there; shard 4 comes with a later night."""
    return Nights(FakeSteps(refined))


def missed(nights: Nights) -> str:
    with pytest.raises(GateFailedError) as raised:
        nights.next().run()
    return str(raised.value)


# --- bad shards ---------------------------------------------------------------------------------


def test_shards_that_a_report_counts_and_does_not_name_are_bad_too(nights, monkeypatch) -> None:
    nights.steps.bad = {nights.steps.digest(3)}
    validate = nights.steps.validate

    def counting(leave_out):
        report = validate(leave_out)
        checks = tuple(of.model_copy(update={"num_bad_shards": 3}) for of in report.samples)
        return report.model_copy(update={"samples": checks})

    monkeypatch.setattr(nights.steps, "validate", counting)
    message = missed(nights)
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
    assert "no shard is named" in missed(nights)
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
    assert "bad shards: 000004; they are withheld" in missed(nights)


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
    assert latest_of(nights).name == "2026-12-01", "made again, the shard is whole"
    assert len(latest_of(nights)) == 24


# --- copies, and what was removed ---------------------------------------------------------------


def latest_of(nights: Nights) -> Release:
    return Release(f"{nights.steps.refined.location}/releases/latest")


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
    assert len(latest_of(nights)) == 20 and len(latest_of(twin)) == 24
    assert latest_of(twin).location.startswith(f"{twin.steps.refined.location}-kept-")


def test_a_pointer_to_a_release_that_is_gone_names_the_newest_one(nights) -> None:
    refined = nights.steps.refined
    nights.run()
    publish(refined, "paper-v1", report=latest_of(nights).manifest.report_id)
    expire(refined, "paper-v1", "a test")  # as in a race with a publish
    assert wrong_with_latest(refined) is not None
    nights.run()
    assert latest_of(nights).name == "2026-11-28" and wrong_with_latest(refined) is None


@pytest.mark.long
def test_a_filtered_dataset_that_was_removed_is_made_anew(nights) -> None:
    nights.steps.drop_failed = True
    nights.run()
    shutil.rmtree(f"{nights.steps.refined.location}-kept-2026-11-28")
    nights.run()
    assert latest_of(nights).name == "2026-11-29" and len(latest_of(nights)) == 20


def test_a_damaged_pointer_is_replaced_where_people_alone_made_releases(nights) -> None:
    refined = nights.steps.refined
    publish(refined, "paper-v1", report=releases.put_report(refined, id="20261120T000000Z-aaaaaa"))
    nights.steps.arrived.add(4)
    refined.store.put(LATEST_NAME, b"{")
    nights.run()
    assert latest_of(nights).name == "2026-11-28"


@pytest.mark.parametrize("what", ["manifest.json", "intent.json", "report.json"])
def test_one_damaged_record_does_not_keep_later_nights_from_a_release(nights, what) -> None:
    refined = nights.steps.refined
    nights.run()
    report_id = latest_of(nights).manifest.report_id
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
    assert latest_of(nights).name == "2026-11-29" and len(latest_of(nights)) == 24


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
    assert latest_of(nights).name == "2026-11-29"
    for _ in range(2):
        assert nights.run().record(0).outcome == "nothing new"
    assert latest_of(nights).name == "2026-11-29" and len(latest_of(nights)) == 24
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


# --- telling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OptionError("--real /x cannot be used"), OSError("disk full")])
def test_a_night_that_cannot_begin_is_told(nights, error) -> None:
    nights.run()
    location = nights.steps.refined.location
    with Hook() as hook:
        webhook = NightSettings(webhook=hook.url).webhook
        with pytest.raises(type(error)), told_if_not_begun(location, webhook):
            raise error
        with pytest.raises(type(error)), told_if_not_begun(location, webhook) as begin:
            begin()
            raise error
    (body,) = hook.bodies
    assert body["failures"] == [f"it could not begin: {error}"]
    assert body["exit_code"] == (2 if isinstance(error, OptionError) else 1)
    assert (body["outcome"], body["latest"]) == ("failed", "2026-11-28")


def test_a_repair_that_has_no_means_does_not_change_how_the_night_ends(nights) -> None:
    nights.steps.raising = {"refine": ValueError("x"), "mend refined": OptionError("--refiner y")}
    with pytest.raises(NightFailedError, match="2026-11-28 was made") as raised:
        nights.next().run()
    assert "refine: x" in str(raised.value) and "--refiner y" in str(raised.value)


@pytest.mark.parametrize("url", ["https://x/é", "https://x/a b", "https://me:s3cr3t@x/"])
def test_a_url_that_could_not_be_called_is_refused(url) -> None:
    with pytest.raises(ValueError, match="the webhook has") as raised:
        NightSettings(webhook=SecretStr(url))
    assert "s3cr3t" not in str(raised.value)


def test_whatever_a_webhook_does_the_night_ends_as_it_would(nights, caplog, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnicodeEncodeError("ascii", "s3cr3t", 0, 1, "s3cr3t")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    monkeypatch.setattr("cluster.job.night.telling.PAUSES_S", ())
    nights.settings = NightSettings(webhook="https://x/s3cr3t")
    nights.steps.bad, nights.steps.names_bad = {nights.steps.digest(1)}, False
    with caplog.at_level(logging.DEBUG), pytest.raises(GateFailedError):
        run_night(nights.next(), lambda *_: None)
    assert "could not be told: UnicodeEncodeError" in caplog.text and "s3cr3t" not in caplog.text
