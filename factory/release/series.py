"""The releases that nights make of one dataset: named by their date, finished, begun, or too old.

Where failed samples are left out, each release is in a filtered dataset of its own, because such a
dataset is filtered by one report. It lies at the place of all of them, and ends in the release's
name: `refined-kept-2026-11-30`.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from factory.dataset.children import registered_children
from factory.dataset.dataset import CARD, Dataset
from factory.release.latest import dataset_of, is_gone, latest_or_none
from factory.release.pins import read_intent
from factory.release.publish import NotReleasableError, read_report
from factory.release.state import MANIFEST, is_dropped, read_manifest, release_names
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.release import NewReleaseName
from schemas.report import Report

log = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(.+)\.([2-9]|[1-9]\d+)")


@dataclass(frozen=True)
class DatedNames:
    """Names that follow from the day: `2026-11-30`, and `2026-11-30.2` for a second release."""

    pattern: str
    """as `strftime` takes it, with year, month and day"""

    def __post_init__(self) -> None:
        """Raises `ValueError` where names do not tell days, or are none of releases."""
        for day in (date(2026, 11, 3), date(2031, 2, 28)):
            name = day.strftime(self.pattern)
            try:
                TypeAdapter(NewReleaseName).validate_python(name)
            except ValidationError as error:
                raise ValueError(
                    f"{self.pattern!r} gives names such as {name!r}, which are none of releases: "
                    "they have letters, digits, dots and dashes"
                ) from error
            if self.day_of(name) != day:
                raise ValueError(
                    f"{self.pattern!r} gives names such as {name!r}, which do not tell the day; it "
                    "has to have %Y, %m and %d, and not to end in a dot and a number"
                )

    def day_of(self, name: str) -> date | None:
        """The day of a release; None for a name that was not made by this pattern."""
        numbered = _NUMBERED.fullmatch(name)
        for text in (name, *([numbered[1]] if numbered is not None else [])):
            try:
                day = datetime.strptime(text, self.pattern).date()
            except ValueError:
                continue
            if day.strftime(self.pattern) == text:
                return day
        return None

    def of(self, day: date) -> Iterator[str]:
        """The names for the releases of one day, the first one without a number."""
        name, number = day.strftime(self.pattern), 1
        while True:
            yield name if number == 1 else f"{name}.{number}"
            number += 1


class DatedRelease(NamedTuple):
    """A release of a series."""

    name: str
    within: Dataset
    """that has the release: the series' own, or a filtered child of it"""
    report_id: str
    """of the report that it was made by; ids sort by time"""


