"""Repair damaged shards: withdraw them, and make them again.

A shard is withdrawn by deleting its index, then its tar. From the first deletion on it is a missing
shard, which the next ingest or refine makes as it makes any other; so a repair that dies does no
harm.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal, Protocol

from factory.dataset.commit import adopt_orphan
from factory.dataset.dataset import (
    Dataset,
    index_name,
    rejects_name,
    tar_name,
)
from factory.dataset.shard_tasks import MakeShards, MakeTask, ShardsFailedError, Stage
from factory.dataset.tar import DamagedShardError
from factory.domains.registry import make_source, options_in
from factory.ingestion.shards import ingest_task
from factory.networks.refiner_files import load_refiner
from factory.refinement.stages import refine_stages
from factory.release.filtered import FilteredContent, filter_task
from factory.release.state import ReleaseState, broken_releases
from factory.sources.files import NOTHING_SEEN
from factory.sources.input_table import InputTable
from factory.upkeep.verify import expected_shard, wrong_with_orphan
from schemas.base import FormatError, Model
from schemas.problem import Problem, ProblemKind

log = logging.getLogger(__name__)

Remedy = Literal["remake", "index anew", "withdraw stale"]
_WITHDRAWN: tuple[ProblemKind, ...] = ("tar", "orphan", "index", "rejects")
"""worst first"""


class Repair(Model):
    """What is done about one shard."""

    shard: int
    remedy: Remedy
    """`remake`: withdraw it and make it again; `index anew`: its tar is whole, so only its index
    is withdrawn and made from the tar; `withdraw stale`: its parent changed"""
    why: str
    obstacle: str | None = None
    """why nothing is done about it now"""


class StaleChild(Model):
    """A dataset with shards that were refined from parent shards that changed or are gone."""

    location: str
    shards: tuple[int, ...]
    is_filtered: bool = False
    """whether it holds samples of this dataset instead of refining them"""


class RepairReport(Model):
    """What a repair did, and what no longer holds elsewhere because of it."""

    repairs: tuple[Repair, ...]
    applied: bool
    """False: this is what would be done"""
    remade: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    """and not made again: the next ingest or refine does"""
    changed: tuple[int, ...] = ()
    """shards that are not, byte for byte, what they were; or of which that is not known"""
    stale: tuple[StaleChild, ...] = ()
    broken_releases: tuple[ReleaseState, ...] = ()
    failed: str | None = None
    """shards that could not be made again, and why"""


class Means(Protocol):
    """What withdrawn shards are made from."""

    def obstacle(self, shard: int) -> str | None:
        """Why a shard cannot be made again; None if it can."""

    def task(self) -> MakeTask | Sequence[Stage]:
        """What makes a shard."""


class FromSource:
    """Ingested shards, from the inputs that their plans name."""

    def __init__(self, dataset: Dataset, location: str):
        """
        Raises:
            FormatError: the dataset's card names a source that is unknown here.
        """
        self.dataset, self.location = dataset, location
        self.source = make_source(location, options_in(dataset.card.config))

    @cached_property
    def _inputs(self) -> InputTable:
        return InputTable(self.source.scan(NOTHING_SEEN))

    def obstacle(self, shard: int) -> str | None:
        try:
            inputs = self.dataset.plan(shard).inputs
        except (FileNotFoundError, FormatError) as error:
            return f"what it should hold is not known: {error}"
        sizes = self._inputs.sizes_of([planned.id for planned in inputs])
        gone = [planned.id for planned in inputs if planned.id not in sizes]
        if gone:
            return f"{self.location} lacks {len(gone)} of its {len(inputs)} inputs, as {gone[0]}"
        other = [planned.id for planned in inputs if sizes[planned.id] != planned.size]
        if other:
            return (
                f"{len(other)} of its {len(inputs)} inputs, as {other[0]}, have another size in "
                f"{self.location} than when they were planned"
            )
        return None

    def task(self) -> MakeTask:
        return ingest_task(self.dataset, self.source)


class FromParent:
    """Refined shards, from the parent's by the same refiner."""

    def __init__(self, dataset: Dataset, parent: Dataset, refiner: str, *, device: str = "cpu"):
        """
        Raises:
            ValueError: the refiner is not the one that made the dataset.
        """
        self.dataset, self.parent, self.refiner, self.device = dataset, parent, refiner, device
        expected = dataset.card.refiner
        given = load_refiner(refiner)[1].sha256
        if expected is None or given != expected.sha256:
            raise ValueError(
                f"{refiner} is {given[:12]}…; {dataset.location} was made by "
                f"{expected.sha256[:12] if expected is not None else 'none'}…"
            )

    def obstacle(self, shard: int) -> str | None:
        if not self.parent.is_committed(shard):
            return f"{self.parent.location} does not have it any more"
        try:
            self.parent.tar(shard)
        except (DamagedShardError, FormatError) as error:
            return f"its parent has to be mended first: {error}"
        return None

    def task(self) -> Sequence[Stage]:
        return refine_stages(self.parent, self.dataset, self.refiner, device=self.device)


