"""Upgrade a dataset of an earlier format in place."""

from cluster.job.command import run_command
from cluster.job.upkeep import UpkeepJob, look_after


class UpgradeJob(UpkeepJob):
    """Upgrade a dataset of an earlier format in place; safe to stop at any moment.

    Earlier versions of this program refuse the dataset afterwards.
    """


def main(job: UpgradeJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from factory.upkeep.run import upgrade_place

    look_after(job, lambda _: upgrade_place(job.input), changes=True, of_any_format=True)


if __name__ == "__main__":
    run_command(UpgradeJob, main)
