"""The chain of one night: ingest, refine, validate, publish, expire.

Each step goes on with what is there, so one rotten archive, or one shard that could not be made,
does not keep the rest from a release. What failed is told at the end. A night that was killed is
gone on with by the next one, because all that it needs is in the datasets: what is committed, which
release was begun and by which report.
"""

import logging
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cluster.job.command import GateFailedError
from cluster.job.night.settings import NightSettings
from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.lost_tars import lost_tars
from factory.dataset.shard_tasks import ShardsFailedError
from factory.release.latest import is_gone, latest_or_none, note_nothing_newer
from factory.release.pins import drop_unfinished
from factory.release.run import make_latest
from factory.release.series import DatedNames, Series
from factory.store.open import open_store
from factory.upkeep.expire import expire_outdated
from factory.validation.verdicts import report_name
from factory.validation.withheld import (
    blamed_shards,
    misses_in_words,
    withdraw_withheld,
    withheld_shards,
    withhold,
)
from schemas.base import FormatError
from schemas.night import NightOutcome, NightRecord
from schemas.options import OptionError
from schemas.report import Report
from schemas.text import one_line

log = logging.getLogger(__name__)
TOLD = (OSError, ValueError, RuntimeError)
"""errors of a step that the night goes on after; others are bugs, and end it"""


class NightFailedError(RuntimeError):
    """Something failed in a night, whether or not it ended in a release."""


class Steps(Protocol):
    """The jobs of a night, with their options."""

    def ingest(self) -> None:
        """Ingest the renders that are new."""

    def refine(self) -> None:
        """Refine the shards that are missing."""

    def validate(self, leave_out: Sequence[int]) -> Report:
        """Validate with a gate, without some shards."""

    def publish(self, release: str, report_id: str, kept: str | None) -> None:
        """Publish a release by a report; in a filtered dataset at `kept`, if that is given."""

    def mend(self, location: str) -> None:
        """Verify a dataset, and make its damaged shards again."""


@dataclass(frozen=True)
class Places:
    """Where the datasets of a night are."""

    synthetic: str
    refined: str
    kept: str | None
    """where filtered datasets go, without the name of the release; None where releases are whole"""
    split: str | None = None
    """of the refined dataset, which alone is validated"""
    leave_out: tuple[int, ...] = ()
    """shards that the settings leave out"""


