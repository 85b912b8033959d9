"""Describe a dataset or a release, verify it, clean it up, repair it."""

import json
import tempfile
from functools import partial
from typing import Annotated, ClassVar

import tyro

from cluster.job.command import JobConfig, OptionalCount, run_command
from cluster.job.program import as_launched
from factory.upkeep.options import Upkeep


class DescribeJob(JobConfig, Upkeep):
    """Describe a dataset or a release, verify it, clean it up, repair it.

    Without further options, it says what the indexes say is in the dataset; nothing is written.
    """

    negatable: ClassVar[bool] = False

    as_json: Annotated[bool, tyro.conf.arg(aliases=["--json"])] = False
    """print one JSON object instead of text"""
    workers: OptionalCount = None
    """parallel workers of --verify and --repair; default one per core"""


def main(job: DescribeJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.progress import progress_of
    from cluster.on_ray.session import start
    from factory.upkeep.run import changed_dataset, look_after

    with (
        tempfile.TemporaryDirectory(prefix="simgan-describe-") as temporary,
        # A run leaves its folder only in a dataset that it changes.
        start(job, changed_dataset(job) or temporary, workers=job.workers) as session,
    ):
        answer = look_after(
            job,
            make_shards=session.make_shards,
            progress=partial(progress_of, "describe", "shards"),
        )
    if job.as_json:
        shown = answer.model_dump(mode="json", exclude_none=True)
        print(json.dumps(shown, indent=2))  # ASCII: no name in it can control a terminal
    else:
        print(as_launched("\n".join(answer.lines(job))))
    answer.check(job)


if __name__ == "__main__":
    run_command(DescribeJob, main)
