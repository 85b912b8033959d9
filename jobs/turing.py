"""Ask people which images are real: the visual Turing test."""

from typing import Annotated

from pydantic import Field

from cluster.job.command import JobConfig, run_command
from factory.evaluation.turing.config import TuringConfig


class TuringJob(JobConfig, TuringConfig):
    """Ask people which images are real: the visual Turing test.

    Serves a page to a browser of this machine that shows one image after the other beside labelled
    examples. First real and refined images in random order; then, with --synthetic, real images and
    renders as they are. Every answer is saved at once, and the same command goes on where it
    stopped. When all are answered, turing.html and turing.json say how often the observers were
    right, against guessing and beside the paper's. docs/turing.md describes a test with several
    observers.
    """

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """port of the page, on 127.0.0.1; 0 for any that is free"""


def main(job: TuringJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.start import logged_run
    from factory.evaluation.turing.run import take_test, write_analysis

    with logged_run(job, job.output):
        if job.analyse:
            write_analysis(job.output)
        else:
            take_test(job.part(TuringConfig), job.port)


if __name__ == "__main__":
    run_command(TuringJob, main)
