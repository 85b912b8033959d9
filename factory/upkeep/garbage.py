"""Objects in a dataset's folder that are not part of the dataset any more, or never were.

Readers never see any of them. They are deleted only when they are old and no run holds a lease, and
never while something names them. What makes this safe for a writer that pauses for longer than any
age is an order of steps, not a clock:

- A tar that no generation names may be about to be named by its writer, as the generation in the
  tar's name. That generation is taken first, so that the writer's record comes too late: by a
  withdrawal where the shard does not exist, else by a record of what the shard is already.
- A tar that only earlier generations name stays in that state for ever. Releases name tars that
  were current after their intent was written, and children register before they read. So intents
  and children are looked up after the generations were listed.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from factory.dataset.commit import next_generation, put_record, withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.names import (
    INDEX_PATTERN,
    Version,
    rejects_name_or_none,
    tar_name,
    version_of,
)
from factory.release.pins import drop_unfinished, pinned_tars
from factory.release.state import MANIFEST, is_dropped
from factory.store.base import Entry
from factory.store.lease import live_holder
from schemas.base import FormatError, Model
from schemas.index import MAX_WITHDRAWAL_BYTES

log = logging.getLogger(__name__)
DAY_S = 86_400.0
StrayKind = Literal[
    "uncommitted",
    "replaced",
    "temporary",
    "unfinished release",
    "dropped release",
    "unfinished report",
    "unknown",
]
Action = Literal["remove", "keep"]

_LAYOUT = re.compile(
    r"""dataset\.json
    | plan/(\d{6,}\.json|seen\.parquet)
    | cache/(facts\.jsonl\.gz|settled\.json)
    | reports/[^/]+/(report\.json|report\.html|verdicts\.parquet|samples/\d{6,}\.parquet)
    | measures/[0-9a-f]{16}/\d{6,}\.parquet
    | releases/(latest|nothing-newer)\.json
    | releases/[^/]+/(manifest\.json|intent\.json|index\.parquet|index/\d{6,}\.parquet
        |[a-z][a-z0-9_]*\.wids\.json|shards/\d{6,}\.tar)
    | (children|withheld)/[0-9a-f]{16}\.json
    | runs/[^/]+/.+
    | lease/[^/]+\.json
    | (?P<temporary>tmp/.+)""",
    re.VERBOSE,
)

_FOLDER = re.compile(r"(reports|releases)/[^/]+/")
_LAST = {"reports": "report.json", "releases": MANIFEST}


class Stray(Model):
    """One object that is not part of the dataset."""

    name: str
    size: int
    """bytes"""
    age_s: float
    """since its last change; of a replaced file: since it was replaced"""
    kind: StrayKind
    """`uncommitted`: a tar or record of rejects that no generation names; `replaced`: one that only
    earlier generations name; `temporary`: being written, or left by a writer that died; `unknown`:
    not of the layout, so another program put it there"""
    action: Action
    """what `clean` does with it; `keep`: nothing"""
    why: str
    became: str | None = None
    """what `clean` made of it: removed, kept, or why it was left; None before that"""


class _Named(NamedTuple):
    """The files that a generation of a shard names."""

    generation: int
    mtime_ns: int
    tar: str | None
    """None for a withdrawal"""
    rejects: str | None
    sha256: str | None
    """of the tar"""


@dataclass
class _Finder:
    dataset: Dataset
    open_children: Callable[[], Sequence[Dataset]]
    older_than_s: float
    now_s: float
    files: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    """tars and records of rejects, by shard"""
    records: dict[int, dict[int, Entry]] = field(default_factory=lambda: defaultdict(dict))
    """indexes and withdrawals, by shard and generation"""

    def find(self) -> Iterator[Stray]:
        finished: dict[str, bool] = {}
        unfinished: dict[str, list[Entry]] = defaultdict(list)
        others: list[Entry] = []
        # Tars are listed before the records that may name them, and both before all that keeps
        # tars: leases, releases and children.
        for folder in ("shards", "rejected"):
            for entry in self.dataset.store.entries(folder):
                version = version_of(entry.name)
                if version is not None:
                    self.files[version.shard].append(entry)
        for entry in self.dataset.store.walk():
            below = self._unfinished(entry.name, finished)
            if below is not None:
                unfinished[below].append(entry)
            elif (match := INDEX_PATTERN.fullmatch(entry.name)) is not None:
                self.records[int(match[1])][int(match[2] or 1)] = entry
            elif version_of(entry.name) is None:
                others.append(entry)
        for entry in others:
            yield from self._elsewhere(entry)
        for folder, entries in unfinished.items():
            yield from self._folder(folder, entries)
        for shard, files in self.files.items():
            yield from self._of_shard(shard, files)

    def _unfinished(self, name: str, finished: dict[str, bool]) -> str | None:
        """The report or release that an object belongs to, if it is not finished or was dropped."""
        match = _FOLDER.match(name)
        if match is None or _LAYOUT.fullmatch(name) is None:
            return None
        folder, last = match[0], f"{match[0]}{_LAST[match[1]]}"
        if folder not in finished:
            finished[folder] = self.dataset.store.size(last) is not None and not (
                match[1] == "releases" and is_dropped(self.dataset, _release_of(folder))
            )
        return None if finished[folder] or name == last else folder

    def _folder(self, folder: str, entries: list[Entry]) -> Iterator[Stray]:
        """One age for all: a long validation writes its shards one by one."""
        age_s = min(map(self._age_s, entries))
        if folder.startswith("reports/"):
            kind: StrayKind = "unfinished report"
            why = f"{folder} has no {_LAST['reports']}"
        elif is_dropped(self.dataset, _release_of(folder)):
            kind, why = "dropped release", "the release was dropped, or has expired"
        else:
            kind = "unfinished release"
            why = f"{folder} has no {MANIFEST}; the name is not used again when this is removed"
        for entry in entries:
            yield self._removable(entry, kind, why, age_s)

    def _elsewhere(self, entry: Entry) -> Iterator[Stray]:
        match = _LAYOUT.fullmatch(entry.name)
        if match is None:
            yield self._of(entry, "unknown", "keep", "not a name of the layout; never removed")
        elif match["temporary"]:
            yield self._removable(entry, "temporary", "left by a writer that died")

    def _of_shard(self, shard: int, files: list[Entry]) -> Iterator[Stray]:
        records = self.records[shard]
        highest = max(records, default=0)
        if _is_plain(files, records):
            return
        try:
            named = [self._named(Version(shard, n), records[n]) for n in sorted(records)]
        except FormatError as error:
            for entry in files:
                yield self._of(entry, "uncommitted", "keep", f"not known, as {error}; repair first")
            return
        for entry in files:
            last = max((n.generation for n in named if entry.name in (n.tar, n.rejects)), default=0)
            if last == 0:
                why = f"no generation of shard {shard} names it; its writer died or came too late"
                yield self._removable(entry, "uncommitted", why)
            elif last < highest:
                yield self._replaced(entry, named, last)

    def _replaced(self, entry: Entry, named: Sequence[_Named], last: int) -> Stray:
        until, since, *_ = (n for n in named if n.generation >= last)
        age_s = max(0.0, self.now_s - since.mtime_ns / 1e9)
        why = f"generation {since.generation} of its shard replaced it"
        is_there_again = until.sha256 == named[-1].sha256
        holder = self._pinned_by(until, by_children=not is_there_again)
        if holder is not None:
            return self._of(entry, "replaced", "keep", f"{why}; {holder}", age_s)
        return self._removable(entry, "replaced", why, age_s)

    def _pinned_by(self, named: _Named, *, by_children: bool) -> str | None:
        """What still needs the files of a generation, in words.

        Args:
            by_children: whether children count, which know a tar by its digest alone.
        """
        if named.tar in self._pinned_by_releases:
            return "a release names its tar"
        for child in self.children if by_children else ():
            if named.sha256 in self._parents_of[child.location]:
                return f"{child.location} was made from its tar"
        return None

    @cached_property
    def children(self) -> Sequence[Dataset]:
        """Datasets that were made from this one."""
        return self.open_children()

    @cached_property
    def live(self) -> str | None:
        """Who is at work here or in a child."""
        return live_holder((d.store for d in (self.dataset, *self.children)), self.now_s)

    @cached_property
    def _pinned_by_releases(self) -> dict[str, str]:
        return pinned_tars(self.dataset)

    @cached_property
    def _parents_of(self) -> dict[str, set[str | None]]:
        """sha256 of the tars that each child was made from."""
        return {
            child.location: {f.parent_sha256 for f in child.all_facts(child.committed())}
            for child in self.children
        }

    def _named(self, version: Version, record: Entry) -> _Named:
        shard, generation = version
        try:
            facts = self.dataset.facts_in(shard, generation)
        except FileNotFoundError:  # a withdrawal
            return _Named(generation, record.mtime_ns, None, None, None)
        rejects = rejects_name_or_none(facts)
        return _Named(generation, record.mtime_ns, tar_name(facts), rejects, facts.tar_sha256)

    def _removable(
        self, entry: Entry, kind: StrayKind, why: str, age_s: float | None = None
    ) -> Stray:
        age_s = self._age_s(entry) if age_s is None else age_s
        if not age_s >= self.older_than_s:  # also where that is NaN
            return self._of(entry, kind, "keep", f"{why}; too young to remove", age_s)
        if self.live is not None:
            return self._of(entry, kind, "keep", f"{why}; {self.live} is at work", age_s)
        return self._of(entry, kind, "remove", why, age_s)

    def _of(
        self, entry: Entry, kind: StrayKind, action: Action, why: str, age_s: float | None = None
    ) -> Stray:
        return Stray(
            name=entry.name,
            size=entry.size,
            age_s=self._age_s(entry) if age_s is None else age_s,
            kind=kind,
            action=action,
            why=why,
        )

    def _age_s(self, entry: Entry) -> float:
        return max(0.0, self.now_s - entry.mtime_ns / 1e9)


def _is_plain(files: list[Entry], records: dict[int, Entry]) -> bool:
    """Whether names alone show that a shard has one tar, its rejects, and one generation."""
    versions = [version_of(entry.name) for entry in files]
    tars = sum(entry.name.startswith("shards/") for entry in files)
    of_first = all(version is not None and version.generation == 1 for version in versions)
    is_index = records.keys() == {1} and records[1].size > MAX_WITHDRAWAL_BYTES
    return is_index and of_first and tars == 1 and len(files) <= 2


def _release_of(folder: str) -> str:
    return folder.removeprefix("releases/").removesuffix("/")


def stray_objects(
    dataset: Dataset,
    open_children: Callable[[], Sequence[Dataset]] = list,
    *,
    older_than_s: float = DAY_S,
    now_s: float | None = None,
) -> list[Stray]:
    """Everything below a dataset's location that is not part of it, in order of name.

    What this does not list belongs to the layout and to a shard, plan, report, release or run.

    Args:
        open_children: gives the datasets that were made from this one; what they were made from is
            kept.
        older_than_s: age below which nothing is removed: its writer may be alive.
        now_s: seconds since 1970 UTC; None for now. It decides what is removed when, and never
            whether that is safe.
    """
    now_s = time.time() if now_s is None else now_s
    finder = _Finder(dataset, open_children, older_than_s, now_s)
    return sorted(finder.find(), key=lambda stray: stray.name)


def clean(dataset: Dataset, strays: Iterable[Stray]) -> Iterator[Stray]:
    """Do what `stray_objects` says; gives each stray back with what became of it.

    Raises:
        OldFormatError: the dataset is of an earlier format.
    """
    dataset.require_current_format()
    for stray in strays:
        became = "kept" if stray.action == "keep" else _remove(dataset, stray)
        if became != "kept":
            log.info("%s: %s (%s)", stray.name, became, stray.why)
        yield stray.model_copy(update={"became": became})


def _remove(dataset: Dataset, stray: Stray) -> str:
    if stray.kind == "uncommitted" and not _is_too_late(dataset, stray.name):
        return "left: it was committed since it was listed"
    folder = _FOLDER.match(stray.name)
    if stray.kind == "unfinished release" and folder is not None:
        try:
            drop_unfinished(dataset, _release_of(folder[0]), "it was not finished, and removed")
        except ValueError:
            return "left: it was finished since it was listed"
        return "removed"
    if stray.kind == "unfinished report" and folder is not None:
        is_finished = dataset.store.size(f"{folder[0]}{_LAST['reports']}") is not None
        if is_finished:
            return "left: it was finished since it was listed"
    dataset.store.delete(stray.name)
    return "removed"


def _is_too_late(dataset: Dataset, name: str) -> bool:
    """See to it that no generation will name a file that none names now.

    Returns:
        Whether that is so; False if one names it after all, or if it cannot be told.
    """
    version = version_of(name)
    assert version is not None, name
    shard, generation = version
    highest = dataset.generation(shard)
    if highest < generation - 1:  # its writer saw a record that is lost
        return False
    if highest == generation - 1 and not _take(dataset, shard, generation):
        highest = dataset.generation(shard)
    for number in range(generation, max(highest, generation) + 1):
        try:
            facts = dataset.facts_in(shard, number)
        except FileNotFoundError:  # a withdrawal
            continue
        except FormatError:
            return False
        if name in (tar_name(facts), rejects_name_or_none(facts)):
            return False
    return True


def _take(dataset: Dataset, shard: int, generation: int) -> bool:
    """Publish a generation that changes nothing; False where somebody came first."""
    try:
        rows, facts = dataset.index_and_facts(shard)
    except FileNotFoundError:
        why = "the writer of this generation was taken for dead"
        return withdraw(dataset, shard, generation - 1, why)
    if facts.generation != generation - 1:
        return False
    return put_record(dataset, rows, next_generation(facts))
