"""Publish a release of a validated dataset."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Self

import tyro
from pydantic import model_validator

from cluster.job.command import JobConfig, OptionalCount, run_command
from factory.store.open import is_remote
from schemas.export import Licence
from schemas.options import value_of
from schemas.place import Place
from schemas.release import NewReleaseName

Switch = tyro.conf.FlagCreatePairsOff


class PublishJob(JobConfig):
    """Publish a release: exactly the shards of a passing report. A release never changes.

    With --drop-failed, the release has exactly the samples that passed every limit on single
    samples: they are copied into a dataset of their own, the filtered dataset, which is released.

    With --export, the release is also written to a folder of its own, which Hugging Face datasets,
    webdataset, Megatron-Energon, mlcroissant and pycocotools read without the dataset. A release
    that exists already is exported as it is.
    """

    input: Place
    """the validated dataset"""
    release: NewReleaseName
    """name of the release, e.g. a date: letters, digits, dots, dashes; latest is not allowed"""
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
    latest: bool = True
    """let readers of releases/latest get this release, also if it is there already"""
    export: Place | None = None
    """write the release to this folder too, which must not exist yet; it appears once whole"""
    licence: Licence | None = None
    """with --export: the licence of the data, as the card of the export states it, e.g. CC-BY-4.0;
    default: not stated"""
    workers: OptionalCount = None
    """parallel workers of --drop-failed; default one per core"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        others = (self.report, self.export)
        if self.abandon and (self.drop_failed or any(given is not None for given in others)):
            raise ValueError("--abandon goes with --input and --release alone")
        if not self.drop_failed and (self.kept is not None or self.workers is not None):
            raise ValueError("--kept and --workers go with --drop-failed")
        if self.export is None and self.licence is not None:
            raise ValueError("--licence goes with --export")
        if self.export is not None and is_remote(self.export):
            raise ValueError(f"--export writes to a local folder, {self.export} is none")
        return self


def main(job: PublishJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.dataset.dataset import Dataset
    from factory.release.publish import read_report
    from factory.release.run import abandon_release, beside_location, is_released, publish

    # What cannot be used is refused before the run makes its folder there.
    dataset = Dataset.open(job.input)
    is_there = not job.drop_failed and job.report is None and is_released(dataset, job.release)
    is_made = job.export is None or not is_there
    if is_made:
        dataset.require_current_format()
    if job.report is not None:
        with value_of(f"--report {job.report}"):
            read_report(dataset, job.report)
    if job.abandon:
        abandon_release(job.input, job.release)
        return
    if job.export is not None:
        from factory.export.run import export_release, require_packages

        require_packages()
    with start(job, job.input, workers=job.workers) as session:
        if is_made:
            publish(
                dataset,
                job.release,
                report=job.report,
                drop_failed=job.drop_failed,
                kept=job.kept,
                latest=job.latest,
                on=partial(nullcontext, session),
            )
        if job.export is not None:
            if job.drop_failed:
                dataset = Dataset.open(job.kept or beside_location(dataset.location))
            export_release(
                dataset,
                job.release,
                Path(job.export),
                licence=job.licence,
                progress=session.progress("export", "shards"),
            )


if __name__ == "__main__":
    run_command(PublishJob, main)
