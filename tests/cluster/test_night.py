"""A night with fakes for its jobs: what it releases, what it says, and how the next one goes on."""

import logging
from pathlib import Path

import pytest

from cluster.job.night.settings import NightSettings
from factory import publish
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import ShardsFailedError
from factory.dataset.tar import DamagedShardError
from factory.release.latest import LATEST_NAME
from factory.release.state import broken_releases, is_dropped, read_manifest, release_names
from factory.store.open import open_store
from factory.validation.withheld import take_back, withheld_shards
from schemas.options import OptionError
from support import fakes, misbehaving
from support.nights import ROTTEN, Nights

pytestmark = pytest.mark.slow


def released(nights: Nights) -> list[str]:
    return release_names(nights.steps.refined)


def shards_of(nights: Nights, name: str) -> list[int]:
    return [of.shard for of in read_manifest(nights.steps.refined, name).shards]


def releases_of(nights: Nights) -> dict[str, bytes]:
    return fakes.files_below(Path(nights.steps.refined.location), "releases")


# --- good nights --------------------------------------------------------------------------------


def test_a_night_ends_in_a_release_under_its_date(nights) -> None:
    night = nights.run()
    assert nights.steps.calls == ["ingest", "refine", "validate", "publish"]
    assert released(nights) == ["2026-11-28"]
    assert nights.latest.name == "2026-11-28" and len(nights.latest) == 20
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
    assert nights.latest.name == "2026-11-28.2"


def test_failed_samples_are_left_out_where_the_settings_say_so(nights) -> None:
    nights.steps.drop_failed = True
    night = nights.run()
    kept = f"{nights.steps.refined.location}-kept-2026-11-28"
    assert nights.latest.location == f"{kept}/releases/2026-11-28"
    assert night.record(0).released_in == kept and released(nights) == []
    nights.run()
    assert nights.steps.calls.count("publish") == 1, "there was nothing new"
    nights.steps.arrived.add(4)
    nights.settings = NightSettings(keep_releases=1)
    assert nights.run().record(0).expired == ("2026-11-28",)
    assert nights.latest.name == "2026-11-30" and len(nights.latest) == 24
    assert Dataset.open(kept).committed() == []


def test_old_releases_expire_by_the_settings_and_those_of_people_do_not(nights) -> None:
    nights.run()
    publish(nights.steps.refined, "paper-v1", report=nights.latest.manifest.report_id)
    nights.settings = NightSettings(keep_releases=1)
    nights.steps.arrived.add(4)
    nights.run()
    assert released(nights) == ["2026-11-29", "paper-v1"]
    assert nights.latest.name == "2026-11-29"


def test_a_pointer_that_was_set_back_stays_so_until_there_is_news(nights) -> None:
    nights.run()
    nights.steps.arrived.add(4)
    nights.run()
    first = read_manifest(nights.steps.refined, "2026-11-28").report_id
    nights.steps.arrived.discard(4)
    publish(nights.steps.refined, "2026-11-28", report=first)
    nights.run()
    assert nights.latest.name == "2026-11-28"


# --- a bad shard --------------------------------------------------------------------------------


@pytest.mark.parametrize("once", [True, False], ids=["made badly once", "always bad"])
def test_a_bad_shard_stops_the_release_and_the_next_night_needs_no_help(nights, once) -> None:
    nights.plant(once=once)
    before = releases_of(nights)
    night, message = nights.missed()
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
        assert shards_of(nights, "2026-11-30") == [0, 1, 2, 3, 4] and nights.latest
        assert withheld_shards(nights.steps.refined) == {}
    else:  # the same bytes: they are not tried every night
        assert released(nights) == ["2026-11-28"]
        assert night.record(0).outcome == "nothing new" and night.record(0).withheld == (4,)
        assert nights.steps.validated == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_good_renders_beside_a_withheld_shard_are_released(nights) -> None:
    nights.steps.arrived = {0, 1, 2}
    not_yet(nights, 3)
    nights.plant(once=False)
    nights.missed()
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
    nights.plant(once=False)
    nights.steps.names_bad = False
    _, message = nights.missed()
    assert "bad shards: 000004; they are withheld" in message
    nights.run()
    (record,) = withheld_shards(nights.steps.refined).values()
    assert record.why == "new since the release 2026-11-28, which passed the same gate without it"


def test_a_first_night_that_names_no_shard_withholds_none(nights) -> None:
    nights.steps.bad, nights.steps.names_bad = {nights.steps.digest(1)}, False
    _, message = nights.missed()
    assert "no shard is named, so all of the report has to be looked at" in message
    nights.missed()  # nothing is better in the next night


