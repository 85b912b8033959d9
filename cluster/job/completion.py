"""A script with which a shell completes all commands and their options."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Annotated, Any, Union

import tyro
from pydantic import create_model

from cluster.job.command import JobConfig
from cluster.job.estimators import estimator_job
from factory.domains.registry import estimators
from schemas.shipped import ConfigFile


def completion_script(program: str, names: Sequence[str], shell: str) -> str:
    """What a user's shell reads at its start, made by tyro from the options of every job.

    Args:
        names: of the jobs.
        shell: bash, zsh or fish.
    """
    commands = Union[tuple(_as_command(name, _options_of(name)) for name in names)]  # noqa: UP007
    script = io.StringIO()
    with redirect_stdout(script), suppress(SystemExit):
        tyro.cli(commands, prog=program, args=["--tyro-write-completion", shell, "-"])
    return script.getvalue()


def _options_of(name: str) -> Any:
    """The options of a job, or a choice of those of its kinds."""
    if name == "estimator":
        kinds = tuple(_as_command(kind, _with_config(estimator_job(kind))) for kind in estimators())
        return Union[kinds]  # noqa: UP007
    return _with_config(job_class(name))


def job_class(name: str) -> type[JobConfig]:
    """The options of a job, by the name of its file; of an older name, those of its estimator."""
    if name in estimators():
        return estimator_job(name)
    values = vars(import_module(f"jobs.{name}")).values()
    jobs = (of for of in values if isinstance(of, type) and issubclass(of, JobConfig))
    (kind,) = (job for job in jobs if job.command() == name)
    return kind


def _with_config(kind: type[JobConfig]) -> Any:
    """With `--config`, which `cluster.job.command.parse` takes out before the other options."""
    options = create_model(kind.__name__, __base__=kind, config=(ConfigFile | None, None))
    return options if kind.negatable else tyro.conf.FlagCreatePairsOff[options]


def _as_command(name: str, options: Any) -> Any:
    return Annotated[options, tyro.conf.subcommand(name)]
