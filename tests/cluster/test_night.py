"""A night with fakes for its jobs: what it releases, what it says, and how the next one goes on."""

import logging
import signal
from pathlib import Path

import pytest

from cluster.job.command import GateFailedError
from cluster.job.night.chain import Night, NightFailedError
from cluster.job.night.settings import NightSettings
from cluster.job.night.telling import OverdueError, require_recent, run_night
from cluster.job.signals import StopRequest
from factory import publish
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import ShardsFailedError
from factory.dataset.tar import DamagedShardError
from factory.reading.release import Release
from factory.release.latest import LATEST_NAME, read_latest
from factory.release.state import broken_releases, is_dropped, read_manifest, release_names
from factory.store.open import open_store
from factory.validation.withheld import take_back, withheld_shards
from schemas.night import NightRecord
from schemas.options import OptionError
from schemas.release import NothingNewer
from support import fakes, releases
from support.nights import FIRST, FakeSteps, Hook, Nights

pytestmark = pytest.mark.slow
ROTTEN = "everything else is done, but:\n  /renders/9.zip: its list of files ends early"


@pytest.fixture
def nights(refined) -> Nights:
    """Shards 0 to 3 are there; shard 4 comes with a later night."""
    return Nights(FakeSteps(refined))


def released(nights: Nights) -> list[str]:
    return release_names(nights.steps.refined)


def latest_of(nights: Nights) -> Release:
    return Release(f"{nights.steps.refined.location}/releases/latest")


def shards_of(nights: Nights, name: str) -> list[int]:
    return [of.shard for of in read_manifest(nights.steps.refined, name).shards]


def releases_of(nights: Nights) -> dict[str, bytes]:
    return fakes.files_below(Path(nights.steps.refined.location), "releases")


def missed(nights: Nights, **changes) -> tuple[Night, str]:
    """The next night, which misses its gate, and what it says."""
    night = nights.next(**changes)
    with pytest.raises(GateFailedError) as raised:
        night.run()
    return night, str(raised.value)


def failed(nights: Nights) -> tuple[Night, str]:
    """The next night, which fails, and what it says."""
    night = nights.next()
    with pytest.raises(NightFailedError) as raised:
        night.run()
    return night, str(raised.value)


# --- good nights --------------------------------------------------------------------------------


def test_a_night_ends_in_a_release_under_its_date(nights) -> None:
    night = nights.run()
    assert nights.steps.calls == ["ingest", "refine", "validate", "publish"]
    assert released(nights) == ["2026-11-28"]
    assert latest_of(nights).name == "2026-11-28" and len(latest_of(nights)) == 20
    record = night.record(0)
    assert (record.outcome, record.release, record.latest) == ("released", *["2026-11-28"] * 2)
    assert record.text.endswith("a release was made (2026-11-28)")


def test_a_night_without_anything_new_makes_no_release_and_says_so(nights, caplog) -> None:
    nights.run()
    pointer = nights.steps.refined.store.read(LATEST_NAME)
    with caplog.at_level(logging.INFO):
        night = nights.run()
    assert "nothing new to release: 4 shards" in caplog.text
    assert night.record(0).outcome == "nothing new" and released(nights) == ["2026-11-28"]
    assert nights.steps.calls[4:] == ["ingest", "refine"]
    assert nights.steps.refined.store.read(LATEST_NAME) == pointer


def test_a_second_release_of_a_day_gets_a_number(nights) -> None:
    nights.run()
    nights.steps.arrived.add(4)
    nights.num -= 1  # the same day
    nights.run()
    assert released(nights) == ["2026-11-28", "2026-11-28.2"]
    assert latest_of(nights).name == "2026-11-28.2"


def test_failed_samples_are_left_out_where_the_settings_say_so(nights) -> None:
    nights.steps.drop_failed = True
    night = nights.run()
    kept = f"{nights.steps.refined.location}-kept-2026-11-28"
    assert latest_of(nights).location == f"{kept}/releases/2026-11-28"
    assert night.record(0).released_in == kept and released(nights) == []
    nights.run()
    assert nights.steps.calls.count("publish") == 1, "there was nothing new"
    nights.steps.arrived.add(4)
    nights.settings = NightSettings(keep_releases=1)
    assert nights.run().record(0).expired == ("2026-11-28",)
    assert latest_of(nights).name == "2026-11-30" and len(latest_of(nights)) == 24
    assert Dataset.open(kept).committed() == []


