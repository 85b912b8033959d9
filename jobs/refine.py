"""Refine a synthetic dataset into a realistic one, labels carried along."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from cluster.command import JobConfig, run_command
from cluster.session import start
from factory.dataset import Dataset
from factory.refine import missing_shards, refined_card, refiner_task
from factory.store import open_store

log = logging.getLogger(__name__)


class RefineJob(JobConfig):
    """Refine a synthetic dataset into a realistic one, labels carried along.

    Shard by shard: only what the output lacks is made.
    """

    input: str
    """the synthetic dataset to refine"""
    refiner: Path
    """a finished training run, or one refiner.safetensors"""
    output: str
    """folder of the refined dataset"""
    batch_size: Annotated[int, Field(gt=0)] = 64
    """images refined at once in a worker; changes only rounding"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu: one single-threaded worker a core; cuda: one worker a GPU"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core, or one a GPU"""


def main(job: RefineJob) -> None:
    use_gpu = job.device == "cuda"
    open_store(job.output)
    parent = Dataset.open(job.input)
    card = refined_card(parent, job.refiner, Path(job.output).name)
    with start(job, Path(job.output) / "runs", workers=job.workers, use_gpu=use_gpu) as session:
        child = Dataset.enter(job.output, card)
        missing = missing_shards(parent, child)
        num_samples = sum(parent.facts(shard).num_samples for shard in missing)
        log.info("%d images in %d shards to refine", num_samples, len(missing))
        task = refiner_task(
            parent, child, job.refiner.absolute(), batch_size=job.batch_size, device=job.device
        )
        outcomes = session.make_shards("refine", task, missing, num_samples)
        worked = sum(outcome.seconds for outcome in outcomes)
        if outcomes:
            log.info("%.1f images/s in each worker", num_samples / worked)
        log.info(
            "%s: %d shards, the parent has %d",
            job.output,
            len(child.committed()),
            len(parent.committed()),
        )


if __name__ == "__main__":
    run_command(RefineJob, main)
