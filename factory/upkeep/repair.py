"""Repair damaged shards: withdraw them, and make them again.

A shard is withdrawn by deleting its index, then its tar. From the first deletion on it is a missing
shard, which the next ingest or refine makes as it makes any other; so a repair that dies does no
harm.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from factory.dataset.commit import adopt_orphan, record_rejects
from factory.dataset.dataset import (
    Dataset,
    index_name,
    rejects_name,
    tar_name,
)
from factory.dataset.shard_tasks import MakeShards, ShardsFailedError
from factory.ingestion.shards import expected_of
from factory.release.state import ReleaseState, broken_releases
from factory.upkeep.means import FromSource, Means
from factory.upkeep.verify import expected_shard, wrong_with_orphan
from schemas.base import FormatError, Model
from schemas.problem import Problem, ProblemKind
from schemas.version import WRITER

log = logging.getLogger(__name__)

Remedy = Literal["remake", "index anew", "rejects anew", "withdraw stale"]
_WITHDRAWN: tuple[ProblemKind, ...] = ("tar", "orphan", "index")
"""worst first"""


class Repair(Model):
    """What is done about one shard."""

    shard: int
    remedy: Remedy
    """`remake`: withdraw it and make it again; `index anew`: its tar is whole, so only its index
    is withdrawn and made from the tar; `rejects anew`: only the record of its rejected inputs is
    lost, and is made again from the inputs; `withdraw stale`: its parent changed"""
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
        if remedy == "rejects anew":
            obstacle = _no_rejects(means, shard)
            repairs.append(Repair(shard=shard, remedy=remedy, why=text, obstacle=obstacle))
            continue
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
        repairs.append(Repair(shard=shard, remedy=remedy, why=text, obstacle=obstacle))
    return repairs


def _repair_of(by_kind: Mapping[ProblemKind, Problem]) -> tuple[Remedy, Problem] | None:
    """Of the problems of a shard, the remedy that ends them all, and its reason."""
    damage = [by_kind[kind] for kind in _WITHDRAWN if kind in by_kind]
    if damage:
        return "remake", damage[0]
    if "stale" in by_kind:
        return "withdraw stale", by_kind["stale"]
    if "rejects" in by_kind:
        return "rejects anew", by_kind["rejects"]
    return ("index anew", by_kind["rows"]) if "rows" in by_kind else None


def _no_rejects(means: Means | None, shard: int) -> str | None:
    """Why the record of a shard's rejected inputs cannot be made again; None if it can."""
    whole = "its samples are whole"
    if not isinstance(means, FromSource):
        return f"{whole}; its rejects are made anew with --source-input"
    try:
        means.rejects(shard)
    except (FileNotFoundError, ValueError) as error:
        return f"{whole}; why the others were rejected is not known any more: {error}"
    return None


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


def _writer(dataset: Dataset, shard: int) -> str:
    """What the index says made the shard; where it cannot be read, this program."""
    try:
        return dataset.facts(shard).writer
    except FormatError:
        return WRITER


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
            writer = _writer(dataset, repair.shard)
            dataset.store.delete(index_name(repair.shard))
            adopt_orphan(dataset, expected, writer=writer)
        elif repair.remedy == "rejects anew":
            assert isinstance(means, FromSource)
            expected = expected_of(dataset.plan(repair.shard))
            rows, rejects = dataset.index(repair.shard, ["key"]), means.rejects(repair.shard)
            record_rejects(dataset, expected, rows, rejects)
        else:
            log.info("shard %d is withdrawn: %s", repair.shard, repair.why)
            withdraw(dataset, repair.shard)
    in_place = ("index anew", "rejects anew")
    missing = [repair.shard for repair in doable if repair.remedy not in in_place]
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