def test_old_releases_expire_by_the_settings_and_those_of_people_do_not(nights) -> None:
    nights.run()
    publish(nights.steps.refined, "paper-v1", report=latest_of(nights).manifest.report_id)
    nights.settings = NightSettings(keep_releases=1)
    nights.steps.arrived.add(4)
    nights.run()
    assert released(nights) == ["2026-11-29", "paper-v1"]
    assert latest_of(nights).name == "2026-11-29"


def test_a_pointer_that_was_set_back_stays_so_until_there_is_news(nights) -> None:
    nights.run()
    nights.steps.arrived.add(4)
    nights.run()
    first = read_manifest(nights.steps.refined, "2026-11-28").report_id
    nights.steps.arrived.discard(4)
    publish(nights.steps.refined, "2026-11-28", report=first)
    nights.run()
    assert latest_of(nights).name == "2026-11-28"


# --- a bad shard --------------------------------------------------------------------------------


def plant(nights: Nights, *, once: bool) -> dict[str, bytes]:
    """A good night, and then a bad shard in the renders of the next; gives the releases before."""
    nights.run()
    nights.steps.arrived.add(4)
    nights.steps.spoilt = {4} if once else set()
    nights.steps.bad = {nights.steps.digest(4, spoilt=once)}
    return releases_of(nights)


@pytest.mark.parametrize("once", [True, False], ids=["made badly once", "always bad"])
def test_a_bad_shard_stops_the_release_and_the_next_night_needs_no_help(nights, once) -> None:
    before = plant(nights, once=once)
    night, message = missed(nights)
    assert "no release was made; the report is" in message and "report.html" in message
    assert "turn_deg > 5: 5 samples (20 %)" in message
    assert "bad shards: 1, the worst 000004 with 5 of 5" in message
    assert "bad shards: 000004; they are withheld: the next night makes them again" in message
    assert releases_of(nights) == before, "the last release and latest.json are as they were"
    record = night.record(3)
    assert (record.outcome, record.withheld, record.latest) == ("gate missed", (4,), "2026-11-28")
    assert "withheld shards: 000004; the latest release is 2026-11-28" in record.text

    night = nights.run()
    if once:  # made again, the shard is whole
        assert shards_of(nights, "2026-11-30") == [0, 1, 2, 3, 4] and latest_of(nights)
        assert withheld_shards(nights.steps.refined) == {}
    else:  # the same bytes: they are not tried every night
        assert released(nights) == ["2026-11-28"]
        assert night.record(0).outcome == "nothing new" and night.record(0).withheld == (4,)
        assert nights.steps.validated == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_good_renders_beside_a_withheld_shard_are_released(nights) -> None:
    nights.steps.arrived = {0, 1, 2}
    not_yet(nights, 3)
    plant(nights, once=False)
    missed(nights)
    nights.steps.arrived.add(3)
    nights.run()
    assert shards_of(nights, "2026-11-30") == [0, 1, 2, 3]
    assert take_back(nights.steps.refined, [4]) == [4]
    nights.steps.bad = set()
    nights.run()
    assert shards_of(nights, "2026-12-01") == [0, 1, 2, 3, 4]


def not_yet(nights: Nights, shard: int) -> None:
    """Take a shard out, as a repair does that leaves it to the next refine."""
    refined = nights.steps.refined
    assert withdraw(refined, shard, refined.generation(shard), "it is to be made again")


def test_where_no_shard_is_named_those_that_are_new_are_withheld(nights) -> None:
    plant(nights, once=False)
    nights.steps.names_bad = False
    _, message = missed(nights)
    assert "bad shards: 000004; they are withheld" in message
    nights.run()
    (record,) = withheld_shards(nights.steps.refined).values()
    assert record.why == "new since the release 2026-11-28, which passed the same gate without it"


