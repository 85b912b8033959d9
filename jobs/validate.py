"""Measure whether a refined dataset kept its labels and became more realistic."""

import logging
from pathlib import Path

from cluster.job.command import GateFailedError, run_command
from cluster.on_ray.measuring import MeasuringJob, measure
from cluster.on_ray.session import start
from factory.dataset.dataset import Dataset
from factory.domains.registry import domain_of
from factory.release.publish import report_name
from factory.validation import sampling as validate
from factory.validation.gate import explain, load_gate
from factory.validation.protocols import ValidationSettings
from factory.validation.report import assemble
from schemas.report import Report

log = logging.getLogger(__name__)


class ValidateJob(MeasuringJob, ValidationSettings):
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html (pictures first), report.json, and
    every sample's verdict; and measures/, every sample's measurements, which the next run takes
    up: it measures new shards alone. With --gate, exit code 3 says that a limit was missed.
    """

    real: str
    """dataset of camera images to compare with"""
    gate: Path | None = None
    """TOML file of limits, e.g. gates/eye.toml"""
    against: str | None = None
    """id of an earlier report of this dataset, or the path of any report.json, to compare with"""
    notes: tuple[str, ...] = ()
    """sentences for the top of the page, e.g. that the real images are stand-ins"""


def main(job: ValidateJob) -> None:
    trio = validate.open_trio(job.input, job.real, job.parent)
    validator = domain_of(trio.refined).validator()
    gate = load_gate(job.gate, validator.report) if job.gate is not None else None
    witnesses = validator.witnesses(trio.refined, trio.parent, job.networks(), job.finder)
    earlier = _earlier(trio.refined, job.against, validator.report)
    with start(job, job.input, workers=job.workers) as session:
        shards = validate.shards_of(trio.refined, job.split)
        validate.check_enough(trio, shards, job.split)
        measure(session, trio.refined, trio.parent, shards, witnesses, "validate")
        log.info("calibrating the witnesses and testing realism")
        examined = validator.examine(
            trio, shards, job.split, witnesses, job.part(ValidationSettings), session.side_by_side
        )
        report, verdicts = assemble.make_report(
            trio, validate.new_report_id(), shards, validator, examined, gate
        )
        page = assemble.write_report(trio, report, verdicts, examined, job.notes, earlier)
        for line in assemble.summary_lines(report, validator):
            log.info("%s", line)
        log.info("report: %s", f"{trio.refined.location}/{page}")
        if gate is not None:
            log.info("%s", explain(report))
        if report.passed is False:
            raise GateFailedError(f"{job.input} misses limits of {job.gate}")


def _earlier(dataset: Dataset, against: str | None, kind: type[Report]) -> Report | None:
    """The report to compare with."""
    if against is None:
        return None
    name = report_name(against)
    if dataset.store.size(name) is not None:
        return kind.from_json(dataset.store.read(name), where=f"{dataset.location}/{name}")
    path = Path(against)
    if not path.is_file():
        raise FileNotFoundError(
            f"{against} is neither a report of {dataset.location} nor a report.json"
        )
    return kind.from_json(path.read_bytes(), where=against)


if __name__ == "__main__":
    run_command(ValidateJob, main)
