"""Publish a release of a validated dataset."""

from functools import partial
from typing import Self

import tyro
from pydantic import model_validator

from cluster.job.command import JobConfig, OptionalCount, run_command
from schemas.options import value_of
from schemas.place import Place
from schemas.release import ReleaseName

Switch = tyro.conf.FlagCreatePairsOff


class PublishJob(JobConfig):
    """Publish a release: exactly the shards of a passing report. A release never changes.

    With --drop-failed, the release has exactly the samples that passed every limit on single
    samples: they are copied into a dataset of their own, the filtered dataset, which is released.
    """

    input: Place
    """the validated dataset"""
    release: ReleaseName
    """name of the release, e.g. a date; letters, digits, dots, dashes"""
    report: str | None = None
    """id of the report to release by; default the latest"""
    drop_failed: Switch[bool] = False
    """leave out every sample that missed a limit on single samples; the report as a whole has to
    pass all the same"""
    abandon: Switch[bool] = False
    """give up the release of this name, which was begun and not finished, instead of making one;
    the name is not used again"""
    kept: Place | None = None
    """with --drop-failed: where the filtered dataset goes, a folder or s3://bucket/prefix; default
    beside the input, <input>-kept"""
    workers: OptionalCount = None
    """parallel workers of --drop-failed; default one per core"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.abandon and (self.drop_failed or self.report is not None):
            raise ValueError("--abandon goes with --input and --release alone")
        if not self.drop_failed and (self.kept is not None or self.workers is not None):
            raise ValueError("--kept and --workers go with --drop-failed")
        return self


def main(job: PublishJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.progress import progress_of
    from cluster.on_ray.session import start
    from factory.dataset.dataset import Dataset
    from factory.release.publish import read_report
    from factory.release.run import abandon_release, release_dataset

    # What cannot be used is refused before the run makes its folder there.
    dataset = Dataset.open(job.input)
    dataset.require_current_format()
    if job.report is not None:
        with value_of(f"--report {job.report}"):
            read_report(dataset, job.report)
    if job.abandon:
        abandon_release(job.input, job.release)
        return
    with start(job, job.input, workers=job.workers) as session:
        release_dataset(
            job.input,
            job.release,
            report=job.report,
            drop_failed=job.drop_failed,
            filtered=job.kept,
            make_shards=session.make_shards,
            progress=partial(progress_of, "publish", "shards"),
        )


if __name__ == "__main__":
    run_command(PublishJob, main)
