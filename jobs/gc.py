"""List what is not part of a dataset, and remove what nothing needs.

The file has the name of the command, and of a module of the standard library as well. That one is
built into the interpreter, which looks there first, so this file takes its place for nobody, also
where Python runs it as a script.
"""

from cluster.job.command import run_command
from cluster.job.upkeep import UpkeepJob, look_after
from factory.upkeep.options import GarbageOptions


class GcJob(UpkeepJob, GarbageOptions):
    """List what is not part of a dataset: tars that no shard has any more, leftovers, foreign
    objects. With --delete, remove what no shard, release, child or run needs.
    """


def main(job: GcJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from factory.upkeep.run import collect_garbage

    look_after(job, lambda _: collect_garbage(job), changes=job.delete)


if __name__ == "__main__":
    run_command(GcJob, main)
