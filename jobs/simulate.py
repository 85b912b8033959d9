"""Render eyes with the built-in renderer, in the UnityEyes folder format."""

import logging
from typing import Annotated, Literal

import tyro
from pydantic import Field

from cluster.command import JobConfig, run_command
from cluster.session import start
from factory.domains import domain_named
from factory.simulate import enter_location, missing_batches, simulate_task
from factory.store import absolute

log = logging.getLogger(__name__)


class SimulateJob(JobConfig):
    """Render eyes with the built-in renderer, in the UnityEyes folder format.

    --style camera makes unlabelled eye crops of other people in other light: a stand-in for
    camera images, to try the factory with, and no replacement for them.
    """

    output: str
    """where N.jpg (and N.json) go, N from 1: a folder, or s3://bucket/prefix"""
    count: Annotated[int, Field(gt=0)]
    """pictures; a larger number later adds the missing ones"""
    domain: Literal["eye", "hand"] = "eye"
    """what to render"""
    style: Literal["render", "camera"] = "render"
    """render: labelled renders; camera: unlabelled stand-ins for camera images"""
    seed: Annotated[int, Field(ge=0)] = 0
    """picture k depends on the seed and k alone"""
    height: int = 240
    """pixels, style render"""
    width: int = 320
    """pixels, style render"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""


def main(job: SimulateJob) -> None:
    location = absolute(job.output)
    make_renderer = domain_named(job.domain).renderer
    if make_renderer is None:
        raise ValueError(f"there is no built-in renderer for --domain {job.domain}")
    with start(job, job.output, runs=".runs", workers=job.workers) as session:
        renderer = make_renderer(height=job.height, width=job.width, style=job.style, seed=job.seed)
        enter_location(location, renderer)
        batches, num_missing = missing_batches(location, renderer, job.count)
        log.info("%d of %d pictures to render", num_missing, job.count)
        task = simulate_task(renderer, location, job.count)
        session.make_shards("simulate", task, batches, num_missing)
        what = "renders" if job.style == "render" else "stand-ins for camera images"
        log.info("%s: %d %s", job.output, job.count, what)


if __name__ == "__main__":
    run_command(SimulateJob, main)
