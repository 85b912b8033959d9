"""A dataset of the catalogue while the page is served: its tables, reports and releases, each read
once and again when it has changed."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import Field

from factory.browse.measured import MOST_VERDICTS, JoinedTable, Measurements
from factory.browse.pictures import Pictures
from factory.browse.places import Item, Places
from factory.browse.query import Answers
from factory.browse.table import DatasetTable, ReleaseTable, SampleTable
from factory.dataset.children import registered_children
from factory.dataset.dataset import Dataset
from factory.dataset.lineage import lineage_of, open_parent
from factory.domains.registry import domain_of
from factory.release.latest import dataset_of, latest_or_none
from factory.release.publish import NotReleasableError, read_report
from factory.release.state import read_manifest, release_names
from factory.validation.gate import misses_of
from factory.validation.verdicts import has_verdicts, report_name
from schemas.base import FormatError, Model
from schemas.labels import LabelGuide
from schemas.measures import MeasureGuide
from schemas.report import Report

FRESH_S = 2.0
"""seconds for which listings of a dataset hold"""
MOST_TABLES = 8
"""tables of a dataset and its releases that are remembered"""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_T = TypeVar("_T")


class Relative(Model):
    """A dataset that another one was made from, or that was made from it."""

    location: str
    name: str | None
    """of the catalogue, for a link; None where it is not in it"""
    title: str
    """its card's name, or its location"""
    kind: str | None = None
    note: str = ""
    """what is wrong with it, or what made it"""


class ReportLine(Model):
    """A report in a list of reports."""

    id: str
    created: str = ""
    passed: bool | None = None
    num_samples: int = 0
    missed: tuple[str, ...] = ()
    """measures that missed their limit"""
    words: str = ""
    """what it says of the refiner"""
    unreadable: str = ""
    """why it cannot be read; empty where it can"""


class ReleaseLine(Model):
    """A release in a list of releases."""

    name: str
    num_samples: int = 0
    num_shards: int = 0
    splits: dict[str, int] = Field(default_factory=dict)
    report_id: str = ""
    unreadable: str = ""


class Latest(Model):
    """The release that readers should take, as a dataset's pointer says."""

    release: str
    location: str | None
    """of the filtered dataset that has the release; None where the dataset itself has it"""
    name: str | None
    """of that dataset in the catalogue, for a link; None where it is not in it"""
    unreadable: str = ""
    """why the pointer cannot be read; empty where it can"""


class Damage(NamedTuple):
    """An index that cannot be read, so that its samples are left out."""

    location: str
    """of its dataset"""
    why: str
    """with the place of the file"""


class Joined:
    """A table that is shown, what answers queries on it, and where its pictures are."""

    def __init__(self, table: JoinedTable, pictures: Pictures, origin: Pictures | None):
        self.table, self.answers = table, Answers(table)
        self.pictures, self.origin = pictures, origin


