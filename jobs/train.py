"""Train a refiner that makes renders look like camera images (SimGAN)."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cluster.command import JobConfig, run_command
from cluster.session import start
from cluster.training import train_on_ray
from factory.dataset import Dataset
from factory.training import TrainConfig

log = logging.getLogger(__name__)


class TrainJob(JobConfig, TrainConfig):
    """Train a refiner that makes renders look like camera images (SimGAN).

    Writes losses (metrics.jsonl, losses.png), sample strips (strips/) and, at the end, the refiner
    (refiner.safetensors, refiner.json) to the output folder. A stopped run goes on from its newest
    checkpoint when the command is given again.
    """

    synthetic: str
    """dataset of labelled renders"""
    real: str
    """dataset of camera images"""
    output: Path
    """folder of the run"""
    split: str = "train"
    """split of both datasets to train on; other splits stay unseen"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu, or one GPU"""
    cpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """cores for the worker; default all"""


def main(job: TrainJob) -> None:
    synthetic, real = Dataset.open(job.synthetic), Dataset.open(job.real)
    if synthetic.card.image != real.card.image or synthetic.card.domain != real.card.domain:
        raise ValueError(
            f"{job.synthetic} holds {synthetic.card.domain} images of {synthetic.card.image}, "
            f"{job.real} {real.card.domain} images of {real.card.image}; ingest both alike"
        )
    with start(job, job.output):
        config = TrainConfig(**{name: getattr(job, name) for name in TrainConfig.model_fields})
        train_on_ray(
            config,
            synthetic.location,
            real.location,
            job.output.absolute(),
            split=job.split,
            use_gpu=job.device == "cuda",
            cpus=job.cpus,
        )
        log.info("the refiner is %s", job.output / "refiner.safetensors")


if __name__ == "__main__":
    run_command(TrainJob, main)