@dataclass(frozen=True)
class Series:
    """The releases of a refined dataset."""

    dataset: Dataset
    names: DatedNames
    kept: str | None
    """where filtered datasets go, without the name of the release; None where releases are whole"""
    _known: dict[tuple[str, str], DatedRelease | FormatError] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """what each manifest said when it was first read, by location and name: the series of a night
    reads each of them once"""

    def place_of(self, name: str) -> str | None:
        """Where the filtered dataset of a release goes; None where releases are whole."""
        return None if self.kept is None else f"{self.kept}-{name}"

    def _filtered(self) -> Iterator[Dataset]:
        """The registered filtered children that can be reached."""
        for location in registered_children(self.dataset):
            try:
                child = Dataset.open(location)
            except (OSError, FormatError) as error:
                log.warning("the child %s cannot be looked at: %s", location, error)
                continue
            parent = child.card.parent
            is_ours = parent is not None and parent.card == self.dataset.card.digest()
            # A copy of a dataset has the same card, and knows the children of the original.
            is_ours &= parent is not None and parent.location == self.dataset.location
            if child.card.kept is not None and is_ours:
                yield child

    def finished(self) -> list[DatedRelease]:
        """All finished releases, those that people named too, the oldest report first; without
        those whose manifest cannot be read, which `unreadable` names."""
        releases = [of for of in self._finished() if isinstance(of, DatedRelease)]
        return sorted(releases, key=lambda release: (release.report_id, _order(release.name)))

    def unreadable(self) -> list[str]:
        """A line for each manifest and each intent that cannot be read. One of them must not keep
        all later nights from a release, and keeps its own tars (`factory.release.pins`)."""
        return [
            str(of) for of in (*self._finished(), *self._begun()) if isinstance(of, FormatError)
        ]

    def _finished(self) -> Iterator[DatedRelease | FormatError]:
        for within in (self.dataset, *self._filtered()):
            for name in release_names(within):
                yield self._by_manifest(within, name)

    def _by_manifest(self, within: Dataset, name: str) -> DatedRelease | FormatError:
        key = within.location, name
        if key not in self._known:
            try:
                of = read_manifest(within, name)
            except FormatError as error:
                self._known[key] = error
            else:
                self._known[key] = DatedRelease(of.release, within, of.report_id)
        return self._known[key]

    def begun(self) -> DatedRelease | None:
        """The release of the series that was begun last and not finished, if any; without those
        whose intent cannot be read, which `unreadable` names."""
        releases = [of for of in self._begun() if isinstance(of, DatedRelease)]
        return max(releases, key=lambda release: release.report_id, default=None)

    def _begun(self) -> Iterator[DatedRelease | FormatError]:
        return self._begun_whole() if self.kept is None else self._begun_filtered()

    def _begun_whole(self) -> Iterator[DatedRelease | FormatError]:
        for name in self.dataset.store.folders("releases"):
            if self.names.day_of(name) is None or self._has_manifest(self.dataset, name):
                continue
            try:
                intent = read_intent(self.dataset, name)
            except FileNotFoundError:
                continue
            except FormatError as error:
                yield error
            else:
                yield DatedRelease(name, self.dataset, intent.report_id)

    def _begun_filtered(self) -> Iterator[DatedRelease]:
        for child in self._filtered():
            name = self.name_at(child)
            if name is not None and not self._has_manifest(child, name):
                assert child.card.kept is not None
                yield DatedRelease(name, child, child.card.kept.report)

    def name_at(self, child: Dataset) -> str | None:
        """The name of the release that a filtered child was made for; None if for none of ours."""
        name = child.location.removeprefix(f"{self.kept}-")
        return name if name != child.location and self.names.day_of(name) is not None else None

    def _has_manifest(self, dataset: Dataset, name: str) -> bool:
        """Whether a release is finished, or was dropped."""
        return dataset.store.size(f"releases/{name}/{MANIFEST}") is not None

    def free_name(self, day: date) -> str:
        """The first name of a day that no release has, nor one that was begun or dropped."""
        taken = {
            name
            for within in (self.dataset, *self._filtered())
            for name in within.store.folders("releases")
        }
        return next(
            name for name in self.names.of(day) if name not in taken and not self._is_there(name)
        )

    def _is_there(self, name: str) -> bool:
        location = self.place_of(name)
        return location is not None and open_store(location).size(CARD) is not None

    def released_shards(self) -> Mapping[int, str] | None:
        """sha256 of the tar of each shard that the newest release was made by; None where there is
        no release, or its report is gone or cannot be read."""
        finished = self.finished()
        return self._shards_of(finished[-1].report_id) if finished else None

    def shards_of_latest(self) -> Mapping[int, str] | None:
        """The same, of the release that `latest` names. It is not the newest by its report where it
        was set back, or where a clock was wrong.
        """
        try:
            latest = latest_or_none(self.dataset.store)
            if latest is None or is_gone(latest, self.dataset):
                return None
            of = self._by_manifest(dataset_of(latest, self.dataset.location), latest.release)
            if isinstance(of, FormatError):
                raise of
        except FormatError as error:
            log.warning("it is not known what the latest release holds: %s", error)
            return None
        return self._shards_of(of.report_id)

    def _shards_of(self, report_id: str) -> Mapping[int, str] | None:
        report = self._report(report_id)
        return None if report is None else {of.shard: of.tar_sha256 for of in report.shards}

    def _report(self, report_id: str) -> Report | None:
        """A report; None where it is gone or cannot be read."""
        try:
            return read_report(self.dataset, report_id)[0]
        except (NotReleasableError, FormatError) as error:
            log.warning("what report %s validated is not known: %s", report_id, error)
            return None

    def passed_like(self, report: Report) -> Set[tuple[int, str]]:
        """(number, sha256 of the tar) of the shards of all releases that passed the gate of a
        report, beside the same real images; nothing where the newest release did not."""
        passed: set[tuple[int, str]] = set()
        for release in reversed(self.finished()):
            earlier = self._report(release.report_id)
            if earlier is None:
                continue
            if earlier.gate == report.gate and earlier.real.digest() == report.real.digest():
                passed |= {(of.shard, of.tar_sha256) for of in earlier.shards}
            elif not passed:
                break
        return passed

    def outdated(
        self, today: date, *, keep_releases: int | None, keep_days: int | None
    ) -> list[DatedRelease]:
        """The releases of the series that neither rule keeps, the oldest first. Releases that
        people named do not count, and are never too old.

        Args:
            keep_releases: so many of the newest are kept; None for a rule on days alone.
            keep_days: those of the last so many days are kept; None for a rule on numbers alone.
                Without any rule all are kept.
        """
        if keep_releases is None and keep_days is None:
            return []
        dated = [of for of in self.finished() if self.names.day_of(of.name) is not None]
        old = dated[: max(0, len(dated) - (keep_releases or 0))]
        return [of for of in old if keep_days is None or self._age_days(of, today) >= keep_days]

    def _age_days(self, release: DatedRelease, today: date) -> int:
        day = self.names.day_of(release.name)
        assert day is not None
        return (today - day).days

    def given_up(self) -> Sequence[Dataset]:
        """The filtered datasets of the series whose release expired."""
        named = ((child, self.name_at(child)) for child in self._filtered())
        return [child for child, name in named if name is not None and is_dropped(child, name)]


def _order(name: str) -> tuple[str, int]:
    """A sort key by which `2026-11-30.10` comes after `2026-11-30.9`."""
    numbered = _NUMBERED.fullmatch(name)
    return (name, 1) if numbered is None else (numbered[1], int(numbered[2]))
