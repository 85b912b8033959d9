"""What is in a dataset or a release, what is wrong with it, and what is done about that.

Each job that looks after a dataset has its function here.

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
from factory.release.latest import followed
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
from factory.upkeep.options import (
    DescribeOptions,
    ExpireOptions,
    GarbageOptions,
    RepairOptions,
    VerifyOptions,
    WithChildren,
    WithParent,
)
from factory.upkeep.repair import RepairReport, apply_repairs, repairs_for, stale_children
from factory.upkeep.upgrade import upgrade
from factory.upkeep.verify import (
    NotWholeError,
    problems_of,
    verify_reports_and_releases,
    verify_task,
)
from schemas.base import Model
from schemas.options import OptionError
from schemas.problem import Problem
from schemas.release import ReleaseManifest
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

    def lines(self, location: str) -> Iterator[str]:
        """The answer as lines for a terminal.

        Args:
            location: of the dataset or release that was asked about.
        """
        if self.dataset is not None:
            yield text_of(self.dataset)
        if self.release is not None:
            yield release_text(self.release, location)
        if self.problems is not None:
            yield from map(one_line, problem_lines(self.problems, self.verified or ""))
        if self.repair is not None:
            yield from map(one_line, repair_lines(self.repair))
        if self.strays is not None:
            yield from map(one_line, stray_lines(self.strays))
        if self.expired is not None:
            yield from map(one_line, expired_lines(self.expired))
        if self.upgraded is not None:
            yield self.upgraded

    def check(self, location: str) -> None:
        """Raises `NotWholeError` where something is wrong, or could not be repaired."""
        if self.repair is not None and self.repair.failed is not None:
            raise NotWholeError(f"{location}: {self.repair.failed}")
        if self.problems:
            raise NotWholeError(
                f"{location}: {len(self.problems)} problems, each is listed above with its fix"
            )


def describe_place(asked: DescribeOptions, *, progress: Progress = no_progress) -> Answer:
    """What is in a dataset or a release, perhaps with a page of its images.

    Args:
        progress: of the reading of all indexes of a dataset.

    Raises:
        FileNotFoundError: there is no such dataset or release.
        ValueError: a contact sheet of a release was asked for.
        MissingExtraError: a contact sheet was asked for, and matplotlib is not installed.
    """
    if asked.contact_sheet is not None:  # which is drawn last, perhaps after hours of reading
        require("matplotlib", "--contact-sheet")
    release = _release_of(asked.input)
    if release is not None:
        if asked.contact_sheet is not None:
            raise _no_dataset(asked.input, release)
        dataset, manifest = _open_release(release)
        return Answer(release=release_state(dataset, manifest, held_by(dataset)))
    dataset = Dataset.open(asked.input)
    parent = _parent(asked, dataset) if asked.contact_sheet is not None else None
    with progress(len(dataset.committed())) as on_shard:
        described = describe(dataset, parent=asked.parent, on_shard=on_shard)
    if asked.contact_sheet is not None:
        _draw(asked, asked.contact_sheet, dataset, parent)
    return Answer(dataset=described)


def verify_place(asked: VerifyOptions, *, make_shards: MakeShards) -> Answer:
    """The problems of a dataset or a release, of which everything is read.

    Raises:
        FileNotFoundError: there is no such dataset or release.
        ValueError: `parent` is not the dataset's.
    """
    release = _release_of(asked.input)
    if release is None:
        dataset = Dataset.open(asked.input)
        parent = _parent(asked, dataset)
        shards = list(asked.shards) or dataset.committed()
        problems = _verify(make_shards, dataset, parent, shards)
        return Answer(problems=problems, verified=_read(dataset, parent, shards))
    dataset, manifest = _open_release(release)
    parent = _parent(asked, dataset)
    shards = [shard.shard for shard in manifest.shards]
    name = manifest.release
    problems = _verify(make_shards, dataset, parent, shards, [name], manifest.num_samples)
    damaged = {problem.name for problem in problems if problem.kind == "tar"}
    state = release_state(dataset, manifest, held_by(dataset, damaged=damaged))
    return Answer(release=state, problems=problems, verified=_read(dataset, parent, shards))


def collect_garbage(asked: GarbageOptions) -> Answer:
    """What is not part of a dataset, removed where that is asked for.

    Raises:
        FileNotFoundError: there is no such dataset.
        UnreachableChildError: something was to be removed, and a child cannot be opened.
        OldFormatError: something was to be removed, and the dataset is of an earlier format.
        ValueError: a release was given.
    """
    dataset = open_dataset(asked.input)
    strays = stray_objects(
        dataset,
        partial(_children, asked, dataset, changes=asked.delete),
        older_than_s=asked.older_than_hours * 3600,
    )
    return Answer(strays=tuple(clean(dataset, strays) if asked.delete else strays))


def repair_place(asked: RepairOptions, *, make_shards: MakeShards) -> Answer:
    """Verify a dataset, and say how its damaged shards would be repaired, or repair them.

    Raises:
        FileNotFoundError: there is no such dataset.
        UnreachableChildError: something was to be repaired, and a child cannot be opened.
        OldFormatError: something was to be repaired, and the dataset is of an earlier format.
        OptionError: means were given that cannot be what the dataset was made from.
        ValueError: a release was given.
    """
    dataset = open_dataset(asked.input)
    parent = _parent(asked, dataset)
    means = means_of(asked, dataset, parent)
    children = _children(asked, dataset, changes=asked.apply)
    shards = list(asked.shards) or dataset.committed()
    problems = _verify(make_shards, dataset, parent, shards)
    verified = _read(dataset, parent, shards)
    repairs = repairs_for(
        dataset, problems, means=means, parent=parent, withdraw_stale=asked.withdraw_stale
    )
    if not asked.apply:
        stale = stale_children(dataset, children)
        report = RepairReport(repairs=tuple(repairs), applied=False, stale=stale)
        return Answer(problems=problems, verified=verified, repair=report)
    report = apply_repairs(
        dataset, repairs, means=means, parent=parent, children=children, make_shards=make_shards
    )
    repaired = [repair.shard for repair in repairs if repair.obstacle is None]
    again = _verify(make_shards, dataset, parent, repaired)
    left = [p for p in problems if p.shard is not None and p.shard not in repaired]
    of_reports_and_releases = verify_reports_and_releases(dataset, (*left, *again))
    of_shards = (*left, *(p for p in again if p.shard is not None))
    return Answer(problems=(*of_shards, *of_reports_and_releases), verified=verified, repair=report)


def give_up_releases(asked: ExpireOptions) -> Answer:
    """Give up releases, or only say what that would free. Raises as `expire_releases`."""
    dataset = open_dataset(asked.input)
    return Answer(expired=expire_releases(dataset, asked.releases, delete=asked.delete))


def upgrade_place(location: str) -> Answer:
    """Make a dataset one of the present format. Raises as `upgrade`."""
    return Answer(upgraded=upgrade(open_dataset(location)))


def open_dataset(location: str, *, to_change: bool = False) -> Dataset:
    """The dataset at a location.

    Args:
        to_change: whether it has to be of the present format.

    Raises:
        FileNotFoundError: there is none.
        OldFormatError: it is of an earlier format.
        ValueError: a release is there, which never changes.
    """
    release = _release_of(location)
    if release is not None:
        raise _no_dataset(location, release)
    dataset = Dataset.open(location)
    if to_change:
        dataset.require_current_format()
    return dataset


def _release_of(given: str) -> tuple[str, str] | None:
    """(location of its dataset, name) of the release that was given; None for a dataset."""
    release = release_at(given)
    location = given.removesuffix("/manifest.json")
    if release is None or open_store(location).size(CARD) is not None:
        return None  # a dataset, perhaps in a folder that happens to be called releases
    return release


def _no_dataset(given: str, release: tuple[str, str]) -> ValueError:
    return ValueError(f"{given} is a release: give its dataset, {release[0]}")


def _open_release(release: tuple[str, str]) -> tuple[Dataset, ReleaseManifest]:
    store, name = followed(open_store(release[0]), release[1])
    dataset = Dataset.open(store.location)
    return dataset, read_manifest(dataset, name)


def _read(dataset: Dataset, parent: Dataset | None, shards: Sequence[int]) -> str:
    """What an integrity check reads, in words."""
    orphan = dataset.card.parent is not None and parent is None
    return f"{len(shards):,} of {len(dataset.committed()):,} shards" + (
        ", not compared with their parent, which is out of reach" if orphan else ""
    )


def _parent(asked: WithParent, dataset: Dataset) -> Dataset | None:
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


def means_of(asked: RepairOptions, dataset: Dataset, parent: Dataset | None) -> Means | None:
    """What damaged shards are made from again; None where that was not given.

    Raises:
        OptionError: what was given cannot be what this dataset was made from.
    """
    if dataset.card.parent is None:
        if asked.refiner is not None:
            raise OptionError(f"{asked.input} was not refined: give --source-input, not --refiner")
        if asked.source_input is None:
            return None
        return FromSource(dataset, absolute(asked.source_input))
    if dataset.card.kept is not None:
        if asked.source_input is not None or asked.refiner is not None:
            raise OptionError(
                f"{asked.input} holds samples of its parent as they are: its shards are made again "
                "from the parent, without --refiner and --source-input"
            )
        return FilteredFromParent(dataset, parent) if parent is not None else None
    if asked.source_input is not None:
        raise OptionError(f"{asked.input} was refined: give --refiner, not --source-input")
    if asked.refiner is None:
        return None
    if parent is None:
        raise OptionError(f"{asked.input}: its parent was moved; say where it is with --parent")
    return FromParent(dataset, parent, absolute(asked.refiner), device=asked.device)


def _children(asked: WithChildren, dataset: Dataset, *, changes: bool) -> list[Dataset]:
    may_be_out_of_reach = asked.ignore_unreachable or not changes
    return open_children(dataset, asked.children, may_be_out_of_reach=may_be_out_of_reach)


def _draw(asked: DescribeOptions, path: Path, dataset: Dataset, parent: Dataset | None) -> None:
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