class FilteredFromParent:
    """Shards of a filtered dataset, from the parent's by the verdicts."""

    def __init__(self, dataset: Dataset, parent: Dataset):
        self.dataset, self.parent = dataset, parent
        self._keeping = FilteredContent(dataset, parent)

    def obstacle(self, shard: int) -> str | None:
        try:
            self._keeping.expected(shard)
            self.parent.tar(shard)
        except (FileNotFoundError, DamagedShardError, FormatError) as error:
            return f"{error}"
        return None

    def task(self) -> MakeTask:
        return filter_task(self.dataset, self.parent)


def repairs_for(
    dataset: Dataset,
    problems: Iterable[Problem],
    *,
    means: Means | None,
    parent: Dataset | None,
    withdraw_stale: bool,
) -> list[Repair]:
    """What to do about the shards that an integrity check found problems with.

    Args:
        means: to make shards again; without, damaged ones are withdrawn for the next ingest or
            refine to make.
        parent: of a refined dataset.
        withdraw_stale: also withdraw shards whose parent changed.
    """
    by_shard: dict[int, dict[ProblemKind, Problem]] = defaultdict(dict)
    for problem in problems:
        if problem.shard is not None:
            by_shard[problem.shard].setdefault(problem.kind, problem)
    repairs = []
    for shard, by_kind in sorted(by_shard.items()):
        repair = _repair_of(by_kind)
        if repair is None:
            continue
        remedy, why = repair
        text = f"{why.name} {why.what}"
        is_made_anew = remedy == "remake" or (remedy == "withdraw stale" and withdraw_stale)
        obstacle = means.obstacle(shard) if means is not None and is_made_anew else None
        cannot_be_made = means is None or obstacle is not None
        if why.kind == "index" and cannot_be_made and _is_whole(dataset, shard, parent):
            remedy = "index anew"
            text += "; its tar is whole, as far as that shows without the digest that is lost"
        if remedy == "index anew":
            obstacle = _no_expectation(dataset, shard, parent)
        elif remedy == "withdraw stale" and not withdraw_stale:
            obstacle = "give --withdraw-stale to have it made anew"
        elif remedy == "remake" and means is None:
            obstacle = _no_expectation(dataset, shard, parent)
            if why.kind == "rejects":
                obstacle = "its samples are whole; its rejects are made anew with --source-input"
        repairs.append(Repair(shard=shard, remedy=remedy, why=text, obstacle=obstacle))
    return repairs


def _repair_of(by_kind: Mapping[ProblemKind, Problem]) -> tuple[Remedy, Problem] | None:
    """Of the problems of a shard, the remedy that ends them all, and its reason."""
    damage = [by_kind[kind] for kind in _WITHDRAWN if kind in by_kind]
    if damage:
        return "remake", damage[0]
    if "stale" in by_kind:
        return "withdraw stale", by_kind["stale"]
    return ("index anew", by_kind["rows"]) if "rows" in by_kind else None


