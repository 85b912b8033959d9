"""Compare what renders show with what a camera shows, and say which renders to keep."""

from cluster.job.command import JobConfig, run_command
from factory.evaluation.content.config import ContentConfig


class ContentJob(JobConfig, ContentConfig):
    """Compare what renders show with what a camera shows, and say which renders to keep.

    A refiner that is asked to make half-open eyes of wide-open ones moves the iris. So renders
    should show what the camera shows, before one is trained. Real images have no labels: how far
    lids are open, and where eyes look, is estimated by models that learn from renders in the look
    of the real images. Writes content.json and figures/content.svg, and prints the options of
    jobs/ingest.py that keep the renders which are like the real images. docs/evidence.md says what
    this is worth.
    """


def main(job: ContentJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.start import logged_run
    from factory.evaluation.content.run import compare_content

    with logged_run(job, job.output):
        compare_content(job.part(ContentConfig))


if __name__ == "__main__":
    run_command(ContentJob, main)
