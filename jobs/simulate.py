"""Render eyes or hands with the built-in renderers, in UnityEyes' or NYU's folder format."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from cluster.job.choices import Choices, ChoosingJob
from cluster.job.command import OptionalCount, run_command
from factory.domains.registry import domain_named, known_domains, options_by_domain, options_of
from factory.ingestion.simulate import check_options, simulate
from factory.sources.renderer import Renderer
from schemas.place import Place


class SimulateJob(ChoosingJob, *options_of("simulate_options")):
    """Render eyes or hands with the built-in renderers.

    Eyes go into the UnityEyes folder format, hands into that of the NYU hand set. --style camera
    makes stand-ins for camera images, to try the factory with; they do not replace a camera's
    images. They are unlabelled eye crops of other people in other light, or depth frames of other
    hands as a structured-light camera might see them, each beside its clean render.
    """

    chosen_by: ClassVar[str] = "domain"

    output: Place
    """where the files go: a folder, or s3://bucket/prefix. Eyes: N.jpg (and N.json), N from 1.
    Hands: synthdepth_C_N.png (and depth_C_N.png) of camera C and frame N, and joint_data.mat"""
    count: Annotated[int, Field(gt=0)]
    """number of pictures (for hands: of frames, each seen by every camera); a larger number in a
    later run adds the missing ones"""
    domain: str = "eye"
    """what to render: eye, hand, or an installed domain that has a renderer"""
    style: Literal["render", "camera"] = "render"
    """render: labelled renders; camera: stand-ins for camera images"""
    seed: Annotated[int, Field(ge=0)] = 0
    """picture k depends only on the seed and on k"""
    workers: OptionalCount = None
    """parallel workers; default one per core"""

    @classmethod
    def choices(cls) -> Choices:
        return {
            name: frozenset(domain.simulate_options().model_fields)
            for name, domain in known_domains().items()
        }

    @field_validator("domain")
    @classmethod
    def _known(cls, domain: str) -> str:
        return domain_named(domain).name

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        check_options(self.domain, options_by_domain(self, "simulate_options"))
        return self


def renderer_of(job: SimulateJob) -> Renderer:
    """What draws the pictures that a job asks for."""
    domain = domain_named(job.domain)
    given = options_by_domain(job, "simulate_options")[job.domain]
    return domain.renderer(style=job.style, seed=job.seed, given=given)


def main(job: SimulateJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start

    renderer = renderer_of(job)  # an option that it cannot use is refused before the run begins
    with start(job, job.output, runs=".runs", workers=job.workers) as session:
        simulate(renderer, job.output, job.count, make_shards=session.make_shards)


if __name__ == "__main__":
    run_command(SimulateJob, main)
