"""What the jobs that look after a dataset share: one answer, as text or as JSON."""

import json
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from cluster.job.command import JobConfig
from cluster.job.program import as_launched
from factory.upkeep.options import OfDataset

if TYPE_CHECKING:
    from cluster.job.runs import RunFolder
    from factory.upkeep.run import Answer


class UpkeepJob(JobConfig, OfDataset):
    """A job that answers a question about a dataset, or changes it and says what it did."""

    negatable: ClassVar[bool] = False

    as_json: Annotated[bool, tyro.conf.arg(aliases=["--json"])] = False
    """print one JSON object instead of text"""


def look_after(
    job: UpkeepJob,
    work: "Callable[[RunFolder], Answer]",
    *,
    changes: bool = False,
    of_any_format: bool = False,
) -> None:
    """Run a job, and print its answer.

    Args:
        work: what it does, of which its options are the argument.
        changes: whether it changes the dataset: the folder of the run is there then, and else in a
            place that is removed.
        of_any_format: whether it changes datasets of earlier formats too.

    Raises:
        NotWholeError: the answer, which was printed, is that something is wrong.
        others: as `factory.upkeep.run.open_dataset`, for a dataset that would be changed.
    """
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.start import logged_run
    from factory.upkeep.run import open_dataset

    with tempfile.TemporaryDirectory(prefix=f"simgan-{job.command()}-") as output:
        if changes:
            output = open_dataset(job.input, to_change=not of_any_format).location
        with logged_run(job, output) as run:
            answer = work(run)
    if job.as_json:
        shown = json.dumps(answer.model_dump(mode="json", exclude_none=True), indent=2)
    else:
        shown = "\n".join(answer.lines(job.input))
    print(as_launched(shown))  # JSON is ASCII: no name in it can control a terminal
    answer.check(job.input)
