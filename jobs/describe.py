"""Look into a dataset or a release, check it, clean it up, mend it."""

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, model_validator

from cluster.job.command import JobConfig, run_command
from cluster.job.progress import Progress
from cluster.on_ray.session import Session, start
from factory.dataset.dataset import CARD, Dataset
from factory.dataset.lineage import open_parent
from factory.dataset.shard_tasks import MakeTask, Stage
from factory.release.state import (
    ReleaseState,
    held_by,
    read_manifest,
    release_at,
    release_state,
)
from factory.store.atomic import write_atomically
from factory.store.open import absolute, open_store
from factory.upkeep.contact_sheet import contact_sheet, pick_tiles
from factory.upkeep.describe import Description, describe
from factory.upkeep.describe_text import release_text, text_of
from factory.upkeep.garbage import Stray, clean, stray_objects
from factory.upkeep.repair import (
    FromParent,
    FromSource,
    KeptFromParent,
    Means,
    RepairReport,
    apply_repairs,
    repairs_for,
    stale_children,
)
from factory.upkeep.upkeep_text import problem_lines, repair_lines, stray_lines
from factory.upkeep.verify import (
    NotWholeError,
    problems_of,
    shards_to_verify,
    verify_reports_and_releases,
    verify_task,
)
from schemas.base import Model
from schemas.outcome import Outcome
from schemas.problem import Problem

log = logging.getLogger(__name__)
Switch = tyro.conf.FlagCreatePairsOff


