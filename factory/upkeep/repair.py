"""Repair damaged shards: make them again, and put the new version in place of the damaged one.

A replacement is built and verified before its record is published as the shard's next generation,
so readers see the damaged version or the whole one. What cannot be made here is withdrawn, again by
a new generation, for the next ingest or refine to make. Nothing is deleted here;
`factory.upkeep.garbage` removes later what belongs to nothing any more. A repair that dies does no
harm.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.names import tar_name, version_of
from factory.dataset.shard_tasks import MakeShards, ShardsFailedError
from factory.dataset.tar import sha256
from factory.release.pins import pinned_tars
from factory.release.state import ReleaseState, broken_releases
from factory.upkeep.means import FromSource, Means
from factory.upkeep.records_anew import Files, publish_index, publish_rejects, whole_files
from factory.upkeep.verify import expected_shard
from schemas.base import FormatError, Model
from schemas.problem import Problem, ProblemKind

log = logging.getLogger(__name__)

Remedy = Literal["remake", "index anew", "rejects anew", "withdraw stale"]
_MADE_AGAIN: tuple[ProblemKind, ...] = ("tar", "index")
"""worst first"""


class Repair(Model):
    """What is done about one shard."""

    shard: int
    generation: int
    """that was found damaged"""
    remedy: Remedy
    """`remake`: make it again, or withdraw it where that cannot be done here; `index anew`: its tar
    is whole, so only its index is made again, from the tar; `rejects anew`: only the record of its
    rejected inputs is lost, and is made again from the inputs; `withdraw stale`: its parent
    changed"""
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
            repairs.append(_of(why, remedy, text, obstacle))
            continue
        is_made_anew = remedy == "remake" or (remedy == "withdraw stale" and withdraw_stale)
        obstacle = means.obstacle(shard) if means is not None and is_made_anew else None
        cannot_be_made = means is None or obstacle is not None
        if why.kind == "index" and cannot_be_made and _files(dataset, why, parent):
            remedy, obstacle = "index anew", None
            text += "; its tar is whole, as far as that shows without the digest that is lost"
        elif remedy == "index anew":
            obstacle = _no_expectation(dataset, shard, parent)
        elif remedy == "withdraw stale" and not withdraw_stale:
            obstacle = "give --withdraw-stale to have it made anew"
        elif remedy == "remake" and means is None:
            obstacle = _no_expectation(dataset, shard, parent)
        repairs.append(_of(why, remedy, text, obstacle))
    return repairs


def _of(why: Problem, remedy: Remedy, text: str, obstacle: str | None) -> Repair:
    assert why.shard is not None and why.generation is not None
    return Repair(
        shard=why.shard,
        generation=why.generation,
        remedy=remedy,
        why=text,
        obstacle=obstacle,
    )


def _repair_of(by_kind: Mapping[ProblemKind, Problem]) -> tuple[Remedy, Problem] | None:
    """Of the problems of a shard, the remedy that ends them all, and its reason."""
    damage = [by_kind[kind] for kind in _MADE_AGAIN if kind in by_kind]
    if damage:
        return "remake", damage[0]
    if "stale" in by_kind:
        return "withdraw stale", by_kind["stale"]
    if "rejects" in by_kind:
        return "rejects anew", by_kind["rejects"]
    return ("index anew", by_kind["rows"]) if "rows" in by_kind else None


def _no_rejects(means: Means | None, shard: int) -> str | None:
    """Why the record of a shard's rejected inputs cannot be made again; None if it can."""
    kept = "its samples are whole"
    if not isinstance(means, FromSource):
        return f"{kept}; its rejects are made anew with --source-input"
    try:
        means.rejects(shard)
    except (FileNotFoundError, ValueError) as error:
        return f"{kept}; why the others were rejected is not known any more: {error}"
    return None


