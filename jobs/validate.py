"""Measure whether a refined dataset kept its labels and became more realistic."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from cluster.command import GateFailedError, JobConfig, run_command
from cluster.session import Session, start
from factory import validate
from factory.dataset import Dataset
from factory.eye_measures import EyeWitnesses
from factory.gate import explain, load_gate
from factory.labels.camera_pairs import camera_pairs
from factory.labels.pupil import PupilFinder
from factory.looks.measure import LookSettings, look_parts, looks_of
from factory.measuring import measure_task, not_measured, read_measures
from factory.publish import read_report, report_name
from factory.realism import TwoSampleTest, comparisons, realism_of
from factory.report import assemble
from factory.store import absolute
from factory.witnesses import measure_null
from schemas.report import Report

log = logging.getLogger(__name__)


class ValidateJob(JobConfig):
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html (pictures first), report.json, and
    every sample's verdict; and measures/, every sample's measurements, which the next run takes
    up: it measures new shards alone. With --gate, exit code 3 says that a limit was missed.
    """

    input: str
    """the refined dataset"""
    real: str
    """dataset of camera images to compare with"""
    gate: Path | None = None
    """TOML file of limits, e.g. gates/eye.toml"""
    landmarks: str | None = None
    """a landmark network to measure iris and lids with: the output of jobs/landmarks.py. Another
    one than the refiner was trained with (--label-network): that one it was made to please"""
    gaze: str | None = None
    """a gaze network to measure the direction of gaze with: the output of jobs/gaze.py"""
    parent: str | None = None
    """where the synthetic parent lies now, if it was moved"""
    split: str | None = None
    """validate this split alone, e.g. one that the refiner was not trained on; default all"""
    finder: PupilFinder = PupilFinder()
    """the pupil finder; its eye width is that of the dataset's card"""
    test: TwoSampleTest = TwoSampleTest()
    """the classifier two-sample test"""
    looks: LookSettings = LookSettings()
    """the other measures of looks"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the samples that calibration and realism are measured on"""
    num_calibration: Annotated[int, Field(gt=0)] = 500
    """samples that the witnesses are calibrated on"""
    num_realism: Annotated[int, Field(gt=0)] = 3000
    """images of each kind for the two-sample tests"""
    against: str | None = None
    """id of an earlier report of this dataset, or the path of any report.json, to compare with"""
    notes: tuple[str, ...] = ()
    """sentences for the top of the page, e.g. that the real images are stand-ins"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""


def main(job: ValidateJob) -> None:
    gate = load_gate(job.gate) if job.gate is not None else None
    trio = validate.open_trio(job.input, job.real, job.parent)
    crop = validate.crop_of(trio.parent)
    finder = job.finder.model_copy(update={"eye_width_px": crop.eye_width_px})
    places = (absolute(place) if place else None for place in (job.landmarks, job.gaze))
    witnesses = EyeWitnesses.of(finder, *places, image=trio.refined.card.image)
    earlier = _earlier(trio.refined, job.against)
    with start(job, job.input, workers=job.workers) as session:
        shards = validate.shards_of(trio.refined, job.split)
        validate.check_enough(trio, shards, job.split)
        _measure(session, trio, shards, witnesses)
        log.info("calibrating the witnesses and testing realism")
        sampled = validate.sample_pairs(trio, shards, job.num_realism, job.seed)
        real = validate.sample_images(trio.real, job.split, job.num_realism, job.seed)
        known = validate.calibration_part(sampled, job.num_calibration)
        pairs = camera_pairs(crop, job.num_calibration, job.seed)
        who = validate.identities_of(sampled)
        parts = look_parts(sampled.synthetic, sampled.refined, real, job.looks, identities=who)
        tests = comparisons(sampled.synthetic, sampled.refined, real, job.test)
        calibration, null, *others = session.side_by_side(
            [
                partial(validate.calibrate_on, known, pairs, finder, job.seed),
                partial(measure_null, known.synthetic, known.index, pairs, witnesses, job.seed),
                *tests,
                *parts,
            ]
        )
        measured = assemble.Measured(
            read_measures(trio.refined, shards, witnesses),
            calibration,
            null,
            realism_of(others[: len(tests)]),
            looks_of(others[len(tests) :]),
            witnesses,
        )
        report_id = validate.new_report_id()
        report, verdicts = assemble.make_report(trio, report_id, shards, measured, gate)
        page = assemble.write_report(
            trio, report, verdicts, measured, sampled, real, job.notes, earlier
        )
        for line in assemble.summary_lines(report):
            log.info("%s", line)
        log.info("report: %s", f"{trio.refined.location}/{page}")
        if gate is not None:
            log.info("%s", explain(report))
        if report.passed is False:
            raise GateFailedError(f"{job.input} misses limits of {job.gate}")


def _earlier(dataset: Dataset, against: str | None) -> Report | None:
    """The report to compare with."""
    if against is None:
        return None
    if dataset.store.size(report_name(against)) is not None:
        return read_report(dataset, against)[0]
    path = Path(against)
    if not path.is_file():
        raise FileNotFoundError(
            f"{against} is neither a report of {dataset.location} nor a report.json"
        )
    return Report.from_json(path.read_bytes(), where=against)


def _measure(
    session: Session, trio: validate.Trio, shards: Sequence[int], witnesses: EyeWitnesses
) -> None:
    """Measure the shards that are not measured yet."""
    missing = not_measured(trio.refined, trio.parent, shards, witnesses)
    log.info("%d of %d shards to measure", len(missing), len(shards))
    num_samples = sum(facts.num_samples for facts in trio.refined.all_facts(missing))
    task = measure_task(trio.refined, trio.parent, witnesses)
    session.make_shards("validate", task, missing, num_samples)


if __name__ == "__main__":
    run_command(ValidateJob, main)
