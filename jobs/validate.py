"""Measure whether a refined dataset kept its labels and became more realistic."""

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from cluster.command import GateFailedError, JobConfig, run_command
from cluster.session import start
from factory import validate
from factory.gate import explain, load_gate
from factory.labels.pupil import PupilFinder
from factory.realism import TwoSampleTest, comparisons, realism_of
from factory.report import assemble

log = logging.getLogger(__name__)


class ValidateJob(JobConfig):
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html (pictures first), report.json, and
    every sample's measurements. With --gate, exit code 3 says that a limit was missed.
    """

    input: str
    """the refined dataset"""
    real: str
    """dataset of camera images to compare with"""
    gate: Path | None = None
    """TOML file of limits, e.g. gates/eye.toml"""
    parent: str | None = None
    """where the synthetic parent lies now, if it was moved"""
    split: str | None = None
    """validate this split alone, e.g. one that the refiner was not trained on; default all"""
    finder: PupilFinder = PupilFinder()
    """the pupil finder; its eye width is that of the dataset's card"""
    test: TwoSampleTest = TwoSampleTest()
    seed: Annotated[int, Field(ge=0)] = 0
    """of the samples that calibration and realism are measured on"""
    num_calibration: Annotated[int, Field(gt=0)] = 500
    """samples that the pupil finder is calibrated on"""
    num_realism: Annotated[int, Field(gt=0)] = 3000
    """images of each kind for the two-sample tests"""
    notes: tuple[str, ...] = ()
    """sentences for the top of the page, e.g. that the real images are stand-ins"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""


def main(job: ValidateJob) -> None:
    gate = load_gate(job.gate) if job.gate is not None else None
    trio = validate.open_trio(job.input, job.real, job.parent)
    crop = validate.crop_of(trio.parent)
    finder = job.finder.model_copy(update={"eye_width_px": crop.eye_width_px})
    with start(job, job.input, workers=job.workers) as session:
        shards = validate.shards_of(trio.refined, job.split)
        validate.check_enough(trio, shards, job.split)
        num_samples = sum(facts.num_samples for facts in trio.refined.all_facts(shards))
        report_id = validate.new_report_id()
        task = validate.validate_task(trio, report_id, finder)
        session.make_shards("validate", task, shards, num_samples)

        log.info("calibrating the pupil finder and testing realism")
        sampled = validate.sample_pairs(trio, shards, job.num_realism, job.seed)
        real = validate.sample_images(trio.real, job.split, job.num_realism, job.seed)
        calibration, *realism = session.side_by_side(
            [
                partial(
                    validate.calibrate_on,
                    sampled,
                    crop,
                    finder,
                    job.seed,
                    job.num_calibration,
                ),
                *comparisons(sampled.synthetic, sampled.refined, real, job.test),
            ]
        )
        table, change = assemble.read_samples(trio, report_id, shards)
        measured = assemble.Measured(
            table,
            change,
            calibration,
            realism_of(realism),
        )
        report = assemble.make_report(trio, report_id, shards, measured, gate)
        page = assemble.write_report(trio, report, measured, sampled, real, finder, job.notes)
        for line in assemble.summary_lines(report):
            log.info("%s", line)
        log.info("report: %s", f"{trio.refined.location}/{page}")
        if gate is not None:
            log.info("%s", explain(report.checks))
        if report.passed is False:
            raise GateFailedError(f"{job.input} misses limits of {job.gate}")


if __name__ == "__main__":
    run_command(ValidateJob, main)
