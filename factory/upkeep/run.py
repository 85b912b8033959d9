"""One run of describe: what is in a dataset or a release, what is wrong with it, and what is done
about that.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from factory.dataset.children import open_children
from factory.dataset.dataset import CARD, Dataset
from factory.dataset.lineage import open_parent
from factory.dataset.shard_tasks import MakeShards, Progress, no_progress
from factory.images.contact_sheet import contact_sheet
from factory.release.state import (
    ReleaseState,
    held_by,
    read_manifest,
    release_at,
    release_state,
)
from factory.store.atomic import write_atomically
from factory.store.extras import require
from factory.store.open import absolute, open_store
from factory.upkeep.contact_sheet import pick_tiles
from factory.upkeep.describe import Description, describe
from factory.upkeep.description_text import release_text, text_of
from factory.upkeep.expire import ExpiredRelease, expire_releases
from factory.upkeep.findings_text import (
    expired_lines,
    problem_lines,
    repair_lines,
    stray_lines,
)
from factory.upkeep.garbage import Stray, clean, stray_objects
from factory.upkeep.means import FilteredFromParent, FromParent, FromSource, Means
from factory.upkeep.options import Upkeep
from factory.upkeep.repair import RepairReport, apply_repairs, repairs_for, stale_children
from factory.upkeep.upgrade import upgrade
from factory.upkeep.verify import (
    NotWholeError,
    problems_of,
    shards_to_verify,
    verify_reports_and_releases,
    verify_task,
)
from schemas.base import Model
from schemas.problem import Problem
from schemas.text import one_line

log = logging.getLogger(__name__)


class Answer(Model):
    """What is to be said; `--json` prints it."""

    dataset: Description | None = None
    release: ReleaseState | None = None
    problems: tuple[Problem, ...] | None = None
    """None where nothing was verified"""
    verified: str | None = None
    """what was read for that"""
    strays: tuple[Stray, ...] | None = None
    repair: RepairReport | None = None
    expired: tuple[ExpiredRelease, ...] | None = None
    upgraded: str | None = None
    """what was upgraded, in words"""

    def lines(self, asked: Upkeep) -> Iterator[str]:
        """The answer as lines for a terminal."""
        if self.dataset is not None and not asked.repair:
            yield text_of(self.dataset)
        if self.release is not None:
            yield release_text(self.release, asked.input)
        if self.problems is not None:
            yield ""
            yield from map(one_line, problem_lines(self.problems, self.verified or ""))
        if self.repair is not None:
            yield from map(one_line, repair_lines(self.repair))
        if self.strays is not None:
            yield from map(one_line, stray_lines(self.strays))
        if self.expired is not None:
            yield from map(one_line, expired_lines(self.expired, done=asked.delete))
        if self.upgraded is not None:
            yield self.upgraded

    def check(self, asked: Upkeep) -> None:
        """Raises `NotWholeError` where something is wrong, or could not be repaired."""
        if self.repair is not None and self.repair.failed is not None:
            raise NotWholeError(f"{asked.input}: {self.repair.failed}")
        if self.problems:
            raise NotWholeError(
                f"{asked.input}: {len(self.problems)} problems, each is listed above with its fix"
            )


def changed_dataset(asked: Upkeep) -> str | None:
    """Location of the dataset that this run changes; None where it only reads.

    Raises:
        FileNotFoundError: there is no such dataset.
        OldFormatError: the dataset is of an earlier format, and is not to be upgraded.
        ValueError: a release was given, which never changes.
    """
    if not (asked.delete or asked.apply or asked.upgrade):
        return None
    _check_is_dataset(asked, _release_of(asked))
    dataset = Dataset.open(asked.input)
    if not asked.upgrade:
        dataset.require_current_format()
    return dataset.location


def look_after(
    asked: Upkeep, *, make_shards: MakeShards, progress: Progress = no_progress
) -> Answer:
    """Describe, verify, clean up, repair and draw, whatever was asked for.

    Args:
        progress: of the reading of all indexes for a description.

    Raises:
        FileNotFoundError: there is no such dataset or release.
        ValueError: the options do not fit this dataset.
        MissingExtraError: a contact sheet was asked for, and matplotlib is not installed.
    """
    if asked.contact_sheet is not None:  # which is drawn last, perhaps after hours of reading
        require("matplotlib", "--contact-sheet")
    release = _release_of(asked)
    if release is not None:
        return _of_release(asked, *release, make_shards)
    dataset = Dataset.open(asked.input)
    if asked.upgrade:
        return Answer(upgraded=upgrade(dataset))
    if asked.expire:
        return Answer(expired=expire_releases(dataset, asked.expire, delete=asked.delete))
    parent = _parent(asked, dataset)
    answer = Answer()
    if not asked.gc:
        with progress(len(dataset.committed())) as on_shard:
            described = describe(dataset, parent=asked.parent, on_shard=on_shard)
        answer = Answer(dataset=described)
    if asked.verify or asked.repair:
        shards = list(asked.shards) or shards_to_verify(dataset)
        described_all = answer.dataset if not asked.shards else None
        num_samples = described_all.num_samples if described_all is not None else None
        problems = _verify(make_shards, dataset, parent, shards, num_samples=num_samples)
        verified = _read(dataset, parent, shards)
        answer = answer.model_copy(update={"problems": problems, "verified": verified})
    if asked.repair:
        answer = _repair(asked, make_shards, dataset, parent, answer)
    if asked.gc:
        answer = answer.model_copy(update={"strays": _gc(asked, dataset)})
    if asked.contact_sheet is not None:
        _draw(asked, asked.contact_sheet, dataset, parent)
    return answer


def _release_of(asked: Upkeep) -> tuple[str, str] | None:
    """(location of its dataset, name) of the release that was given; None for a dataset."""
    release = release_at(asked.input)
    location = asked.input.removesuffix("/manifest.json")
    if release is None or open_store(location).size(CARD) is not None:
        return None  # a dataset, perhaps in a folder that happens to be called releases
    return release


def _check_is_dataset(asked: Upkeep, release: tuple[str, str] | None) -> None:
    if release is not None:
        raise ValueError(f"{asked.input} is a release: give its dataset, {release[0]}")


def _of_release(asked: Upkeep, location: str, name: str, make_shards: MakeShards) -> Answer:
    if asked.gc or asked.repair or asked.contact_sheet is not None:
        _check_is_dataset(asked, (location, name))
    dataset = Dataset.open(location)
    manifest = read_manifest(dataset, name)
    shards = [shard.shard for shard in manifest.shards]
    problems, verified = None, None
    if asked.verify:
        parent = _parent(asked, dataset)
        problems = _verify(make_shards, dataset, parent, shards, [name], manifest.num_samples)
        verified = _read(dataset, parent, shards)
    damaged = {problem.name for problem in problems or () if problem.kind == "tar"}
    state = release_state(dataset, manifest, held_by(dataset, damaged=damaged))
    return Answer(release=state, problems=problems, verified=verified)


def _read(dataset: Dataset, parent: Dataset | None, shards: Sequence[int]) -> str:
    """What an integrity check reads, in words."""
    orphan = dataset.card.parent is not None and parent is None
    return f"{len(shards):,} of {len(shards_to_verify(dataset)):,} shards" + (
        ", not compared with their parent, which is out of reach" if orphan else ""
    )


def _parent(asked: Upkeep, dataset: Dataset) -> Dataset | None:
    try:
        return open_parent(dataset, asked.parent)
    except (OSError, ValueError) as error:
        if asked.parent is not None:
            raise
        log.warning("not compared with its parent: %s", error)
        return None


def _verify(
    make_shards: MakeShards,
    dataset: Dataset,
    parent: Dataset | None,
    shards: Sequence[int],
    releases: Sequence[str] | None = None,
    num_samples: int | None = None,
) -> tuple[Problem, ...]:
    """The problems of some shards, and of reports and releases (None: of all of them)."""
    if num_samples is None:
        num_samples = len(shards) * dataset.card.shard_size
    outcomes = make_shards("verify", verify_task(dataset, parent), shards, num_samples)
    problems = problems_of(outcomes)
    return (*problems, *verify_reports_and_releases(dataset, problems, releases))


def _repair(
    asked: Upkeep,
    make_shards: MakeShards,
    dataset: Dataset,
    parent: Dataset | None,
    answer: Answer,
) -> Answer:
    means = means_of(asked, dataset, parent)
    children = _children(asked, dataset, changes=asked.apply)
    problems = answer.problems or ()
    repairs = repairs_for(
        dataset, problems, means=means, parent=parent, withdraw_stale=asked.withdraw_stale
    )
    if not asked.apply:
        stale = stale_children(dataset, children)
        report = RepairReport(repairs=tuple(repairs), applied=False, stale=stale)
        return answer.model_copy(update={"repair": report})
    report = apply_repairs(
        dataset, repairs, means=means, parent=parent, children=children, make_shards=make_shards
    )
    repaired = [repair.shard for repair in repairs if repair.obstacle is None]
    again = _verify(make_shards, dataset, parent, repaired)
    left = [p for p in problems if p.shard is not None and p.shard not in repaired]
    of_reports_and_releases = verify_reports_and_releases(dataset, (*left, *again))
    of_shards = (*left, *(p for p in again if p.shard is not None))
    return answer.model_copy(
        update={"repair": report, "problems": (*of_shards, *of_reports_and_releases)}
    )


def means_of(asked: Upkeep, dataset: Dataset, parent: Dataset | None) -> Means | None:
    """What damaged shards are made from again; None where that was not given.

    Raises:
        ValueError: what was given cannot be what this dataset was made from.
    """
    if dataset.card.parent is None:
        if asked.refiner is not None:
            raise ValueError(f"{asked.input} was not refined: give --source-input, not --refiner")
        if asked.source_input is None:
            return None
        return FromSource(dataset, absolute(asked.source_input))
    if dataset.card.kept is not None:
        if asked.source_input is not None or asked.refiner is not None:
            raise ValueError(
                f"{asked.input} holds samples of its parent as they are: its shards are made again "
                "from the parent, without --refiner and --source-input"
            )
        return FilteredFromParent(dataset, parent) if parent is not None else None
    if asked.source_input is not None:
        raise ValueError(f"{asked.input} was refined: give --refiner, not --source-input")
    if asked.refiner is None:
        return None
    if parent is None:
        raise ValueError(f"{asked.input}: its parent was moved; say where it is with --parent")
    return FromParent(dataset, parent, absolute(asked.refiner), device=asked.device)


def _children(asked: Upkeep, dataset: Dataset, *, changes: bool) -> list[Dataset]:
    may_be_out_of_reach = asked.ignore_unreachable or not changes
    return open_children(dataset, asked.children, may_be_out_of_reach=may_be_out_of_reach)


def _gc(asked: Upkeep, dataset: Dataset) -> tuple[Stray, ...]:
    strays = stray_objects(
        dataset,
        partial(_children, asked, dataset, changes=asked.delete),
        older_than_s=asked.older_than_hours * 3600,
    )
    return tuple(clean(dataset, strays)) if asked.delete else tuple(strays)


def _draw(asked: Upkeep, path: Path, dataset: Dataset, parent: Dataset | None) -> None:
    card = dataset.card
    if card.kept is not None:  # its images are those of its parent
        parent = None
    tiles = pick_tiles(dataset, parent, asked.num_images, asked.seed)
    below = "; above the parent's image, below the refined one" if parent is not None else ""
    columns = {column.name for column in dataset.sample_kind.columns(card.labelled)}
    gaze = "; label: gaze yaw, pitch" if "gaze_yaw_rad" in columns else ""
    title = f"{card.name}: {card.kind} {card.domain} images"
    subtitle = f"{dataset.location}: {len(tiles)} images, seed {asked.seed}{below}{gaze}"
    page = contact_sheet(tiles, title, subtitle, draw_pupil=asked.draw_pupil)
    write_atomically(path, page)
    log.info("%d images on %s", len(tiles), path)
