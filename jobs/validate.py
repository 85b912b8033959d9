"""Measure whether a refined dataset kept its labels and became more realistic."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cluster.job.command import GateFailedError, run_command
from cluster.job.measuring import MeasuringJob
from factory.domains.registry import options_by_domain, options_of
from factory.tracking.options import MlflowOptions
from factory.validation.settings import ValidationSettings
from schemas.place import Place
from schemas.shipped import GateFile

if TYPE_CHECKING:
    from schemas.report import Report


class ValidateJob(
    MeasuringJob, ValidationSettings, MlflowOptions, *options_of("validation_options")
):
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html (pictures first), report.json, and
    every sample's verdict; and measures/, every sample's measurements. Another run measures only
    new shards. With --gate, exit code 3 says that a limit was missed.
    """

    real: Place
    """dataset of camera images to compare with"""
    gate: GateFile | None = None
    """TOML file of limits that decide pass or fail, or the name of one that comes with
    simgan-factory: eye, eye-landmarks, hand, demo, demo-hand"""
    leave_out: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """shards that are not validated, and of which a release by this report holds nothing"""
    against: str | None = None
    """id of an earlier report of this dataset, or the path of any report.json, to compare with"""
    evaluation: Place | None = None
    """output of an evaluation with this refiner (the job `evaluate`), whose verdict the report
    repeats"""
    inception: Path | None = None
    """file of Inception's weights, which docs/validation.md says where to download: the report then
    has FID and KID to compare with papers (extra fidelity)"""
    notes: tuple[str, ...] = ()
    """sentences for the top of the page, e.g. that the real images are stand-ins"""


def main(job: ValidateJob) -> None:
    if validated(job).passed is False:
        raise GateFailedError(f"{job.input} misses limits of {job.gate}")


def validated(job: ValidateJob) -> "Report":
    """Do what the job is for, but leave it to the caller to refuse what missed the gate."""
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.domains.validation import validate

    return validate(
        job.input,
        real=job.real,
        gate=job.gate,
        witnesses=job.witnesses,
        parent=job.parent,
        split=job.split,
        leave_out=job.leave_out,
        settings=job.part(ValidationSettings),
        measuring=options_by_domain(job, "measuring_options"),
        options=options_by_domain(job, "validation_options"),
        against=job.against,
        evaluation=job.evaluation,
        inception=job.inception,
        notes=job.notes,
        mlflow=job.mlflow,
        mlflow_experiment=job.mlflow_experiment,
        on=partial(start, job, job.input, workers=job.workers),
    )


if __name__ == "__main__":
    run_command(ValidateJob, main)