class OpenedDataset:
    """One dataset. Threads may share it."""

    def __init__(self, item: Item):
        """
        Raises:
            FileNotFoundError: there is no dataset any more.
            FormatError: this version cannot read its card, or does not know its domain.
        """
        self.item = item
        self.dataset = Dataset.open(item.location)
        self.card = self.dataset.card
        domain = domain_of(self.dataset)
        self.guide: LabelGuide = domain.label_guide()
        self.measures: MeasureGuide = domain.measure_guide()
        self._lock = threading.RLock()
        self._fresh: dict[str, tuple[Any, float]] = {}
        """what was read, and until when it holds by the monotonic clock"""
        self._tables: OrderedDict[tuple[Any, ...], Joined] = OrderedDict()
        self._reports: dict[str, Report] = {}

    def is_another_now(self) -> bool:
        """Whether another dataset lies at its location by now, seen after a few seconds.

        Raises:
            FileNotFoundError: there is none any more.
            FormatError: its card cannot be read.
        """
        opened = self._for_a_while("card", lambda: Dataset.open(self.item.location))
        return opened.card != self.card

    def own_table(self) -> DatasetTable:
        """The committed shards as they are now, up to a few seconds."""
        return self._for_a_while("table", lambda: DatasetTable.of(self.dataset))

    def damage(self) -> list[Damage]:
        """The damaged indexes of this dataset, and of what its samples were refined from."""
        tables = (self.own_table(), self._for_a_while("origin", self._origin))
        return [
            Damage(table.dataset.location, why)
            for table in tables
            if table is not None
            for why in table.damaged
        ]

    def joined(self, release: str | None) -> Joined:
        """The samples of the dataset, or of one of its releases.

        Raises:
            FileNotFoundError: there is no such release.
            FormatError: an index or a manifest cannot be read.
        """
        with self._lock:
            table: SampleTable = (
                self.own_table()
                if release is None
                else ReleaseTable(self.dataset, self.manifest(release))
            )
            measurements, problem = self._for_a_while("measurements", self._measurements)
            report = self._judging_report(table)
            measured = None if measurements is None else measurements.version
            key = release, table.version, measured, problem, report
            if key not in self._tables:
                joined = JoinedTable(
                    table, self.guide.notes, measurements, self.measures, report, problem
                )
                origin = self._for_a_while("origin", self._origin)
                far = self._full_scale()
                self._tables[key] = Joined(
                    joined, Pictures(table, far), None if origin is None else Pictures(origin, far)
                )
                while len(self._tables) > MOST_TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(key)
            return self._tables[key]

    def manifest(self, release: str) -> Any:
        """The manifest of a release, which never changes while it exists.

        Raises:
            FileNotFoundError: there is no such release.
            FormatError: the manifest cannot be read.
        """
        if re.fullmatch(_NAME, release) is None:
            raise FileNotFoundError(f"{self.item.shown} has no release {release!r}")
        return self._for_a_while(f"release {release}", lambda: read_manifest(self.dataset, release))

    def _measurements(self) -> tuple[Measurements | None, str]:
        """Those of this dataset; of a filtered one, those of the dataset that it was filtered
        from. Beside them, why they cannot be read; empty where they can."""
        if self.card.kind != "refined":
            return None, ""
        measured = self.dataset if self.card.kept is None else _parent_of(self.dataset)
        try:
            return None if measured is None else Measurements.newest(measured), ""
        except (OSError, FormatError) as error:
            return None, f"The measures cannot be read, so they are missing here: {error}."

    def _judging_report(self, table: SampleTable) -> str | None:
        if table.num_samples > MOST_VERDICTS:
            return None
        readable = [line for line in self.reports() if not line.unreadable]
        judged = (line.id for line in readable if has_verdicts(self.dataset, line.id))
        return next(judged, None)

    def _origin(self) -> DatasetTable | None:
        """What refined samples were refined from; None for others, or where it is out of reach."""
        dataset: Dataset | None = self.dataset
        while dataset is not None and dataset.card.kept is not None:
            dataset = _parent_of(dataset)
        parent = None if dataset is None else _parent_of(dataset)
        return None if parent is None else DatasetTable.of(parent)

    def _full_scale(self) -> float | None:
        """The largest value of a pixel, by the card of the dataset or of the nearest ancestor that
        says it, so that depth is shown on one scale; None where none of them does."""
        dataset: Dataset | None = self.dataset
        while dataset is not None:
            try:
                return dataset.sample_kind.full_scale(dataset.card)
            except FormatError:
                dataset = _parent_of(dataset)
        return None

    def reports(self) -> list[ReportLine]:
        """All reports, the newest first."""
        return self._for_a_while("reports", self._report_lines)

    def report(self, report_id: str) -> Report:
        """One report. Raises `FormatError` or `NotReleasableError`."""
        with self._lock:
            if report_id not in self._reports:
                self._reports[report_id] = read_report(self.dataset, report_id)[0]
            return self._reports[report_id]

    def _report_lines(self) -> list[ReportLine]:
        lines = []
        for report_id in sorted(self.dataset.store.folders("reports"), reverse=True):
            if self.dataset.store.size(report_name(report_id)) is None:
                continue
            try:
                report = self.report(report_id)
            except (FormatError, NotReleasableError, OSError) as error:
                lines.append(ReportLine(id=report_id, unreadable=str(error)))
                continue
            verdict = report.refiner_verdict
            lines.append(
                ReportLine(
                    id=report_id,
                    created=report.created,
                    passed=report.passed,
                    num_samples=report.num_samples,
                    missed=tuple(misses_of(report)),
                    words="" if verdict is None else f"The refiner {verdict.words}.",
                )
            )
        return lines

    def releases(self) -> list[ReleaseLine]:
        """All releases, in order of name."""
        return self._for_a_while("releases", self._release_lines)

    def latest(self, places: Places) -> Latest | None:
        """What the pointer to the latest release says; None where there is none."""
        try:
            pointer = latest_or_none(self.dataset.store)
        except (FormatError, OSError) as error:
            return Latest(release="", location=None, name=None, unreadable=str(error))
        if pointer is None:
            return None
        if pointer.dataset is None:
            return Latest(release=pointer.release, location=None, name=None)
        try:
            location = dataset_of(pointer, self.dataset.location).location
            name = _name_of(places, location)
        except (OSError, ValueError):  # it is shown where it should be
            location, name = pointer.dataset, None
        return Latest(release=pointer.release, location=location, name=name)

    def _release_lines(self) -> list[ReleaseLine]:
        lines = []
        for name in release_names(self.dataset):
            try:
                manifest = read_manifest(self.dataset, name)
            except (FormatError, OSError) as error:
                lines.append(ReleaseLine(name=name, unreadable=str(error)))
                continue
            lines.append(
                ReleaseLine(
                    name=name,
                    num_samples=manifest.num_samples,
                    num_shards=len(manifest.shards),
                    splits=dict(manifest.splits),
                    report_id=manifest.report_id,
                )
            )
        return lines

    def ancestors(self, places: Places) -> list[Relative]:
        """The chain of parents, the nearest first."""
        notes = {
            "there": "",
            "not there": "cannot be read at its location",
            "another dataset": "another dataset lies at its location",
        }
        return [
            Relative(
                location=one.location,
                name=_name_of(places, one.location) if one.reach == "there" else None,
                title=one.name or one.location,
                kind=one.kind,
                note=notes[one.reach],
            )
            for one in lineage_of(self.dataset)[1:]
        ]

    def children(self, places: Places) -> list[Relative]:
        """The datasets that were made from this one, as they registered themselves."""
        relatives = []
        try:
            for location in sorted(set(registered_children(self.dataset))):
                relatives.append(_child_at(location, places))
        except FormatError as error:
            relatives.append(Relative(location="", name=None, title="", note=str(error)))
        return relatives

    def _for_a_while(self, what: str, make: Callable[[], _T]) -> _T:
        with self._lock:
            value, until = self._fresh.get(what, (None, float("-inf")))
            if time.monotonic() > until:
                value = make()
                self._fresh[what] = value, time.monotonic() + FRESH_S
            return cast("_T", value)