def test_a_first_night_that_names_no_shard_withholds_none(nights) -> None:
    nights.steps.bad, nights.steps.names_bad = {nights.steps.digest(1)}, False
    _, message = missed(nights)
    assert "no shard is named, so all of the report has to be looked at" in message
    missed(nights)  # nothing is better in the next night


def test_where_most_shards_are_bad_none_is_withheld(nights) -> None:
    nights.steps.bad = {nights.steps.digest(shard) for shard in (0, 1, 2)}
    night, message = missed(nights)
    assert "that is 3 of 4, more than the 2 that one night may withhold" in message
    assert night.record(3).withheld == () and nights.steps.refined.committed() == [0, 1, 2, 3]


def test_nothing_is_withheld_where_the_settings_say_so(nights) -> None:
    nights.settings = NightSettings(withhold=False)
    plant(nights, once=False)
    _, message = missed(nights)
    assert "bad shards: 000004; they stay in all later validations (withhold is off)" in message
    assert nights.steps.refined.committed() == [0, 1, 2, 3, 4]


def test_a_withheld_shard_that_was_not_made_again_yet_is_no_news(nights) -> None:
    nights.run()
    nights.steps.arrived.discard(2)
    not_yet(nights, 2)
    assert nights.run().record(0).outcome == "nothing new"


def test_shards_that_the_settings_leave_out_are_not_validated(nights) -> None:
    nights.run(leave_out=(1, 9))
    assert nights.steps.validated == [[0, 2, 3]]
    assert nights.run(leave_out=(1, 9)).record(0).outcome == "nothing new"
    nights.run()
    assert nights.steps.validated[1:] == [[0, 1, 2, 3]]


# --- failures -----------------------------------------------------------------------------------


def test_a_rotten_archive_does_not_stop_the_night_which_names_it(nights) -> None:
    nights.steps.raising["ingest"] = ValueError(ROTTEN)
    night, message = failed(nights)
    assert released(nights) == ["2026-11-28"] and latest_of(nights).name == "2026-11-28"
    assert "the release 2026-11-28 was made" in message and "/renders/9.zip" in message
    assert nights.steps.calls == ["ingest", "refine", "validate", "publish"], "nothing is mended"
    record = night.record(1)
    assert (record.outcome, record.exit_code) == ("released", 1)
    assert record.failures == (f"ingest: {' '.join(ROTTEN.split())}",)


def test_a_rotten_archive_alone_is_named_every_night(nights) -> None:
    nights.run()
    nights.steps.raising["ingest"] = ValueError(ROTTEN)
    night, message = failed(nights)
    assert "no release was made" in message and "9.zip" in message
    assert night.record(1).outcome == "nothing new"


def test_shards_that_cannot_be_refined_do_not_keep_the_others_from_a_release(nights) -> None:
    nights.steps.raising["refine"] = ShardsFailedError("1 of 2 shards were set aside: shard 4: x")
    _, message = failed(nights)
    assert "refine: 1 of 2 shards were set aside: shard 4: x" in message
    assert released(nights) == ["2026-11-28"]
    assert nights.steps.calls[-1] == "mend refined"


@pytest.mark.parametrize("step", ["validate", "publish"])
def test_a_damaged_shard_is_mended_and_the_next_night_makes_the_release(nights, step) -> None:
    damage = DamagedShardError("shards/000003-1.tar is damaged: sha256 1f…; mend it with …")
    real_publish = nights.steps.publish
    if step == "publish":  # it fails before it writes anything

        def refuse(*_: object) -> None:
            nights.steps.publish = real_publish
            raise damage

        nights.steps.publish = refuse
    else:
        nights.steps.raising[step] = damage
    night, message = failed(nights)
    assert f"{step}: shards/000003-1.tar is damaged" in message
    assert nights.steps.calls[-1] == "mend refined" and released(nights) == []
    assert night.record(1).outcome == "failed"
    nights.run()
    assert released(nights) == ["2026-11-29"]


def test_without_mending_the_command_for_it_is_named(nights) -> None:
    nights.settings = NightSettings(mend=False)
    nights.steps.raising["validate"] = DamagedShardError("shard 3 is damaged")
    _, message = failed(nights)
    location = nights.steps.refined.location
    assert f"jobs/repair.py --input {location} --apply (mend is off)" in message


