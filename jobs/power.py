"""Plant damage in a refined dataset and tell how little of it validation catches."""

import logging
from functools import partial
from typing import Annotated

import tyro
from pydantic import Field

from cluster.command import JobConfig, run_command
from cluster.session import start
from factory import validate
from factory.damage.kinds import DAMAGES
from factory.eye_measures import EyeWitnesses
from factory.labels.pupil import PupilFinder
from factory.measuring import measure_task, not_measured, read_measures
from factory.plant import DamageMeasurer
from factory.power import PowerSettings
from factory.power_report import curves_png, gate_toml, markdown, power_of
from factory.store import absolute, open_store

log = logging.getLogger(__name__)


class PowerJob(JobConfig, PowerSettings):
    """Plant damage in a refined dataset and tell how little of it validation catches.

    The dataset is taken to be good. Half of its identities set the limits, on the other half false
    alarms are counted and every kind of damage is planted. Writes power.md (the table), power.png
    (the curves), power.json, and gate.toml: the limits on samples, to be reviewed and put into a
    gate. What is measured is kept in damaged/, so a stopped run goes on.
    """

    input: str
    """a refined dataset that is known to be good"""
    output: str
    """folder for the results, or s3://bucket/prefix"""
    landmarks: str | None = None
    """landmark network, the output of jobs/landmarks.py"""
    gaze: str | None = None
    """gaze network, the output of jobs/gaze.py"""
    parent: str | None = None
    """where the synthetic parent lies now, if it was moved"""
    split: str | None = None
    """use this split alone; default all"""
    finder: PupilFinder = PupilFinder()
    """the pupil finder; its eye width is that of the dataset's card"""
    workers: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""


def main(job: PowerJob) -> None:
    refined, parent = validate.open_pair(job.input, job.parent)
    finder = job.finder.model_copy(update={"eye_width_px": validate.crop_of(parent).eye_width_px})
    places = (absolute(place) if place else None for place in (job.landmarks, job.gaze))
    witnesses = EyeWitnesses.of(finder, *places, image=refined.card.image)
    settings = job.part(PowerSettings)
    with start(job, job.output, workers=job.workers) as session:
        shards = validate.shards_of(refined, job.split)
        missing = not_measured(refined, parent, shards, witnesses)
        num_samples = sum(facts.num_samples for facts in refined.all_facts(missing))
        task = measure_task(refined, parent, witnesses)
        session.make_shards("measure", task, missing, num_samples)
        plant = DamageMeasurer(
            refined, parent, tuple(shards), witnesses, absolute(job.output), job.seed
        )
        found = session.side_by_side([partial(plant, damage) for damage in DAMAGES], "damage")
        log.info("fitting limits on one half, trying them on the other")
        clean = read_measures(refined, shards, witnesses)
        report = power_of(
            clean, found, settings, dataset=refined.card.digest(), witnesses=witnesses.digest()
        )
        store = open_store(job.output)
        store.put("power.md", markdown(report).encode())
        store.put("power.png", curves_png(report))
        store.put("gate.toml", gate_toml(report.limits).encode())
        store.put("power.json", report.to_json())
        for line in markdown(report).splitlines():
            log.info("%s", line)
        for name in report.misses():
            log.warning("must be caught at 1 %%, and is not: %s", name)


if __name__ == "__main__":
    run_command(PowerJob, main)
