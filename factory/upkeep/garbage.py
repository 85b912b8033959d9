"""Objects in a dataset's folder that are not part of the dataset: listed, committed or deleted.

Readers never see any of them. Only leftovers that no run owns are deleted: those older than a day,
and only while no run holds a lease.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from factory.dataset.commit import adopt_orphan
from factory.dataset.dataset import Dataset, plan_name
from factory.dataset.tar import DamagedShardError
from factory.release.state import MANIFEST
from factory.store.base import Entry
from factory.upkeep.verify import expected_shard, wrong_with_orphan
from schemas.base import FormatError, Model
from schemas.lease import Lease

log = logging.getLogger(__name__)
DAY_S = 86_400.0
StrayKind = Literal[
    "orphan tar", "temporary", "rejects", "unfinished release", "unfinished report", "unknown"
]
Action = Literal["commit", "remove", "keep"]

_LAYOUT = re.compile(
    r"""dataset\.json
    | plan/(\d{6,}\.json|seen\.parquet)
    | index/\d{6,}\.parquet
    | shards/(?P<tar>\d{6,})\.tar
    | rejected/(?P<rejects>\d{6,})\.parquet
    | reports/[^/]+/(report\.json|report\.html|verdicts\.parquet|samples/\d{6,}\.parquet)
    | measures/[0-9a-f]{16}/\d{6,}\.parquet
    | releases/[^/]+/(manifest\.json|index\.parquet|[a-z][a-z0-9_]*\.wids\.json
        |shards/\d{6,}\.tar)
    | runs/[^/]+/.+
    | lease/[^/]+\.json
    | (?P<temporary>tmp/.+)""",
    re.VERBOSE,
)

_FOLDER = re.compile(r"(reports|releases)/[^/]+/")
_LAST = {"reports": "report.json", "releases": MANIFEST}


class Stray(Model):
    """One object that is not, or not yet, part of the dataset."""

    name: str
    size: int
    """bytes"""
    age_s: float
    """since its last change"""
    kind: StrayKind
    """`temporary`: being written, or left by a writer that died; `rejects`: of a shard that is not
    planned; `unknown`: not of the layout, so another program put it there"""
    action: Action
    """what `clean` does with it; `keep`: nothing"""
    why: str
    became: str | None = None
    """what `clean` made of it: committed, removed, kept, or why it was left; None before that"""


@dataclass
class _Finder:
    dataset: Dataset
    parent: Dataset | None
    older_than_s: float
    now_s: float

    def __post_init__(self) -> None:
        # The listings of names come first: what appears after them is looked up by itself.
        self.committed = set(self.dataset.committed())
        self.planned = set(self.dataset.planned())
        self.live = live_holder(self.dataset, self.now_s)
        self._finished: dict[str, bool] = {}

    def find(self) -> Iterator[Stray]:
        unfinished: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.dataset.store.walk():
            folder = self._unfinished(entry.name)
            if folder is not None:
                unfinished[folder].append(entry)
                continue
            stray = self._stray(entry)
            if stray is not None:
                yield stray
        for folder, entries in unfinished.items():
            yield from self._folder(folder, entries)

    def _unfinished(self, name: str) -> str | None:
        """The report or release that an object belongs to, if it lacks what is written last."""
        match = _FOLDER.match(name)
        if match is None:
            return None
        folder, last = match[0], f"{match[0]}{_LAST[match[1]]}"
        if folder not in self._finished:
            self._finished[folder] = self.dataset.store.size(last) is not None
        return None if self._finished[folder] else folder

    def _folder(self, folder: str, entries: list[Entry]) -> Iterator[Stray]:
        """One age for all: a long validation writes its shards one by one."""
        age_s = min(map(self._age_s, entries))
        report = folder.startswith("reports/")
        kind: StrayKind = "unfinished report" if report else "unfinished release"
        why = f"{folder} has no {_LAST['reports' if report else 'releases']}"
        for entry in entries:
            yield self._removable(entry, kind, why, age_s)

    def _stray(self, entry: Entry) -> Stray | None:
        match = _LAYOUT.fullmatch(entry.name)
        if match is None:
            return self._of(entry, "unknown", "keep", "not a name of the layout; never removed")
        if match["temporary"]:
            return self._removable(entry, "temporary", "left by a writer that died")
        if match["tar"]:
            return self._tar(entry, int(match["tar"]))
        if match["rejects"]:
            return self._rejects(entry, int(match["rejects"]))
        return None

    def _tar(self, entry: Entry, shard: int) -> Stray | None:
        if shard in self.committed or self.dataset.is_committed(shard):
            return None
        kind: StrayKind = "orphan tar"
        try:
            wrong = wrong_with_orphan(self.dataset, shard, self.parent)
        except FileNotFoundError:  # withdrawn a moment ago
            return None
        except ValueError as error:
            return self._of(entry, kind, "keep", f"{error}; give --parent")
        if wrong is None:
            return self._of(entry, kind, "commit", "whole and as planned; its writer died")
        return self._removable(entry, kind, wrong)

    def _rejects(self, entry: Entry, shard: int) -> Stray | None:
        if shard in self.planned or shard in self.committed:
            return None
        if self.dataset.store.size(plan_name(shard)) is not None:
            return None
        return self._removable(entry, "rejects", "of a shard that is neither planned nor committed")

    def _removable(
        self, entry: Entry, kind: StrayKind, why: str, age_s: float | None = None
    ) -> Stray:
        age_s = self._age_s(entry) if age_s is None else age_s
        if not age_s >= self.older_than_s:  # also where that is NaN
            return self._of(entry, kind, "keep", f"{why}; too young to remove")
        if self.live is not None:
            return self._of(entry, kind, "keep", f"{why}; {self.live} is at work")
        return self._of(entry, kind, "remove", why)

    def _of(self, entry: Entry, kind: StrayKind, action: Action, why: str) -> Stray:
        return Stray(
            name=entry.name,
            size=entry.size,
            age_s=self._age_s(entry),
            kind=kind,
            action=action,
            why=why,
        )

    def _age_s(self, entry: Entry) -> float:
        return max(0.0, self.now_s - entry.mtime_ns / 1e9)


def live_holder(dataset: Dataset, now_s: float) -> str | None:
    """Who holds a lease that has not expired; one that cannot be read counts as held."""
    for entry in dataset.store.entries("lease"):
        try:
            held = Lease.from_json(dataset.store.read(entry.name), where=entry.name)
        except FileNotFoundError:  # given back a moment ago
            continue
        except FormatError:
            return f"whoever holds {entry.name}"
        if held.expires > now_s:
            return str(held)
    return None


def stray_objects(
    dataset: Dataset,
    parent: Dataset | None = None,
    *,
    older_than_s: float = DAY_S,
    now_s: float | None = None,
) -> list[Stray]:
    """Everything below a dataset's location that is not part of it, in order of name.

    What this does not list belongs to the layout and to a shard, plan, report, release or run.

    Args:
        parent: of a refined dataset: orphan tars are compared with it, and kept where it is None.
        older_than_s: age below which nothing is removed: its writer may be alive.
        now_s: seconds since 1970 UTC; None for now.
    """
    now_s = time.time() if now_s is None else now_s
    finder = _Finder(dataset, parent, older_than_s, now_s)
    return sorted(finder.find(), key=lambda stray: stray.name)


def clean(
    dataset: Dataset, strays: Iterable[Stray], parent: Dataset | None = None
) -> Iterator[Stray]:
    """Do what `stray_objects` says; gives each stray back with what became of it."""
    for stray in strays:
        match stray.action:
            case "commit":
                became = _commit(dataset, stray, parent)
            case "remove":
                became = _remove(dataset, stray)
            case "keep":
                became = "kept"
        if became != "kept":
            log.info("%s: %s (%s)", stray.name, became, stray.why)
        yield stray.model_copy(update={"became": became})


def _commit(dataset: Dataset, stray: Stray, parent: Dataset | None) -> str:
    shard = _shard_of(stray)
    try:
        adopt_orphan(dataset, expected_shard(dataset, shard, parent))
    except (DamagedShardError, FileNotFoundError) as error:  # it changed since it was listed
        return f"left: {error}"
    return "committed"


def _remove(dataset: Dataset, stray: Stray) -> str:
    if stray.kind == "orphan tar" and dataset.is_committed(_shard_of(stray)):
        return "left: it was committed since it was listed"
    folder = _FOLDER.match(stray.name)
    if folder is not None and dataset.store.size(f"{folder[0]}{_LAST[folder[1]]}") is not None:
        return "left: it was finished since it was listed"
    dataset.store.delete(stray.name)
    return "removed"


def _shard_of(stray: Stray) -> int:
    return int(stray.name.removeprefix("shards/").removesuffix(".tar"))