def test_what_a_repair_could_not_mend_is_said(nights) -> None:
    nights.steps.raising |= {"validate": DamagedShardError("shard 3"), "mend refined": OSError("x")}
    _, message = failed(nights)
    assert f"repair of {nights.steps.refined.location}: x" in message


def test_a_first_night_without_any_dataset_says_so(tmp_path, nights) -> None:
    nights.steps.refined = Dataset(open_store(tmp_path / "nothing"), nights.steps.refined.card)
    nights.steps.raising["ingest"] = OSError("no such folder: /renders")
    nights.steps.refine = lambda: None
    night, message = failed(nights)
    assert "ingest: no such folder: /renders" in message
    assert night.record(1).outcome == "failed" and night.record(1).latest is None


def test_a_value_that_cannot_be_used_ends_the_night_at_once(nights) -> None:
    nights.steps.raising["ingest"] = OptionError("--target-gaze x cannot be used")
    with pytest.raises(OptionError):
        nights.run()
    assert nights.steps.calls == ["ingest"]


# --- killed, and run again ----------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for SIGKILL: nothing answers it."""


@pytest.mark.parametrize("step", ["ingest", "refine", "validate", "publish"])
@pytest.mark.parametrize("drop_failed", [False, True], ids=["whole", "filtered"])
def test_a_night_that_was_killed_after_a_step_is_gone_on_with(nights, step, drop_failed) -> None:
    nights.steps.drop_failed = drop_failed
    nights.steps.raising[step] = KilledError()
    with pytest.raises(KilledError):
        nights.run()
    nights.num -= 1
    nights.run()
    assert latest_of(nights).name == "2026-11-28" and len(latest_of(nights)) == 20
    assert nights.steps.calls.count("validate") == (2 if step == "validate" else 1)


@pytest.mark.parametrize("drop_failed", [False, True], ids=["whole", "filtered"])
@pytest.mark.parametrize("name", ["intent.json", "manifest.json", LATEST_NAME])
def test_a_night_that_was_killed_in_publish_is_finished(nights, monkeypatch, name, drop_failed):
    nights.steps.drop_failed = drop_failed

    def kill(moment: str, put: str) -> None:
        if moment == ("before" if name == LATEST_NAME else "after") and put.endswith(name):
            raise KilledError

    whole = Dataset.open
    monkeypatch.setattr(Dataset, "open", lambda place: fakes.hooked(whole(place), kill))
    monkeypatch.setattr(Dataset, "enter", _entering(kill))
    with pytest.raises(KilledError):
        nights.run()
    monkeypatch.undo()
    nights.run()
    assert latest_of(nights).name == "2026-11-28", "the day on which it was begun"
    assert nights.steps.calls.count("validate") == 1
    assert broken_releases(nights.steps.refined) == []


def _entering(kill):
    enter = Dataset.enter

    def hooked(place, card):
        return fakes.hooked(enter(place, card), kill)

    return hooked


def test_a_release_that_was_begun_and_cannot_be_finished_is_given_up(nights, monkeypatch) -> None:
    def kill(moment: str, put: str) -> None:
        if moment == "after" and put.endswith("intent.json"):
            raise KilledError

    whole = Dataset.open
    monkeypatch.setattr(Dataset, "open", lambda place: fakes.hooked(whole(place), kill))
    with pytest.raises(KilledError):
        nights.run()
    monkeypatch.undo()
    not_yet(nights, 2)  # as a repair does
    nights.steps.spoilt = {2}
    nights.run()
    assert is_dropped(nights.steps.refined, "2026-11-28") and released(nights) == ["2026-11-29"]


# --- telling ------------------------------------------------------------------------------------


def told(nights: Nights, hook: Hook, expected: type[BaseException] | None) -> NightRecord:
    """Run the next night, and give the record that it keeps."""
    nights.settings = NightSettings(**{**nights.settings.model_dump(), "webhook": hook.url})
    kept: dict[str, bytes] = {}
    if expected is None:
        run_night(nights.next(), kept.__setitem__)
    else:
        with pytest.raises(expected):
            run_night(nights.next(), kept.__setitem__)
    return NightRecord.from_json(kept["night.json"], where="night.json")