class DescribeJob(JobConfig):
    """Look into a dataset or a release, check it, clean it up, mend it.

    Without further options: what is in it, read from its indexes; nothing is written.
    """

    input: str
    """dataset, or one of its releases (DATASET/releases/NAME): a folder, or s3://bucket/prefix"""
    verify: Switch[bool] = False
    """read everything and compare every part with the others; exit code 1 if anything is wrong"""
    gc: Switch[bool] = False
    """list what is not part of the dataset: tars without index, leftovers, foreign objects"""
    delete: Switch[bool] = False
    """with --gc: commit orphan tars that are whole, remove what is surely nobody's"""
    older_than_hours: Annotated[float, Field(ge=0)] = 24.0
    """--gc removes only what did not change for so long, and nothing while a run holds a lease"""
    repair: Switch[bool] = False
    """verify, and say how damaged shards would be mended"""
    apply: Switch[bool] = False
    """with --repair: withdraw damaged shards and make them again"""
    shards: tuple[int, ...] = ()
    """verify and repair only these shards"""
    source_input: str | None = None
    """with --repair: where the inputs of an ingested dataset lie, to make shards again; without,
    the next ingest does"""
    refiner: str | None = None
    """with --repair: the refiner of a refined dataset, to make shards again; without, the next
    refine does"""
    device: Literal["cpu", "cuda"] = "cpu"
    """that --repair refines on"""
    withdraw_stale: Switch[bool] = False
    """with --repair: also withdraw shards that were refined from a parent shard that changed"""
    parent: str | None = None
    """where the parent of a refined dataset lies now, if it was moved"""
    children: tuple[str, ...] = ()
    """datasets refined from this one, to name those of their shards that are stale"""
    contact_sheet: Path | None = None
    """write a page of pictures to this PNG file; a refined dataset's below their parent's"""
    num_images: Annotated[int, Field(gt=0)] = 48
    """on the contact sheet"""
    draw_pupil: Switch[bool] = False
    """mark the label's pupil centre on the contact sheet"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the choice of images on the contact sheet"""
    as_json: Annotated[Switch[bool], tyro.conf.arg(aliases=["--json"])] = False
    """print one JSON object instead of text"""
    workers: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """parallel workers of --verify and --repair; default one a core"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for needed, given in (
            ("gc", "delete"),
            ("repair", "apply"),
            ("repair", "source_input"),
            ("repair", "refiner"),
            ("repair", "withdraw_stale"),
        ):
            if getattr(self, given) and not getattr(self, needed):
                raise ValueError(f"--{given.replace('_', '-')} goes with --{needed}")
        if self.shards and not (self.verify or self.repair):
            raise ValueError("--shards goes with --verify or --repair")
        if self.gc and self.repair:
            raise ValueError("--gc and --repair are two commands: mend first, then clean up")
        return self


class Answer(Model):
    """What `--json` prints."""

    dataset: Description | None = None
    release: ReleaseState | None = None
    problems: tuple[Problem, ...] | None = None
    """None where nothing was verified"""
    verified: str | None = None
    """what was read for that"""
    strays: tuple[Stray, ...] | None = None
    repair: RepairReport | None = None


def main(job: DescribeJob) -> None:
    release = release_at(job.input)
    if release is None or _is_dataset(job.input):  # it may lie in a folder called releases
        answer = _of_dataset(job)
    else:
        answer = _of_release(job, *release)
    if job.as_json:
        shown = answer.model_dump(mode="json", exclude_none=True)
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(answer, job)))
    problems = len(answer.problems or ())
    if answer.repair is not None and answer.repair.failed is not None:
        raise NotWholeError(f"{job.input}: {answer.repair.failed}")
    if problems:
        raise NotWholeError(f"{job.input}: {problems} problems, each is listed above with its fix")


def _is_dataset(location: str) -> bool:
    return open_store(location.removesuffix("/manifest.json")).size(CARD) is not None


def _of_dataset(job: DescribeJob) -> Answer:
    dataset = Dataset.open(job.input)
    parent = _parent(job, dataset)
    answer = Answer(dataset=None if job.gc else _describe(job, dataset))
    if job.verify or job.repair or job.gc:
        with _session(job, dataset) as session:
            if job.verify or job.repair:
                shards = list(job.shards) or shards_to_verify(dataset)
                described = None if job.shards else answer.dataset
                num_samples = described.num_samples if described is not None else None
                found = _verify(session, dataset, parent, shards, num_samples=num_samples)
                read = _read(dataset, parent, shards)
                answer = answer.model_copy(update={"problems": found, "verified": read})
            if job.repair:
                answer = _repair(job, session, dataset, parent, answer)
            if job.gc:
                answer = answer.model_copy(update={"strays": _gc(job, dataset, parent)})
    if job.contact_sheet is not None:
        _draw(job, dataset, parent)
    return answer


def _of_release(job: DescribeJob, location: str, name: str) -> Answer:
    if job.gc or job.repair or job.contact_sheet is not None:
        raise ValueError(f"{job.input} is a release: give its dataset, {location}")
    dataset = Dataset.open(location)
    manifest = read_manifest(dataset, name)
    shards = [shard.shard for shard in manifest.shards]
    problems, read = None, None
    if job.verify:
        parent = _parent(job, dataset)
        with _session(job, dataset) as session:
            problems = _verify(session, dataset, parent, shards, [name], manifest.num_samples)
        read = _read(dataset, parent, shards)
    damaged = {problem.shard for problem in problems or () if problem.shard is not None}
    state = release_state(dataset, manifest, held_by(dataset, shards, damaged))
    return Answer(release=state, problems=problems, verified=read)


def _read(dataset: Dataset, parent: Dataset | None, shards: Sequence[int]) -> str:
    """What an integrity check reads."""
    orphan = dataset.card.parent is not None and parent is None
    return f"{len(shards):,} of {len(shards_to_verify(dataset)):,} shards" + (
        ", not compared with their parent, which is out of reach" if orphan else ""
    )


def _parent(job: DescribeJob, dataset: Dataset) -> Dataset | None:
    try:
        return open_parent(dataset, job.parent)
    except (OSError, ValueError) as error:
        if job.parent is not None:
            raise
        log.warning("not compared with its parent: %s", error)
        return None


@contextmanager
def _session(job: DescribeJob, dataset: Dataset) -> Iterator[Session]:
    """A run of the dataset where it is changed; else one that leaves nothing there."""
    with tempfile.TemporaryDirectory(prefix="simgan-describe-") as elsewhere:
        place = dataset.location if job.delete or job.apply else elsewhere
        with start(job, place, workers=job.workers) as session:
            yield session


def _describe(job: DescribeJob, dataset: Dataset) -> Description:
    progress = Progress("describe", len(dataset.committed()), "shards")
    try:
        return describe(dataset, parent=job.parent, on_shard=lambda _: progress.advance(1))
    finally:
        progress.close()


def _verify(
    session: Session,
    dataset: Dataset,
    parent: Dataset | None,
    shards: Sequence[int],
    releases: Sequence[str] | None = None,
    num_samples: int | None = None,
) -> tuple[Problem, ...]:
    if num_samples is None:
        num_samples = len(shards) * dataset.card.shard_size
    outcomes = session.make_shards("verify", verify_task(dataset, parent), shards, num_samples)
    found = problems_of(outcomes)
    damaged = {problem.shard for problem in found if problem.shard is not None}
    return (*found, *verify_reports_and_releases(dataset, damaged, releases))


def _repair(
    job: DescribeJob,
    session: Session,
    dataset: Dataset,
    parent: Dataset | None,
    answer: Answer,
) -> Answer:
    means = means_of(job, dataset, parent)
    children = [Dataset.open(location) for location in job.children]
    problems = answer.problems or ()
    repairs = repairs_for(
        dataset, problems, means=means, parent=parent, withdraw_stale=job.withdraw_stale
    )
    if not job.apply:
        stale = stale_children(dataset, children)
        report = RepairReport(repairs=tuple(repairs), applied=False, stale=stale)
        return answer.model_copy(update={"repair": report})

    def make_shards(work: MakeTask | Sequence[Stage], shards: Sequence[int]) -> list[Outcome]:
        return session.make_shards("repair", work, shards, len(shards) * dataset.card.shard_size)

    report = apply_repairs(
        dataset, repairs, means=means, parent=parent, children=children, make_shards=make_shards
    )
    touched = [repair.shard for repair in repairs if repair.obstacle is None]
    again = _verify(session, dataset, parent, touched)
    left = [p for p in problems if p.shard is not None and p.shard not in touched]
    damaged = {p.shard for p in (*left, *again) if p.shard is not None}
    elsewhere = verify_reports_and_releases(dataset, damaged)
    found = (*left, *(p for p in again if p.shard is not None), *elsewhere)
    return answer.model_copy(update={"repair": report, "problems": found})


def means_of(job: DescribeJob, dataset: Dataset, parent: Dataset | None) -> Means | None:
    """What damaged shards are made from again.

    Raises:
        ValueError: that cannot be what this dataset was made from.
    """
    if dataset.card.parent is None:
        if job.refiner is not None:
            raise ValueError(f"{job.input} was not refined: give --source-input, not --refiner")
        if job.source_input is None:
            return None
        return FromSource(dataset, absolute(job.source_input))
    if dataset.card.kept is not None:
        if job.source_input is not None or job.refiner is not None:
            raise ValueError(
                f"{job.input} holds samples of its parent as they are: its shards are made again "
                "from there, without --refiner and --source-input"
            )
        return KeptFromParent(dataset, parent) if parent is not None else None
    if job.source_input is not None:
        raise ValueError(f"{job.input} was refined: give --refiner, not --source-input")
    if job.refiner is None:
        return None
    if parent is None:
        raise ValueError(f"{job.input}: its parent is not where it was; say where with --parent")
    return FromParent(dataset, parent, absolute(job.refiner), device=job.device)


def _gc(job: DescribeJob, dataset: Dataset, parent: Dataset | None) -> tuple[Stray, ...]:
    strays = stray_objects(dataset, parent, older_than_s=job.older_than_hours * 3600)
    if not job.delete:
        return tuple(strays)
    return tuple(clean(dataset, strays, parent))


def _draw(job: DescribeJob, dataset: Dataset, parent: Dataset | None) -> None:
    assert job.contact_sheet is not None
    if dataset.card.kept is not None:  # the parent's pictures are the same ones
        parent = None
    tiles = pick_tiles(dataset, parent, job.num_images, job.seed)
    card = dataset.card
    below = "; above the parent's image, below the refined one" if parent is not None else ""
    columns = {column.name for column in dataset.sample_kind.columns(card.labelled)}
    gaze = "; label: gaze yaw, pitch" if "gaze_yaw_rad" in columns else ""
    title = f"{card.name}: {card.kind} {card.domain} images"
    subtitle = f"{dataset.location}: {len(tiles)} images, seed {job.seed}{below}{gaze}"
    page = contact_sheet(tiles, title, subtitle, draw_pupil=job.draw_pupil)
    write_atomically(job.contact_sheet, page)
    log.info("%d images on %s", len(tiles), job.contact_sheet)


def _lines(answer: Answer, job: DescribeJob) -> Iterator[str]:
    if answer.dataset is not None and not job.repair:
        yield text_of(answer.dataset)
    if answer.release is not None:
        yield release_text(answer.release, job.input)
    if answer.problems is not None:
        yield ""
        yield from problem_lines(answer.problems, answer.verified or "")
    if answer.repair is not None:
        yield from repair_lines(answer.repair)
    if answer.strays is not None:
        yield from stray_lines(answer.strays)


if __name__ == "__main__":
    run_command(DescribeJob, main)
