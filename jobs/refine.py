"""Refine a synthetic dataset into a realistic one, labels carried along."""

import logging
from typing import Annotated, Literal

import tyro
from pydantic import Field

from cluster.job.command import JobConfig, run_command
from cluster.job.start import alone
from cluster.on_ray.session import Session, start
from factory.dataset.dataset import Dataset
from factory.refinement.stages import missing_shards, refine_stages, refined_card
from factory.store.open import absolute, name_of

log = logging.getLogger(__name__)


class RefineJob(JobConfig):
    """Refine a synthetic dataset into a realistic one, labels carried along.

    Shard by shard: only what the output lacks is made, so the same command again goes on, or
    refines what the parent has got since.
    """

    input: str
    """the synthetic dataset to refine: a folder, or s3://bucket/prefix"""
    refiner: str
    """a finished training run, or one refiner.safetensors; a path, or s3://bucket/prefix"""
    output: str
    """where the refined dataset lies: a folder, or s3://bucket/prefix"""
    engine: Literal["auto", "torch", "ncnn", "cuda"] = "auto"
    """what runs the network; auto: the fastest that agrees with PyTorch on this refiner"""
    batch_size: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """images refined at once in a worker; changes only rounding; default what suits the engine"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu: one single-threaded worker a core; cuda: one worker a GPU"""
    workers: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core, or one a GPU"""
    noise_seed: Annotated[int | None, Field(ge=0), tyro.conf.arg(metavar="INT")] = None
    """for a refiner with noise: another seed gives another refined image of each render, in an
    output of its own; default 0"""
    overlap: bool = False
    """work beside another run that is at work on this output; safe, but much is done twice"""


def main(job: RefineJob) -> None:
    parent = Dataset.open(job.input)
    refiner = absolute(job.refiner)
    card = refined_card(parent, refiner, name_of(job.output), noise_seed=job.noise_seed)
    use_gpu = job.device == "cuda"
    with (
        start(job, job.output, workers=job.workers, use_gpu=use_gpu) as session,
        alone("refine", job.output, overlap=job.overlap) as may_go_on,
    ):
        if may_go_on:
            _refine(job, parent, Dataset.enter(job.output, card), refiner, session)


def _refine(
    job: RefineJob, parent: Dataset, child: Dataset, refiner: str, session: Session
) -> None:
    missing = missing_shards(parent, child)
    if missing:
        num_samples = sum(facts.num_samples for facts in parent.all_facts(missing))
        log.info("%d images in %d shards to refine", num_samples, len(missing))
        stages = refine_stages(
            parent,
            child,
            refiner,
            engine=job.engine,
            batch_size=job.batch_size,
            device=job.device,
        )
        session.make_shards("refine", stages, missing, num_samples)
    log.info(
        "%s: %s%d shards, the parent has %d",
        job.output,
        "" if missing else "nothing to do: ",
        len(child.committed()),
        len(parent.committed()),
    )


if __name__ == "__main__":
    run_command(RefineJob, main)
