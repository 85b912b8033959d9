"""Publish a release of a validated dataset."""

import logging
from typing import Annotated, Self

import tyro
from pydantic import Field, model_validator

from cluster.job.command import JobConfig, run_command
from cluster.on_ray.session import Session, start
from factory.dataset.dataset import Dataset
from factory.release.filtered import (
    FilteredContent,
    enter_filtered,
    filter_task,
    reasons_in,
)
from factory.release.publish import latest_report, publish
from factory.store.open import name_of
from schemas.dataset import ReleaseName

log = logging.getLogger(__name__)
Switch = tyro.conf.FlagCreatePairsOff


class PublishJob(JobConfig):
    """Publish a release: exactly the shards of a passing report, immutable from then on.

    With --drop-failed, exactly the samples that the report keeps: they are copied into a filtered
    dataset of their own, and the release lies there.
    """

    input: str
    """the validated dataset"""
    release: ReleaseName
    """name of the release, e.g. a date; letters, digits, dots, dashes"""
    report: str | None = None
    """id of the report to release by; default the latest"""
    drop_failed: Switch[bool] = False
    """leave out every sample that missed a limit on single samples; the report as a whole has to
    pass all the same"""
    kept: str | None = None
    """with --drop-failed: where the filtered dataset lies, a folder or s3://bucket/prefix; default
    beside the input, <input>-kept"""
    workers: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """parallel workers of --drop-failed; default one a core"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.drop_failed and (self.kept is not None or self.workers is not None):
            raise ValueError("--kept and --workers go with --drop-failed")
        return self


def main(job: PublishJob) -> None:
    dataset = Dataset.open(job.input)
    with start(job, job.input, workers=job.workers) as session:
        report_id = job.report if job.report is not None else latest_report(dataset)
        if job.drop_failed:
            dataset = _filtered(job, dataset, report_id, session)
        manifest = publish(dataset, job.release, report_id)
        log.info(
            "released %d samples in %d shards: %s",
            manifest.num_samples,
            len(manifest.shards),
            f"{dataset.location}/releases/{job.release}/manifest.json",
        )


def _filtered(job: PublishJob, parent: Dataset, report_id: str, session: Session) -> Dataset:
    """The dataset of the samples that a report keeps, whole."""
    location = job.kept if job.kept is not None else beside(parent)
    child = enter_filtered(parent, report_id, location, name_of(location))
    content = FilteredContent(child, parent)
    missing = sorted(set(content.validated) - set(child.committed()))
    num_samples = sum(facts.num_samples for facts in parent.all_facts(missing))
    session.make_shards("keep", filter_task(child, parent), missing, num_samples)
    num_kept = sum(facts.num_samples for facts in child.all_facts(child.committed()))
    reasons = (f"{name} {count}" for name, count in reasons_in(content.verdicts).most_common())
    log.info(
        "%s: %d of %d samples kept; limits missed: %s",
        child.location,
        num_kept,
        len(content.verdicts),
        ", ".join(reasons) or "none",
    )
    return child


def beside(parent: Dataset) -> str:
    """Where a dataset's filtered child lies by default.

    Raises:
        ValueError: the dataset is a whole bucket, beside which there is nothing.
    """
    if parent.location.startswith("s3://") and parent.location.count("/") == 2:
        raise ValueError(f"{parent.location} is a whole bucket: say where to keep with --kept")
    return f"{parent.location}-kept"


if __name__ == "__main__":
    run_command(PublishJob, main)
