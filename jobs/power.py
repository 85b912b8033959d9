"""Plant damage in a refined dataset and tell how little of it validation catches."""

import logging
from functools import partial

from cluster.job.command import run_command
from cluster.on_ray.measuring import MeasuringJob, measure
from cluster.on_ray.session import start
from factory.domains.eye.damage.kinds import DAMAGES
from factory.domains.eye.domain import EYE
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.validator import EyeValidator
from factory.store.open import absolute, open_store
from factory.validation import sampling as validate
from factory.validation.power.damaged import DamageMeasurer
from factory.validation.power.limits import PowerSettings
from factory.validation.power.table import (
    curves_png,
    gate_toml,
    markdown,
    power_of,
)
from factory.validation.shard_measures import read_measures

log = logging.getLogger(__name__)


class PowerJob(MeasuringJob, PowerSettings):
    """Plant damage in a refined dataset and tell how little of it validation catches.

    The dataset is taken to be good. Half of its identities set the limits, on the other half false
    alarms are counted and every kind of damage is planted. Writes power.md (the table), power.png
    (the curves), power.json, and gate.toml: the limits on samples, to be reviewed and put into a
    gate. What is measured is kept in damaged/, so a stopped run goes on.
    """

    output: str
    """folder for the results, or s3://bucket/prefix"""
    finder: PupilFinder = PupilFinder()
    """the pupil finder; its eye width is that of the dataset's card"""


def main(job: PowerJob) -> None:
    refined, parent = validate.open_pair(job.input, job.parent)
    if refined.card.domain != EYE.name:
        raise ValueError(f"{job.input}: damage can be planted in eyes alone")
    witnesses = EyeValidator().witnesses(refined, parent, job.networks(), job.finder)
    settings = job.part(PowerSettings)
    with start(job, job.output, workers=job.workers) as session:
        shards = validate.shards_of(refined, job.split)
        measure(session, refined, parent, shards, witnesses, "measure")
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