@dataclass
class Night:
    """One night. `run` is called once."""

    steps: Steps
    places: Places
    settings: NightSettings
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    outcome: NightOutcome = "failed"
    current: str = "ingest"
    """the step that the night is at"""
    release: str | None = None
    released_in: str | None = None
    report: str | None = None
    misses: list[str] = field(default_factory=list)
    withheld: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started, self._clock_s = self.now(), time.monotonic()

    def run(self) -> None:
        """Do all that the night has to do.

        Raises:
            GateFailedError: the gate was missed, so that there is no release.
            NightFailedError: something else failed. The rest was done all the same.
            OptionError: an option has a value that cannot be used.
        """
        with self._step("ingest"):
            self.steps.ingest()
        with self._step("refine"):
            self.steps.refine()
        try:
            dataset = Dataset.open(self.places.refined)
        except FileNotFoundError:
            log.info("nothing was refined, so there is nothing to release")
            self.outcome = "failed" if self.failures else "nothing new"
        else:
            with self._step("release"):
                self._release(Series(dataset, DatedNames(self.settings.name), self.places.kept))
        if self._is_anything_damaged():
            self._mend()
        if self.outcome == "gate missed":
            raise GateFailedError(self._told([*self.misses, *self.failures]))
        if self.failures:
            raise NightFailedError(self._told(self.failures))

    def _release(self, series: Series) -> None:
        """Release what is new, if the gate is kept, and give up what is too old."""
        self.failures += [f"release: {line}" for line in series.unreadable()]
        self._finish_begun(series)
        self._point_at_newest(series)
        dataset = series.dataset
        withdraw_withheld(dataset)
        left_out = self._left_out(dataset)
        shards = self._shards_without(dataset, left_out)
        releases = (series.released_shards(), series.shards_of_latest())
        if not shards or not all(_is_new(shards, left_out, released) for released in releases):
            log.info("nothing new to release: %d shards, %d left out", len(shards), len(left_out))
            note_nothing_newer(dataset)
            if self.release is None:
                self.outcome = "failed" if self.failures and not shards else "nothing new"
        else:
            self.current = "validate"
            report = self.steps.validate(left_out)
            page = report_name(report.id).replace(".json", ".html")
            self.report = f"{dataset.location}/{page}"
            if not report.passed:
                self._miss(series, report)
                return
            self._publish(series, series.free_name(self.now().date()), report.id)
        self.current = "expire"
        self.expired += expire_outdated(
            series,
            self.now().date(),
            keep_releases=self.settings.keep_releases,
            keep_days=self.settings.keep_days,
        )

    def _publish(self, series: Series, name: str, report_id: str) -> None:
        self.current = "publish"
        location = series.place_of(name)
        self.steps.publish(name, report_id, location)
        self.release, self.released_in = name, location or series.dataset.location
        self.outcome = "released"

    def _finish_begun(self, series: Series) -> None:
        """Finish the release that a night began, or give it up where its shards have changed."""
        begun = series.begun()
        if begun is None:
            return
        log.info("finishing the release %s, which an earlier night began", begun.name)
        try:
            self._publish(series, begun.name, begun.report_id)
        except (ValueError, ShardsFailedError) as error:
            log.warning("the release %s cannot be finished: %s", begun.name, error)
            drop_unfinished(begun.within, begun.name, "a night could not finish it")

    def _point_at_newest(self, series: Series) -> None:
        """Let `latest` name the newest release of a night, where that was killed before it did.

        A pointer that was set back on purpose is younger than the report of the newest release. A
        report from the future is of a night whose clock was wrong, and newer than nothing.
        """
        dated = [of for of in series.finished() if series.names.day_of(of.name) is not None]
        if not dated:
            return
        newest = dated[-1]
        try:
            latest = latest_or_none(series.dataset.store)
            is_lost = latest is None or is_gone(latest, series.dataset)
        except FormatError as error:
            log.warning("%s; it is written anew", error)
            latest, is_lost = None, True
        if latest is not None and not is_lost:
            published, now = (
                f"{at:%Y%m%dT%H%M%SZ}"
                for at in (datetime.fromisoformat(latest.published), self.now())
            )
            if newest.name == latest.release or not published < newest.report_id <= now:
                return
        make_latest(series.dataset, newest.name, newest.within)

    def _left_out(self, dataset: Dataset) -> list[int]:
        withheld = withheld_shards(dataset)
        self.withheld = list(withheld)
        for record in withheld.values():
            log.warning(
                "shard %06d is withheld since %s: %s; --take-back %d has it validated again",
                record.shard, record.since[:10], record.why, record.shard,
            )  # fmt: skip
        return sorted(
            withheld.keys() | set(self.places.leave_out).intersection(dataset.committed())
        )

    def _shards_without(self, dataset: Dataset, left_out: Collection[int]) -> dict[int, str]:
        """sha256 of the tars of the shards that would be validated, by number."""
        split, others = self.places.split, set(left_out)
        return {
            shard: facts.tar_sha256
            for shard, facts in known_facts(dataset, save=True).items()
            if shard not in others and split in (None, facts.split)
        }

    # --- a gate that is missed ------------------------------------------------------------------

    def _miss(self, series: Series, report: Report) -> None:
        """Say which limits were missed, and withhold the shards to blame from later releases."""
        self.outcome = "gate missed"
        self.misses = misses_in_words(report)
        blamed = blamed_shards(report) or self._new_shards(series, report)
        if not blamed:
            self.misses.append("no shard is named, so all of the report has to be looked at")
            return
        names = ", ".join(f"{shard:06d}" for shard in blamed)
        allowed = max(1, int(self.settings.max_withheld_share * len(report.shards)))
        # A report counts all bad shards of a limit, and names only the worst.
        num_bad = max(len(blamed), *(check.num_bad_shards for check in report.samples), 0)
        if not self.settings.withhold:
            self.misses.append(
                f"bad shards: {names}; they stay in all later validations (withhold is off)"
            )
        elif num_bad > allowed:
            more = f" and {num_bad - len(blamed)} more" if num_bad > len(blamed) else ""
            self.misses.append(
                f"bad shards: {names}{more}; that is {num_bad} of {len(report.shards)}, more than "
                f"the {allowed} that one night may withhold (max_withheld_share), so the refiner "
                "or the gate may be at fault, and nothing is withheld"
            )
        else:
            self.withheld += withhold(series.dataset, blamed, report)
            self.misses.append(
                f"bad shards: {names}; they are withheld: the next night makes them again, and "
                "releases the others without those that come out the same"
            )

    def _new_shards(self, series: Series, report: Report) -> Mapping[int, str]:
        """The shards that no release has which passed the same gate, if the newest one did.

        None where a limit was not measured: a network is missing, which is no fault of a shard.
        """
        is_blind = any(not of.passed and not of.num_measured for of in report.samples)
        if is_blind or any(not of.passed and of.value is None for of in report.checks):
            return {}
        passed = series.passed_like(report)
        new = [of.shard for of in report.shards if (of.shard, of.tar_sha256) not in passed]
        if len(new) == len(report.shards):
            return {}
        newest = series.finished()[-1].name
        why = f"new since the release {newest}, which passed the same gate without it"
        return {shard: why for shard in new}

    # --- failures -------------------------------------------------------------------------------

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Note what fails in a step, and go on."""
        log.info("night: %s", name)
        started, self.current = time.monotonic(), name
        try:
            yield
        except OptionError:
            raise
        except TOLD as error:
            self.failures.append(f"{self.current}: {error}")
            seconds = time.monotonic() - started
            log.error("night: %s failed after %.0f s: %s", self.current, seconds, error)
        else:
            log.info("night: %s took %.0f s", name, time.monotonic() - started)

    def _is_anything_damaged(self) -> bool:
        """Whether to look for damage: a step after ingest failed, or a tar is plainly lost."""
        if not self.failures:
            return False
        if any(not failure.startswith("ingest: ") for failure in self.failures):
            return True
        try:
            return any(lost_tars(dataset) for dataset in self._datasets())
        except FormatError:  # of a record
            return True

    def _datasets(self) -> Iterator[Dataset]:
        """The synthetic and the refined dataset, where they are there."""
        for location in (self.places.synthetic, self.places.refined):
            try:
                yield Dataset.open(location)
            except (OSError, FormatError) as error:
                log.warning("%s cannot be looked at: %s", location, error)

    def _mend(self) -> None:
        """Make damaged shards again, so that the next night finds them whole."""
        locations = [dataset.location for dataset in self._datasets()]
        if not self.settings.mend:
            commands = (f"jobs/repair.py --input {location} --apply" for location in locations)
            self.failures.append(f"look for damage with {' and '.join(commands)} (mend is off)")
            return
        for location in locations:
            step = f"repair of {location}"
            try:
                with self._step(step):
                    self.steps.mend(location)
            except OptionError as error:  # the night is done, and ends as it went
                self.failures.append(f"{step}: {error}")

    def _told(self, lines: Sequence[str]) -> str:
        """What went wrong, for the last message of the job."""
        made = f"the release {self.release} was made" if self.release else "no release was made"
        report = f"; the report is {self.report}" if self.misses else ""
        return f"{self.places.refined}: {made}{report}:\n  " + "\n  ".join(lines)

    def record(self, exit_code: int) -> NightRecord:
        """How the night went.

        Args:
            exit_code: of the job.
        """
        return NightRecord(
            outcome=self.outcome,
            exit_code=exit_code,
            location=self.places.refined,
            host=socket.gethostname(),
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._clock_s, 1),
            release=self.release,
            released_in=self.released_in,
            latest=latest_name(self.places.refined),
            report=self.report,
            misses=tuple(map(flat, self.misses)),
            withheld=tuple(sorted(self.withheld)),
            failures=tuple(map(flat, self.failures)),
            expired=tuple(self.expired),
        )


def _is_new(
    shards: Mapping[int, str], left_out: Collection[int], released: Mapping[int, str] | None
) -> bool:
    """Whether a release of some shards would be another one than the newest.

    A shard that is only missing, because it could not be made again yet, is no reason for one.
    """
    if released is None:
        return True
    is_withheld_since = any(shard in released for shard in left_out)
    return is_withheld_since or any(released.get(n) != digest for n, digest in shards.items())


def flat(text: str) -> str:
    """A message on one line, without characters that control a terminal."""
    return one_line(" ".join(text.split()))


def latest_name(location: str) -> str | None:
    """Name of the latest release of a dataset; None where there is none, or it is not known."""
    try:
        latest = latest_or_none(open_store(location))
    except (OSError, ValueError) as error:
        log.warning("the latest release of %s is not known: %s", location, error)
        return None
    return latest.release if latest is not None else None
