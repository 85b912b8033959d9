"""Measure whether refining pays: models trained on each kind of images, tested on real ones."""

from cluster.job.command import JobConfig, run_command
from factory.evaluation.comparison.config import EvaluationConfig


class EvaluateJob(JobConfig, EvaluationConfig):
    """Measure whether refining pays: train models on renders, on refined images and on controls,
    and test them on real images with labels.

    Every model is trained on every arm with every seed, each training on one core beside the
    others. Writes evaluation.html and evaluation.json with errors, paired differences, their
    95 % intervals, and a verdict: pays, not shown, or harms. docs/evidence.md has the protocol. The
    same command resumes a stopped evaluation, and runs only what is new after arms or seeds were
    added.
    """


def main(job: EvaluateJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.evaluation.comparison.run import compared_by, evaluate

    config = job.part(EvaluationConfig)
    compared = compared_by(config)
    with start(job, job.output) as session:
        evaluate(config, compared, session.side_by_side)


if __name__ == "__main__":
    run_command(EvaluateJob, main)
