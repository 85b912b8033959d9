"""Train a refiner that makes renders look like camera images (SimGAN)."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from cluster.job.command import JobConfig, OptionalCount, run_command
from factory.tracking.options import MlflowOptions
from factory.training.config import TrainConfig
from schemas.place import Place
from schemas.refiner import Device, PrecisionChoice


class TrainJob(JobConfig, TrainConfig, MlflowOptions):
    """Train a refiner that makes renders look like camera images (SimGAN).

    Writes losses (metrics.jsonl, losses.png), sample strips (strips/) and, at the end, the refiner
    (refiner.safetensors, refiner.json) to the output. The same command resumes a stopped run from
    its newest checkpoint, also with a different number of workers.
    """

    synthetic: Place
    """dataset of labelled renders"""
    real: Place
    """dataset of camera images"""
    output: Place
    """folder of the run, or s3://bucket/prefix"""
    precision: PrecisionChoice = "auto"
    split: str = "train"
    """split of both datasets to train on; other splits stay unseen"""
    workers: Annotated[int, Field(ge=1)] = 1
    """processes that share each batch and its images; the result means the same for any number"""
    device: Device = "cpu"
    """cpu: workers train on cores alone; cuda: each worker has a GPU"""
    cpus: OptionalCount = None
    """cores for each worker; default all there are"""
    history_actors: Annotated[int, Field(ge=1)] = 1
    """processes that hold the history of refined images which several workers share, at most one a
    worker"""
    held_out: str = "test"
    """split of both datasets that refiners are scored on, with --validate-every"""
    num_held_out: Annotated[int, Field(ge=40)] = 600
    """renders, and real images, that refiners are scored on"""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """failures (worker, history actor, node) to tolerate before giving up"""

    @model_validator(mode="after")
    def _every_history_actor_is_asked(self) -> Self:
        if self.history_actors > self.workers:
            raise ValueError(
                f"{self.history_actors} history actors for {self.workers} workers: each worker "
                "asks one actor, so the others would stay empty; give at most --history-actors "
                f"{self.workers}"
            )
        return self

    refused_options: ClassVar[Mapping[str, str]] = {"use_gpu": "is gone; use --device cuda"}


def main(job: TrainJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from cluster.on_ray.training import train_on_ray
    from factory.dataset.dataset import Dataset
    from factory.training.inputs import check_files
    from factory.training.run import train

    config = job.part(TrainConfig)
    renders, camera = Dataset.open(job.synthetic), Dataset.open(job.real)
    for dataset in (renders, camera):
        dataset.require_splits(job.split)
    check_files(config, renders)
    job.part(MlflowOptions).require()
    with start(job, job.output):
        train(
            job.synthetic,
            job.real,
            output=job.output,
            config=config,
            split=job.split,
            device=job.device,
            held_out=job.held_out,
            num_held_out=job.num_held_out,
            mlflow=job.mlflow,
            mlflow_experiment=job.mlflow_experiment,
            trainer=partial(
                train_on_ray,
                workers=job.workers,
                cpus=job.cpus,
                history_actors=job.history_actors,
                max_failures=job.max_failures,
            ),
        )


if __name__ == "__main__":
    run_command(TrainJob, main)
