"""Nights whose jobs are fakes: what they do to a refined dataset, without renders and networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import orjson
import pytest

from cluster.job.command import GateFailedError
from cluster.job.night.chain import Night, NightFailedError, Places
from cluster.job.night.settings import NightSettings
from factory import publish
from factory.dataset.commit import put_record, withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.names import new_tar_name, tar_name
from factory.dataset.tar import sha256
from factory.reading.release import Release
from schemas.report import Report, SampleCheck, ShardCount, ValidatedShard
from support import releases
from support.planted import flipped
from support.report_example import example_sample_check

FIRST = datetime(2026, 11, 28, 2, 30, tzinfo=UTC)
"""when the first night begins"""
ROTTEN = "everything else is done, but:\n  /renders/9.zip: its list of files ends early"
"""what ingest says of a rotten archive"""


def check_of(*bad: ShardCount) -> SampleCheck:
    """A limit on samples that is missed, and names some shards."""
    check = example_sample_check(sum(of.num_missed for of in bad), bad)
    named = {"limit": "turn_deg > 5", "measure": "turn_deg", "why": "a test", "share": 0.2}
    return check.model_copy(update=named | {"passed": False})


@dataclass
class FakeSteps:
    """The jobs of nights. One that is told to raise does so at its end."""

    refined: Dataset
    drop_failed: bool = False
    arrived: set[int] = field(default_factory=lambda: {0, 1, 2, 3})
    """shards that refine makes; `refined` has them all as first generations"""
    spoilt: set[int] = field(default_factory=set)
    """shards that the next refine makes with other bytes"""
    bad: set[str] = field(default_factory=set)
    """sha256 of tars that a validation finds bad"""
    names_bad: bool = True
    """whether the report names the bad shards, or misses a limit on the whole"""
    raising: dict[str, BaseException] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    validated: list[list[int]] = field(default_factory=list)
    """the shards of each validation"""

    def __post_init__(self) -> None:
        for shard in self.refined.committed():
            if shard not in self.arrived:
                withdraw(self.refined, shard, 1, "it has not arrived yet")

    def digest(self, shard: int, *, spoilt: bool = False) -> str:
        """sha256 of a shard's tar, as refine makes it."""
        facts = self.refined.facts_in(shard, 1)
        return sha256(flipped(self._raw(shard), -1)) if spoilt else facts.tar_sha256

    def _raw(self, shard: int) -> bytes:
        return self.refined.store.read(tar_name(self.refined.facts_in(shard, 1)))

    def _end(self, step: str) -> None:
        self.calls.append(step)
        if step in self.raising:
            raise self.raising.pop(step)

    def ingest(self) -> None:
        self._end("ingest")

    def refine(self) -> None:
        for shard in sorted(self.arrived - set(self.refined.committed())):
            rows, first = self.refined.index_and_facts_in(shard, 1)
            raw = flipped(self._raw(shard), -1) if shard in self.spoilt else self._raw(shard)
            facts = first.model_copy(
                update={
                    "generation": self.refined.generation(shard) + 1,
                    "tar_sha256": sha256(raw),
                }
            )
            name = new_tar_name(facts, "0" * 8)
            self.refined.store.put(name, raw)
            assert put_record(self.refined, rows, facts.model_copy(update={"tar": name}))
        self.spoilt.clear()
        self._end("refine")

    def validate(self, leave_out: Sequence[int]) -> Report:
        shards = [n for n in self.refined.committed() if n not in set(leave_out)]
        self.validated.append(shards)
        facts = [self.refined.facts(shard) for shard in shards]
        bad = [
            ShardCount(shard=of.shard, num_missed=5, num_samples=5)
            for of in facts
            if of.tar_sha256 in self.bad
        ]
        at = FIRST + timedelta(days=len(self.validated) - 1, minutes=30)
        given: dict[str, Any] = {
            "id": f"{at:%Y%m%dT%H%M%SZ}-{len(self.validated):06x}",
            "shards": tuple(
                ValidatedShard(shard=of.shard, tar_sha256=of.tar_sha256, num_samples=of.num_samples)
                for of in facts
            ),
        }
        if bad:
            samples = (check_of(*(bad if self.names_bad else ())),)
            given |= {"passed": False, "samples": samples}
        if self.drop_failed:
            releases.put_verdicts(self.refined, {}, given["id"])
        releases.put_report(self.refined, **given)
        self._end("validate")
        return releases.report_on(self.refined, **given)

    def publish(self, release: str, report_id: str, kept: str | None) -> None:
        publish(self.refined, release, report=report_id, drop_failed=kept is not None, kept=kept)
        self._end("publish")

    def mend(self, location: str) -> None:
        self._end(f"mend {Path(location).name}")


@dataclass
class Nights:
    """One night after the other, on one dataset."""

    steps: FakeSteps
    settings: NightSettings = field(default_factory=NightSettings)
    num: int = 0

    def next(self, **changes: Any) -> Night:
        """The night of the next day."""
        at = FIRST + timedelta(days=self.num)
        self.num += 1
        refined = self.steps.refined.location
        kept = f"{refined}-kept" if self.steps.drop_failed else None
        places = Places(synthetic=f"{refined}-none", refined=refined, kept=kept, **changes)
        return Night(self.steps, places, self.settings, now=lambda: at)

    def run(self, **changes: Any) -> Night:
        """Run it to its good end."""
        night = self.next(**changes)
        night.run()
        return night

    def missed(self) -> tuple[Night, str]:
        """Run the next one, which misses its gate; gives what it says too."""
        return self._ended(GateFailedError)

    def failed(self) -> tuple[Night, str]:
        """Run the next one, which fails; gives what it says too."""
        return self._ended(NightFailedError)

    def _ended(self, error: type[Exception]) -> tuple[Night, str]:
        night = self.next()
        with pytest.raises(error) as raised:
            night.run()
        return night, str(raised.value)

    @property
    def latest(self) -> Release:
        """The latest release of the refined dataset."""
        return Release(f"{self.steps.refined.location}/releases/latest")

    def plant(self, *, once: bool) -> None:
        """Run a good night, and put a bad shard into the renders of the next.

        Args:
            once: it is whole when it is made again.
        """
        self.run()
        self.steps.arrived.add(4)
        self.steps.spoilt = {4} if once else set()
        self.steps.bad = {self.steps.digest(4, spoilt=once)}


class Hook(ThreadingHTTPServer):
    """A local server that keeps what it is sent, and answers with given codes."""

    def __init__(self, *codes: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes, self.bodies = list(codes), []
        self.thread = Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/s3cr3t"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.bodies.append(orjson.loads(body))
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
