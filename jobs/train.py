"""Train a refiner that makes renders look like camera images (SimGAN)."""

import logging
from typing import Annotated

import tyro
from pydantic import Field

from cluster.job.command import JobConfig, run_command
from cluster.on_ray.session import start
from cluster.on_ray.training import train_on_ray
from factory.dataset.dataset import Dataset
from factory.networks.refiner_files import WEIGHTS_NAME
from factory.store.open import open_store
from factory.training.run import TrainConfig

log = logging.getLogger(__name__)


class TrainJob(JobConfig, TrainConfig):
    """Train a refiner that makes renders look like camera images (SimGAN).

    Writes losses (metrics.jsonl, losses.png), sample strips (strips/) and, at the end, the refiner
    (refiner.safetensors, refiner.json) to the output. A stopped run goes on from its newest
    checkpoint when the command is given again, also with another number of workers.
    """

    synthetic: str
    """dataset of labelled renders"""
    real: str
    """dataset of camera images"""
    output: str
    """folder of the run, or s3://bucket/prefix"""
    split: str = "train"
    """split of both datasets to train on; other splits stay unseen"""
    workers: Annotated[int, Field(ge=1)] = 1
    """processes that share each batch and its images; the result means the same for any number"""
    use_gpu: bool = False
    """give each worker a GPU"""
    cpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """cores for each worker; default all there are"""
    history_actors: Annotated[int, Field(ge=1)] = 1
    """processes that hold the history of refined images which several workers share"""
    held_out: str = "test"
    """split of both datasets that refiners are scored on, with --validate-every"""
    num_held_out: Annotated[int, Field(ge=40)] = 600
    """renders, and real images, of it"""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """losses of a worker, the history or a node to go on after"""


def main(job: TrainJob) -> None:
    synthetic, real = Dataset.open(job.synthetic), Dataset.open(job.real)
    if synthetic.card.image != real.card.image or synthetic.card.domain != real.card.domain:
        raise ValueError(
            f"{job.synthetic} holds {synthetic.card.domain} images of {synthetic.card.image}, "
            f"{job.real} {real.card.domain} images of {real.card.image}; ingest both alike"
        )
    with start(job, job.output):
        config = job.part(TrainConfig)
        train_on_ray(
            config,
            synthetic.location,
            real.location,
            job.output,
            split=job.split,
            use_gpu=job.use_gpu,
            workers=job.workers,
            cpus=job.cpus,
            history_actors=job.history_actors,
            max_failures=job.max_failures,
            held_out=job.held_out,
            num_held_out=job.num_held_out,
        )
        log.info("the refiner is %s/%s", open_store(job.output).location, WEIGHTS_NAME)


if __name__ == "__main__":
    run_command(TrainJob, main)