def _files(dataset: Dataset, why: Problem, parent: Dataset | None) -> Files | None:
    """The tar and rejects of a shard whose index cannot be read, where they say all of it."""
    assert why.shard is not None and why.generation is not None
    try:
        expected = expected_shard(dataset, why.shard, parent)
    except (FileNotFoundError, ValueError):
        return None
    return whole_files(dataset, expected, why.generation)


def _no_expectation(dataset: Dataset, shard: int, parent: Dataset | None) -> str | None:
    try:
        expected_shard(dataset, shard, parent)
    except (FileNotFoundError, ValueError) as error:
        return f"what it should hold is not known: {error}"
    return None


def apply_repairs(
    dataset: Dataset,
    repairs: Sequence[Repair],
    *,
    means: Means | None,
    parent: Dataset | None,
    children: Sequence[Dataset],
    make_shards: MakeShards,
) -> RepairReport:
    """Make shards again or withdraw them, and find what no longer holds because of that.

    Args:
        parent: of a refined dataset.
        children: datasets that were refined from this one.

    Raises:
        OldFormatError: the dataset is of an earlier format.
    """
    dataset.require_current_format()
    before = {repair.shard: _digest(dataset, repair.shard) for repair in repairs}
    doable = [repair for repair in repairs if repair.obstacle is None]
    replaced: dict[int, Replaced] = {}
    for repair in doable:
        shard, generation = repair.shard, repair.generation
        if repair.remedy == "index anew":
            publish_index(dataset, expected_shard(dataset, shard, parent), generation)
        elif repair.remedy == "rejects anew":
            assert isinstance(means, FromSource)
            publish_rejects(dataset, shard, generation, means.rejects(shard))
        elif means is None:
            if withdraw(dataset, shard, generation, repair.why):
                log.info("shard %d is withdrawn: %s", shard, repair.why)
        else:
            replaced[shard] = Replaced(generation, _tar(dataset, shard, generation))
    failed = None
    if means is not None and replaced:
        try:
            num_samples = len(replaced) * dataset.card.shard_size
            make_shards("repair", means.task(replaced), list(replaced), num_samples)
        except ShardsFailedError as error:
            failed = str(error)
    restore_released(dataset, replaced)
    done = [r.shard for r in doable if dataset.generation(r.shard) > r.generation]
    after = {shard: _digest(dataset, shard) for shard in done}
    return RepairReport(
        repairs=tuple(repairs),
        applied=True,
        remade=tuple(shard for shard in done if after[shard] is not None),
        withdrawn=tuple(shard for shard in done if after[shard] is None),
        changed=tuple(n for n in done if after[n] is None or after[n] != before[n]),
        stale=stale_children(dataset, children),
        broken_releases=tuple(broken_releases(dataset)),
        failed=failed,
    )


def restore_released(dataset: Dataset, shards: Iterable[int]) -> None:
    """Put the bytes back that a release names, where a shard that was made again has the same.

    The name of a tar and its content belong together, so this changes nothing for who reads it.
    """
    made = set(shards)
    for name, digest in pinned_tars(dataset).items() if made else ():
        version = version_of(name)
        if version is None or version.shard not in made:
            continue
        try:
            facts = dataset.facts(version.shard)
            if facts.tar_sha256 != digest or _is_as_released(dataset, name, digest):
                continue
            dataset.store.put(name, dataset.tar(version.shard))
        except (FileNotFoundError, ValueError) as error:  # ValueError: it was not made again
            log.warning("%s stays as it is: %s", name, error)
            continue
        log.info("%s, which a release names, has its bytes again", name)


def _is_as_released(dataset: Dataset, name: str, digest: str) -> bool:
    try:
        return sha256(dataset.store.read(name)) == digest
    except FileNotFoundError:
        return False


def _tar(dataset: Dataset, shard: int, generation: int) -> str | None:
    """Name of the tar of a generation; None where its index cannot be read."""
    try:
        return tar_name(dataset.facts_in(shard, generation))
    except (FileNotFoundError, FormatError):
        return None


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
