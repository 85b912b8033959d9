"""Look around in datasets, releases, reports and training runs, in a browser."""

from typing import Annotated, ClassVar

import tyro
from pydantic import Field

from cluster.job.command import JobConfig, run_command
from schemas.place import Place


class BrowseJob(JobConfig):
    """Look around in datasets, releases, reports and training runs, in a browser.

    Serves a page to browsers of this machine, at an address that is printed, until it is stopped by
    Ctrl-C. Nothing is written. docs/browse.md says what there is to see, and how to query.
    """

    negatable: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    places: Annotated[
        tuple[Place, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PLACE [PLACE ...]", help_behavior_hint="(required)"),
    ]
    """datasets, releases (DATASET/releases/NAME) and training runs, or folders of these: paths, or
    s3://bucket/prefix"""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """port of the page, on 127.0.0.1; 0 for any that is free"""
    open: bool = False
    """show the page in the browser of this machine"""


def main(job: BrowseJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.program import say
    from factory.browse.server import serve

    serve(job.places, port=job.port, say=lambda url: say(f"open {url}"), open_page=job.open)


if __name__ == "__main__":
    run_command(BrowseJob, main)
