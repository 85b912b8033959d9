"""Give up old releases, so that gc can remove the tars that only they hold."""

from cluster.job.command import run_command
from cluster.job.upkeep import UpkeepJob, look_after
from factory.upkeep.options import ExpireOptions


class ExpireJob(UpkeepJob, ExpireOptions):
    """Say what giving up releases would free; with --delete, give them up.

    The tars that only they hold can be removed then, with jobs/gc.py --delete. The latest release
    does not expire, and the name of one that did is not used again.
    """


def main(job: ExpireJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from factory.upkeep.run import give_up_releases

    look_after(job, lambda _: give_up_releases(job), changes=job.delete)


if __name__ == "__main__":
    run_command(ExpireJob, main)
