"""Show Prometheus what the records of datasets say: releases, lost tars, rejects and so on."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from cluster.job.command import JobConfig, run_command
from schemas.place import Place, PlacePath


class MetricsJob(JobConfig):
    """Show Prometheus what the records of datasets say: releases, lost tars, rejects and so on.

    Without --port or --textfile, prints the metrics once. With --textfile, writes them to a file
    for node_exporter's textfile collector and ends, so that a scheduler runs it again and again.
    With --port, serves them until it is stopped. docs/monitoring.md explains the metrics and has
    rules for alerts.

    Nothing in a dataset is changed. Exit code 1 says that the records of a dataset could not be
    read; all others are shown.
    """

    negatable: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    input: Annotated[tuple[Place, ...], Field(min_length=1)]
    """datasets to watch: folders, or s3://bucket/prefix"""
    textfile: PlacePath | None = None
    """write the metrics to this file, whose name ends in .prom, once"""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """serve the metrics at http://HOST:PORT/metrics"""
    host: str = "127.0.0.1"
    """with --port: the address to listen on; 0.0.0.0 for every address of the machine"""
    interval_s: Annotated[float, Field(ge=1)] = 60.0
    """with --port: seconds between two readings of the records"""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.port is not None and self.textfile is not None:
            raise ValueError("--port and --textfile exclude each other")
        if self.textfile is not None and self.textfile.suffix != ".prom":
            raise ValueError(
                f"--textfile {self.textfile}: node_exporter reads files whose name ends in .prom"
            )
        return self


def main(job: MetricsJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.exporter import print_metrics, serve_metrics, write_metrics
    from factory.store.open import absolute
    from factory.upkeep.watched.metrics import RecordsCollector

    collector = RecordsCollector([absolute(place) for place in job.input])
    if job.port is not None:
        serve_metrics(collector, job.host, job.port, job.interval_s)
    elif job.textfile is not None:
        write_metrics(collector, job.textfile)
    else:
        print_metrics(collector)


if __name__ == "__main__":
    run_command(MetricsJob, main)