class Library:
    """All datasets of the catalogue that were looked at."""

    def __init__(self, places: Places):
        self.places = places
        self._opened: dict[str, OpenedDataset] = {}
        self._lock = threading.Lock()

    def dataset(self, name: str) -> OpenedDataset | None:
        """A dataset by its name in addresses; None where there is none.

        Raises:
            FileNotFoundError: it is gone.
            FormatError: it cannot be read.
        """
        item = self.places.get(name, "dataset")
        if item is None:
            return None
        with self._lock:
            held = self._opened.get(name)
            if held is None or held.item != item or held.is_another_now():
                held = self._opened[name] = OpenedDataset(item)
            return held


def _parent_of(dataset: Dataset) -> Dataset | None:
    """The parent, where it lies where the card says; None where it has none or is out of reach."""
    try:
        return open_parent(dataset)
    except (OSError, ValueError):
        return None


def _child_at(location: str, places: Places) -> Relative:
    try:
        card = Dataset.open(location).card
    except (OSError, ValueError) as error:
        return Relative(location=location, name=None, title=location, note=str(error))
    name = _name_of(places, location)
    return Relative(location=location, name=name, title=card.name, kind=card.kind)


def _name_of(places: Places, location: str) -> str | None:
    item = places.at(location)
    return None if item is None else item.name
