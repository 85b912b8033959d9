"""Publish a release of a validated dataset."""

import logging

from cluster.command import JobConfig, run_command
from cluster.session import start
from factory.dataset import Dataset
from factory.publish import latest_report, publish
from schemas.dataset import ReleaseName

log = logging.getLogger(__name__)


class PublishJob(JobConfig):
    """Publish a release: exactly the shards of a passing report, immutable from then on."""

    input: str
    """the validated dataset"""
    release: ReleaseName
    """name of the release, e.g. a date; letters, digits, dots, dashes"""
    report: str | None = None
    """id of the report to release by; default the latest"""


def main(job: PublishJob) -> None:
    dataset = Dataset.open(job.input)
    with start(job, job.input):
        report_id = job.report if job.report is not None else latest_report(dataset)
        manifest = publish(dataset, job.release, report_id)
        log.info(
            "released %d samples in %d shards: %s",
            manifest.num_samples,
            len(manifest.shards),
            f"{job.input}/releases/{job.release}/manifest.json",
        )


if __name__ == "__main__":
    run_command(PublishJob, main)
