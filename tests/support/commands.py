"""Command lines of the jobs, as scripts, manifests and pages have them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import tyro

from cluster.job.choices import ChoosingJob
from cluster.job.command import JobConfig, parse
from cluster.job.completion import job_class


def commands_in(text: str) -> Iterator[list[str]]:
    """Every `python jobs/…` in a script or page, continuation lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.search(r"python (jobs/\w+\.py .*)", line.partition("  #")[0]):
            yield shlex.split(match[1].rstrip("'`"))


def parsed(command: list[str]) -> JobConfig:
    """A job's configuration, as the job itself would read its command line."""
    name = Path(command[0]).stem
    if name == "estimator":  # its options depend on its first argument
        from cluster.job.estimators import estimator_job

        return parse(estimator_job(command[1]), command[2:])
    return parse(job_class(name), command[1:])


def always_explained(kind: type[JobConfig]) -> set[str]:
    """The options that `--help` explains whatever else is given, as on the command line."""
    names = set(kind.model_fields) - (kind.for_some() if issubclass(kind, ChoosingJob) else set())
    positional = {
        name for name in names if tyro.conf.Positional in kind.model_fields[name].metadata
    }
    return {f"--{name.replace('_', '-')}" for name in names - positional}
