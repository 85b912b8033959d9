"""Read everything of a dataset or a release, and compare every part with the others."""

from typing import ClassVar

from cluster.job.command import OptionalCount, run_command
from cluster.job.upkeep import UpkeepJob, look_after
from factory.upkeep.options import VerifyOptions


class VerifyJob(UpkeepJob, VerifyOptions):
    """Read everything of a dataset or a release, and compare every part with the others.

    Nothing is changed. Exit code 1 says that something is wrong; each problem has a line, with what
    mends it.
    """

    resumes: ClassVar[bool] = False

    workers: OptionalCount = None
    """parallel workers; default one per core"""


def main(job: VerifyJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import Session
    from factory.upkeep.run import verify_place

    look_after(
        job, lambda run: verify_place(job, make_shards=Session(run, job.workers).make_shards)
    )


if __name__ == "__main__":
    run_command(VerifyJob, main)
