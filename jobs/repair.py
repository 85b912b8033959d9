"""Verify a dataset, and make its damaged shards again, or withdraw them."""

from cluster.job.command import OptionalCount, run_command
from cluster.job.upkeep import UpkeepJob, look_after
from factory.upkeep.options import RepairOptions


class RepairJob(UpkeepJob, RepairOptions):
    """Verify a dataset, and say how damaged shards would be repaired; with --apply, repair them.

    A damaged shard is read until the whole one takes its place. Exit code 1 says that something is
    wrong still.
    """

    workers: OptionalCount = None
    """parallel workers; default one per core"""


def main(job: RepairJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import Session
    from factory.upkeep.run import repair_place

    look_after(
        job,
        lambda run: repair_place(job, make_shards=Session(run, job.workers).make_shards),
        changes=job.apply,
    )


if __name__ == "__main__":
    run_command(RepairJob, main)
