"""Describe a dataset or a release, in words and in pictures."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from cluster.job.command import run_command
from cluster.job.upkeep import UpkeepJob, look_after
from factory.upkeep.options import DescribeOptions

VERIFY, GC, REPAIR = (f"is gone; use python jobs/{name}.py" for name in ("verify", "gc", "repair"))


class DescribeJob(UpkeepJob, DescribeOptions):
    """Say what the indexes say is in a dataset or a release. Nothing is written to it."""

    resumes: ClassVar[bool] = False

    refused_options: ClassVar[Mapping[str, str]] = {
        "verify": VERIFY,
        "gc": GC,
        "repair": REPAIR,
        "expire": "is gone; use python jobs/expire.py --releases NAME",
        "upgrade": "is gone; use python jobs/upgrade.py",
        "delete": f"{GC} or python jobs/expire.py",
        "older_than_hours": GC,
        "shards": f"{VERIFY} or python jobs/repair.py",
        "workers": f"{VERIFY} or python jobs/repair.py",
        "children": f"{GC} or python jobs/repair.py",
        "ignore_unreachable": f"{GC} or python jobs/repair.py",
        **dict.fromkeys(("apply", "source_input", "refiner", "device", "withdraw_stale"), REPAIR),
    }


def main(job: DescribeJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.progress import progress_of
    from factory.upkeep.run import describe_place

    progress = partial(progress_of, "describe", "shards")
    look_after(job, lambda _: describe_place(job, progress=progress))


if __name__ == "__main__":
    run_command(DescribeJob, main)
