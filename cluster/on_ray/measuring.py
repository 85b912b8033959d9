"""What the jobs that measure refined datasets share: their options, and the measuring."""

import logging
from collections.abc import Sequence
from typing import Annotated

import tyro
from pydantic import Field

from cluster.job.command import JobConfig
from cluster.on_ray.session import Session
from factory.dataset.dataset import Dataset
from factory.store.open import absolute
from factory.validation.protocols import Witnesses
from factory.validation.shard_measures import measure_task, not_measured

log = logging.getLogger(__name__)


class MeasuringJob(JobConfig):
    """Which dataset, and what it is measured with."""

    input: str
    """a refined dataset"""
    witnesses: dict[str, str] = Field(default={})
    """trained networks to measure with, each after its name; for eyes, landmarks PLACE (the output
    of jobs/estimator.py landmarks) and gaze PLACE (of jobs/estimator.py gaze); for hands, joints
    PLACE (of jobs/estimator.py joints). Not the network that the refiner was trained to please
    (--label-network)"""
    parent: str | None = None
    """where the synthetic parent lies now, if it was moved"""
    split: str | None = None
    """this split alone, e.g. one that the refiner was not trained on; default all"""
    workers: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""

    def networks(self) -> dict[str, str]:
        """Their places, as every process understands them."""
        return {name: absolute(place) for name, place in self.witnesses.items()}


def measure(
    session: Session,
    refined: Dataset,
    parent: Dataset,
    shards: Sequence[int],
    witnesses: Witnesses,
    what: str,
) -> None:
    """Measure the shards that are not measured yet."""
    missing = not_measured(refined, parent, shards, witnesses)
    log.info("%d of %d shards to measure", len(missing), len(shards))
    num_samples = sum(facts.num_samples for facts in refined.all_facts(missing))
    session.make_shards(what, measure_task(refined, parent, witnesses), missing, num_samples)
