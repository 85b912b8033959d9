"""Render eyes or hands with the built-in renderers, in UnityEyes' or NYU's folder format."""

import logging
from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, model_validator

from cluster.job.command import JobConfig, run_command
from cluster.on_ray.session import start
from factory.domains.hand.renderer.renderer import HandOptions
from factory.domains.registry import domain_named
from factory.ingestion.simulate import enter_location, missing_batches, simulate_task
from factory.sources.renderer import Renderer
from factory.store.open import absolute

log = logging.getLogger(__name__)


class SimulateJob(JobConfig):
    """Render eyes or hands with the built-in renderers.

    Eyes go into the UnityEyes folder format, hands into that of the NYU hand set. --style camera
    makes a stand-in for camera images, to try the factory with, and no replacement for them:
    unlabelled eye crops of other people in other light, or depth frames of other hands as a
    structured-light camera might see them, each beside its clean render.
    """

    output: str
    """where the files go: a folder, or s3://bucket/prefix. Eyes: N.jpg (and N.json), N from 1.
    Hands: synthdepth_C_N.png (and depth_C_N.png) of camera C and frame N, and joint_data.mat"""
    count: Annotated[int, Field(gt=0)]
    """pictures (of hands frames, each seen by every camera); a larger number later adds the
    missing ones"""
    domain: str = "eye"
    """what to render: eye, hand, or a domain of a package that brings a renderer along"""
    style: Literal["render", "camera"] = "render"
    """render: labelled renders; camera: stand-ins for camera images"""
    seed: Annotated[int, Field(ge=0)] = 0
    """picture k depends on the seed and k alone"""
    height: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """pixels, of eyes in style render; default 240. Hands are 480, as NYU's"""
    width: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """pixels, of eyes in style render; default 320. Hands are 640, as NYU's"""
    hand: HandOptions = HandOptions()
    """of hands only"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.domain == "hand" and (self.height is not None or self.width is not None):
            raise ValueError("hands are drawn at 640x480 as NYU's; leave out --height and --width")
        if self.domain != "hand" and self.hand != HandOptions():
            raise ValueError("--hand.cameras and --hand.poses need --domain hand")
        return self


def renderer_of(job: SimulateJob) -> Renderer:
    """What draws the pictures that a job asks for."""
    make = domain_named(job.domain).renderer
    if job.domain == "hand":
        hand = job.hand
        return make(style=job.style, seed=job.seed, cameras=hand.cameras, poses=hand.poses)
    size = {"height": job.height, "width": job.width}
    given = {name: pixels for name, pixels in size.items() if pixels is not None}
    return make(style=job.style, seed=job.seed, **given)


def main(job: SimulateJob) -> None:
    location = absolute(job.output)
    with start(job, job.output, runs=".runs", workers=job.workers) as session:
        renderer = renderer_of(job)
        enter_location(location, renderer)
        batches, num_missing = missing_batches(location, renderer, job.count)
        log.info("%d of %d pictures to render", num_missing, job.count)
        renderer.prepare(location, job.count)
        task = simulate_task(renderer, location, job.count)
        session.make_shards("simulate", task, batches, num_missing)
        what = "renders" if job.style == "render" else "stand-ins for camera images"
        log.info("%s: %d %s", job.output, job.count, what)


if __name__ == "__main__":
    run_command(SimulateJob, main)
