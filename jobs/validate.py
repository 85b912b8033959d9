"""Measure whether a refined dataset kept its labels and became more realistic."""

from pathlib import Path

from cluster.job.command import GateFailedError, run_command
from cluster.job.measuring import MeasuringJob
from factory.domains.registry import domain_of, options_by_domain, options_of
from factory.validation.settings import ValidationSettings
from schemas.place import Place
from schemas.shipped import GateFile


class ValidateJob(MeasuringJob, ValidationSettings, *options_of("validation_options")):
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html (pictures first), report.json, and
    every sample's verdict; and measures/, every sample's measurements. Another run measures only
    new shards. With --gate, exit code 3 says that a limit was missed.
    """

    real: Place
    """dataset of camera images to compare with"""
    gate: GateFile | None = None
    """TOML file of limits that decide pass or fail, or the name of one that comes with
    simgan-factory: eye, hand"""
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
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.validation.pairs import open_trio
    from factory.validation.run import Validation

    trio = open_trio(job.input, job.real, job.parent)
    domain = domain_of(trio.refined)
    measuring = options_by_domain(job, "measuring_options")[domain.name]
    options = options_by_domain(job, "validation_options")[domain.name]
    validation = Validation.prepare(
        trio,
        domain.validator(),
        job.networks(),
        measuring,
        gate=job.gate,
        against=job.against,
        evaluation=job.evaluation,
        inception=job.inception,
    )
    trio.refined.require_current_format()
    if job.split is not None:
        for dataset in (trio.refined, trio.real):
            dataset.require_splits(job.split)
    with start(job, job.input, workers=job.workers) as session:
        report = validation.run(
            job.split,
            job.part(ValidationSettings),
            options,
            job.notes,
            make_shards=session.make_shards,
            side_by_side=session.side_by_side,
        )
        if report.passed is False:
            raise GateFailedError(f"{job.input} misses limits of {job.gate}")


if __name__ == "__main__":
    run_command(ValidateJob, main)