def _is_whole(dataset: Dataset, shard: int, parent: Dataset | None) -> bool:
    """Whether a shard's tar and rejects say all that its index should."""
    try:
        return wrong_with_orphan(dataset, shard, parent) is None
    except (FileNotFoundError, ValueError):
        return False


def _no_expectation(dataset: Dataset, shard: int, parent: Dataset | None) -> str | None:
    try:
        expected_shard(dataset, shard, parent)
    except (FileNotFoundError, ValueError) as error:
        return f"what it should hold is not known: {error}"
    return None


def withdraw(dataset: Dataset, shard: int) -> None:
    """Make a shard a missing one: from the first step on no reader finds it."""
    dataset.store.delete(index_name(shard))
    dataset.store.delete(tar_name(shard))
    dataset.store.delete(rejects_name(shard))


def apply_repairs(
    dataset: Dataset,
    repairs: Sequence[Repair],
    *,
    means: Means | None,
    parent: Dataset | None,
    children: Sequence[Dataset],
    make_shards: MakeShards,
) -> RepairReport:
    """Withdraw shards, make them again, and find what no longer holds because of that.

    Args:
        parent: of a refined dataset.
        children: datasets that were refined from this one.
    """
    before = {repair.shard: _digest(dataset, repair.shard) for repair in repairs}
    doable = [repair for repair in repairs if repair.obstacle is None]
    for repair in doable:
        if repair.remedy == "index anew":
            expected = expected_shard(dataset, repair.shard, parent)
            dataset.store.delete(index_name(repair.shard))
            adopt_orphan(dataset, expected)
        else:
            log.info("shard %d is withdrawn: %s", repair.shard, repair.why)
            withdraw(dataset, repair.shard)
    missing = [repair.shard for repair in doable if repair.remedy != "index anew"]
    failed = None
    if means is not None and missing:
        try:
            num_samples = len(missing) * dataset.card.shard_size
            make_shards("repair", means.task(), missing, num_samples)
        except ShardsFailedError as error:
            failed = str(error)
    after = {repair.shard: _digest(dataset, repair.shard) for repair in doable}
    changed = [n for n, digest in after.items() if digest is None or digest != before[n]]
    return RepairReport(
        repairs=tuple(repairs),
        applied=True,
        remade=tuple(shard for shard in after if after[shard] is not None),
        withdrawn=tuple(shard for shard in after if after[shard] is None),
        changed=tuple(changed),
        stale=stale_children(dataset, children),
        broken_releases=tuple(broken_releases(dataset)),
        failed=failed,
    )


def stale_children(dataset: Dataset, children: Iterable[Dataset]) -> tuple[StaleChild, ...]:
    """Those of some datasets that have shards refined from shards that changed or are gone.

    Raises:
        ValueError: one was not refined from this dataset.
    """
    digests: dict[int, str | None] = {}
    stale_datasets = []
    for child in children:
        if child.card.parent is None or child.card.parent.card != dataset.card.digest():
            raise ValueError(f"{child.location} was not refined from {dataset.location}")
        stale = []
        for shard in child.committed():
            if shard not in digests:
                digests[shard] = _digest(dataset, shard)
            try:
                of_parent = child.facts(shard).parent_sha256
            except FormatError:  # damaged itself: for a check of the child to say
                continue
            if of_parent != digests[shard]:
                stale.append(shard)
        if stale:
            filtered = child.card.kept is not None
            stale_child = StaleChild(
                location=child.location, shards=tuple(stale), is_filtered=filtered
            )
            stale_datasets.append(stale_child)
    return tuple(stale_datasets)


def _digest(dataset: Dataset, shard: int) -> str | None:
    """Of a committed shard's tar; None where it is not known."""
    try:
        return dataset.facts(shard).tar_sha256
    except (FileNotFoundError, FormatError):
        return None