def test_a_missed_gate_is_told_with_its_shard(nights, caplog) -> None:
    plant(nights, once=False)
    with Hook() as hook, caplog.at_level(logging.DEBUG):
        record = told(nights, hook, GateFailedError)
    (body,) = hook.bodies
    assert body["text"] == record.text and "000004" in body["text"]
    assert (body["outcome"], body["exit_code"], body["withheld"]) == ("gate missed", 3, [4])
    assert body["latest"] == "2026-11-28" and body["release"] is None
    assert body["report"].endswith("report.html")
    assert "s3cr3t" not in caplog.text and "the webhook at 127.0.0.1 was told" in caplog.text


def test_a_failed_night_is_told_and_a_good_one_is_not(nights) -> None:
    with Hook() as hook:
        nights.steps.raising["ingest"] = ValueError(ROTTEN)
        assert told(nights, hook, NightFailedError).exit_code == 1
        assert told(nights, hook, None).exit_code == 0
    (body,) = hook.bodies
    assert body["release"] == "2026-11-28" and "9.zip" in body["failures"][0]


@pytest.mark.parametrize(
    ("error", "code", "num"),
    [
        (StopRequest(signal.SIGTERM), 128 + signal.SIGTERM, 1),
        (KeyboardInterrupt(), 128 + signal.SIGINT, 0),
        (OptionError("--gate x cannot be used"), 2, 1),
        (ZeroDivisionError("a bug"), 1, 1),
    ],
    ids=["signal", "Ctrl-C", "option", "bug"],
)
def test_a_night_that_is_stopped_is_told_unless_a_person_did_it(nights, error, code, num) -> None:
    nights.steps.raising["refine"] = error
    with Hook() as hook:
        record = told(nights, hook, type(error))
    assert len(hook.bodies) == num and record.exit_code == code
    if num:
        assert record.failures[0].startswith("refine: ")


def test_a_webhook_that_does_not_work_changes_nothing(nights, caplog, monkeypatch) -> None:
    monkeypatch.setattr("cluster.job.night.telling.PAUSES_S", (0.0, 0.0))
    plant(nights, once=False)
    with Hook(503, 500, 502) as hook:
        assert told(nights, hook, GateFailedError).exit_code == 3
    assert len(hook.bodies) == 3 and "could not be told: HTTP 502" in caplog.text
    assert "s3cr3t" not in caplog.text


# --- overdue ------------------------------------------------------------------------------------


def test_a_recent_release_is_not_overdue(nights) -> None:
    nights.run()
    words = require_recent(nights.steps.refined.location, 26, None)
    assert words == "the release 2026-11-28 was published 0.0 h ago"
    nights.run()
    words = require_recent(nights.steps.refined.location, 26, None)
    assert words.endswith("published 0.0 h ago, and found to be the newest 0.0 h ago")


def test_an_old_release_is_overdue_and_told(nights) -> None:
    nights.run()
    store = nights.steps.refined.store
    old = read_latest(store).model_copy(update={"published": FIRST.isoformat()})
    store.put(LATEST_NAME, old.to_json())
    later = FIRST.replace(day=29, hour=5, minute=0)
    with Hook() as hook:
        webhook = NightSettings(webhook=hook.url).webhook
        with pytest.raises(OverdueError, match=r"published 26\.5 h ago; at most 26 h were expect"):
            require_recent(nights.steps.refined.location, 26, webhook, later)
        require_recent(nights.steps.refined.location, 27, webhook, later)
    store.put("releases/nothing-newer.json", NothingNewer(at=later.isoformat()).to_json())
    assert require_recent(nights.steps.refined.location, 26, None, later)
    (body,) = hook.bodies
    assert (body["outcome"], body["latest"], body["exit_code"]) == ("overdue", "2026-11-28", 1)
    assert "the latest release is overdue" in body["text"]


def test_a_dataset_that_has_no_release_is_overdue(nights) -> None:
    releases.put_report(nights.steps.refined)
    with pytest.raises(OverdueError, match="has no latest release"):
        require_recent(nights.steps.refined.location, 26, None)
