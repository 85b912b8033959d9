"""Who is told how a night went: its record, its webhook, what is said of one that is missing."""

import logging
import signal
from socketserver import BaseRequestHandler, TCPServer
from threading import Event, Thread

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
from cluster.job.night.webhook import call_webhook
from cluster.job.signals import StopRequest
from factory.release.latest import LATEST_NAME, read_latest
from schemas.night import NightRecord
from schemas.options import OptionError
from schemas.release import NothingNewer
from support import releases
from support.nights import FIRST, ROTTEN, Hook, Nights

pytestmark = pytest.mark.slow


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
    nights.plant(once=False)
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
    nights.plant(once=False)
    with Hook(503, 500, 502) as hook:
        assert told(nights, hook, GateFailedError).exit_code == 3
    assert len(hook.bodies) == 3 and "could not be told: HTTP 502" in caplog.text
    assert "s3cr3t" not in caplog.text


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


def test_a_server_that_never_ends_its_answer_is_given_up(nights, caplog, monkeypatch) -> None:
    monkeypatch.setattr("cluster.job.night.webhook.LIMIT_S", 0.5)
    given_up = Event()

    class Dribble(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(100):  # each byte comes well within the limit
                if given_up.wait(0.1):
                    return
                self.request.sendall(b".")
            self.request.sendall(b"\r\nContent-Length: 0\r\n\r\n")

    with TCPServer(("127.0.0.1", 0), Dribble) as server:
        serving = Thread(target=server.handle_request)
        serving.start()
        url = SecretStr(f"http://127.0.0.1:{server.server_address[1]}/s3cr3t")
        assert not call_webhook(url, nights.run().record(0), pauses_s=())
        given_up.set()
        serving.join()
    assert "the webhook at 127.0.0.1 could not be told: timed out" in caplog.text


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
