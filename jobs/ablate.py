"""Train several configurations on the same images and compare what comes out."""

from collections.abc import Mapping
from typing import ClassVar

from cluster.job.command import JobConfig, run_command
from factory.evaluation.ablation_config import AblationConfig


class AblateJob(JobConfig, AblationConfig):
    """Train several configurations on the same images and compare what comes out.

    Trains every variant with every seed, each run on one core (or GPU) beside the others, scores
    the refiners on the held-out split (labels kept, change, two-sample test), and writes
    ablation.html with a table, pictures side by side and the losses. The same command resumes a
    stopped ablation.
    """

    refused_options: ClassVar[Mapping[str, str]] = {
        "use_gpu": "is gone; use --device cuda",
        "finder": "is gone; the pupil finder takes the eye width of the dataset's card",
    }


def main(job: AblateJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.evaluation.ablation_run import Ablation

    ablation = Ablation.of(job.part(AblationConfig))
    with start(job, job.output) as session:
        ablation.compare(session.side_by_side)


if __name__ == "__main__":
    run_command(AblateJob, main)
