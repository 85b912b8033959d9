"""Refine a synthetic dataset into a realistic one with the same labels."""

from functools import partial
from typing import Annotated, Self

import tyro
from pydantic import Field, model_validator

from cluster.job.command import JobConfig, OptionalCount, run_command
from schemas.place import Place
from schemas.refiner import Device, EngineChoice, PrecisionChoice


class RefineJob(JobConfig):
    """Refine a synthetic dataset into a realistic one with the same labels.

    Shard i of the output is made from shard i of the input, and only shards that the output lacks
    are made. So the same command again resumes, or refines what was added to the input since.
    """

    input: Place
    """the synthetic dataset to refine: a folder, or s3://bucket/prefix"""
    refiner: Place
    """a finished training run, or one refiner.safetensors; a path, or s3://bucket/prefix"""
    output: Place
    """the refined dataset to make or to add to: a folder, or s3://bucket/prefix"""
    engine: EngineChoice = "auto"
    """what runs the network; auto: the fastest engine that agrees with PyTorch on this refiner"""
    precision: PrecisionChoice = "auto"
    """in what the network computes, the same for all of the output. auto: that of what the output
    holds; a new one is made in bfloat16 where processor or GPU have it in hardware and images have
    8 bits, else in float32, which differs by roundings between machines"""
    batch_size: OptionalCount = None
    """images refined at once in a worker, which changes only rounding; default set by the engine"""
    device: Device = "cpu"
    """cpu: one single-threaded worker per core; cuda: one worker per GPU"""
    workers: OptionalCount = None
    """parallel workers; default one per core, or one per GPU"""
    noise_seed: Annotated[int | None, Field(ge=0), tyro.conf.arg(metavar="INT")] = None
    """for a refiner with noise: another seed gives another refined image of each render, in an
    output of its own; default 0"""
    overlap: bool = False
    """run although another run is working on this output; both may do the same work, but data is
    safe"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine in ("ncnn", "openvino") and self.device == "cuda":
            raise ValueError(f"--engine {self.engine} refines on CPUs, without --device cuda")
        if self.engine == "cuda" and (self.device == "cpu" or self.precision == "float32"):
            raise ValueError("--engine cuda needs --device cuda, and refines in bfloat16 alone")
        return self


def main(job: RefineJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.refinement.run import refine

    refine(
        job.input,
        refiner=job.refiner,
        output=job.output,
        engine=job.engine,
        precision=job.precision,
        batch_size=job.batch_size,
        device=job.device,
        noise_seed=job.noise_seed,
        overlap=job.overlap,
        on=partial(start, job, job.output, workers=job.workers),
    )


if __name__ == "__main__":
    run_command(RefineJob, main)