def test_where_most_shards_are_bad_none_is_withheld(nights) -> None:
    nights.steps.bad = {nights.steps.digest(shard) for shard in (0, 1, 2)}
    night, message = nights.missed()
    assert "that is 3 of 4, more than the 2 that one night may withhold" in message
    assert night.record(3).withheld == () and nights.steps.refined.committed() == [0, 1, 2, 3]


def test_nothing_is_withheld_where_the_settings_say_so(nights) -> None:
    nights.settings = NightSettings(withhold=False)
    nights.plant(once=False)
    _, message = nights.missed()
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
    night, message = nights.failed()
    assert released(nights) == ["2026-11-28"] and nights.latest.name == "2026-11-28"
    assert "the release 2026-11-28 was made" in message and "/renders/9.zip" in message
    assert nights.steps.calls == ["ingest", "refine", "validate", "publish"], "nothing is mended"
    record = night.record(1)
    assert (record.outcome, record.exit_code) == ("released", 1)
    assert record.failures == (f"ingest: {' '.join(ROTTEN.split())}",)


def test_a_rotten_archive_alone_is_named_every_night(nights) -> None:
    nights.run()
    nights.steps.raising["ingest"] = ValueError(ROTTEN)
    night, message = nights.failed()
    assert "no release was made" in message and "9.zip" in message
    assert night.record(1).outcome == "nothing new"


def test_shards_that_cannot_be_refined_do_not_keep_the_others_from_a_release(nights) -> None:
    nights.steps.raising["refine"] = ShardsFailedError("1 of 2 shards were set aside: shard 4: x")
    _, message = nights.failed()
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
    night, message = nights.failed()
    assert f"{step}: shards/000003-1.tar is damaged" in message
    assert nights.steps.calls[-1] == "mend refined" and released(nights) == []
    assert night.record(1).outcome == "failed"
    nights.run()
    assert released(nights) == ["2026-11-29"]


def test_without_mending_the_command_for_it_is_named(nights) -> None:
    nights.settings = NightSettings(mend=False)
    nights.steps.raising["validate"] = DamagedShardError("shard 3 is damaged")
    _, message = nights.failed()
    location = nights.steps.refined.location
    assert f"jobs/repair.py --input {location} --apply (mend is off)" in message


def test_what_a_repair_could_not_mend_is_said(nights) -> None:
    nights.steps.raising |= {"validate": DamagedShardError("shard 3"), "mend refined": OSError("x")}
    _, message = nights.failed()
    assert f"repair of {nights.steps.refined.location}: x" in message


def test_a_first_night_without_any_dataset_says_so(tmp_path, nights) -> None:
    nights.steps.refined = Dataset(open_store(tmp_path / "nothing"), nights.steps.refined.card)
    nights.steps.raising["ingest"] = OSError("no such folder: /renders")
    nights.steps.refine = lambda: None
    night, message = nights.failed()
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
    assert nights.latest.name == "2026-11-28" and len(nights.latest) == 20
    assert nights.steps.calls.count("validate") == (2 if step == "validate" else 1)


@pytest.mark.parametrize("drop_failed", [False, True], ids=["whole", "filtered"])
@pytest.mark.parametrize("name", ["intent.json", "manifest.json", LATEST_NAME])
def test_a_night_that_was_killed_in_publish_is_finished(nights, monkeypatch, name, drop_failed):
    nights.steps.drop_failed = drop_failed

    def kill(moment: str, put: str) -> None:
        if moment == ("before" if name == LATEST_NAME else "after") and put.endswith(name):
            raise KilledError

    plain_open = Dataset.open
    monkeypatch.setattr(
        Dataset, "open", lambda location: misbehaving.hooked(plain_open(location), kill)
    )
    monkeypatch.setattr(Dataset, "enter", _entering(kill))
    with pytest.raises(KilledError):
        nights.run()
    monkeypatch.undo()
    nights.run()
    assert nights.latest.name == "2026-11-28", "the day on which it was begun"
    assert nights.steps.calls.count("validate") == 1
    assert broken_releases(nights.steps.refined) == []


def _entering(kill):
    enter = Dataset.enter

    def hooked(location, card):
        return misbehaving.hooked(enter(location, card), kill)

    return hooked


def test_a_release_that_was_begun_and_cannot_be_finished_is_given_up(nights, monkeypatch) -> None:
    def kill(moment: str, put: str) -> None:
        if moment == "after" and put.endswith("intent.json"):
            raise KilledError

    plain_open = Dataset.open
    monkeypatch.setattr(
        Dataset, "open", lambda location: misbehaving.hooked(plain_open(location), kill)
    )
    with pytest.raises(KilledError):
        nights.run()
    monkeypatch.undo()
    not_yet(nights, 2)  # as a repair does
    nights.steps.spoilt = {2}
    nights.run()
    assert is_dropped(nights.steps.refined, "2026-11-28") and released(nights) == ["2026-11-29"]
