"""A job on the command line: typed options, defaults from a TOML file, exit codes."""

import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn, Self, TypeVar

import tyro
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cluster.job.help_text import HELP, in_lines, on_one_line
from cluster.job.program import (
    BAD_ARGUMENTS,
    DONE,
    FAILED,
    GATE_FAILED,
    SIGNALLED,
    as_launched,
    pages_elsewhere,
    program_of,
    refuse,
    say,
)
from cluster.job.signals import StopRequest, raise_on_signals
from factory.store.open import require_lasting
from schemas.base import FormatError, spell_out
from schemas.options import OptionError
from schemas.place import places_in
from schemas.shipped import config_file
from schemas.toml import tables_in

_SECRET = re.compile(r"(?i)[a-z][a-z0-9+.-]*:/{1,2}([^/]*@|[^?#]*\?)")
"""a URL with a user name, a password or a query in it"""


_RESUMES = "The same command again resumes: what is done stays, what is missing is made."


Part = TypeVar("Part", bound=BaseModel)
OptionalCount = Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")]
"""a number of workers, cores or images, whose default depends on the machine or the dataset"""


class JobConfig(BaseModel):
    """Options of one command."""

    negatable: ClassVar[bool] = True
    """whether each switch `--x` comes with a `--no-x`, which can undo what a config file says"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    refused_options: ClassVar[Mapping[str, str]] = {}
    """options that cannot be given, by the field's name, and the end of a sentence that says why,
    e.g. `is gone; use --device cuda` for one of an earlier version"""
    about_choices: ClassVar[str] = ""
    """what `--help` says of options that depend on others"""
    about_config: ClassVar[str] = (
        "With --config FILE.toml, the file's [{command}] table gives defaults for all options; "
        "--config NAME takes a configuration that comes with simgan-factory. Options on the "
        "command line override them."
    )
    """what `--help` says of `--config`"""
    resumes: ClassVar[bool] = True
    """whether the same command can go on with what an earlier one left"""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        # `--help` lists options in the order of the fields: first what has to be given, then the
        # job's other options, then those of its other bases.
        own = inspect.get_annotations(cls).keys()
        fields = sorted(
            cls.__pydantic_fields__.items(),
            key=lambda field: (not field[1].is_required(), field[0] not in own),
        )
        cls.__pydantic_fields__ = dict(fields)

    @classmethod
    def command(cls) -> str:
        """`refine` for a `RefineJob`: the name of its file, and of its table in a config file."""
        return cls.__name__.removesuffix("Job").lower()

    @classmethod
    def program(cls) -> str:
        """How the command is started, for its `--help`."""
        return program_of(cls.command())

    @classmethod
    def narrowed(cls, given: Sequence[str], table: Mapping[str, Any], where: str) -> type[Self]:
        """The job with the options that go with these arguments.

        Args:
            given: the command line.
            table: the job's table of a config file.
            where: the file and the table, in words.
        """
        return cls

    def part(self, kind: type[Part]) -> Part:
        """The options that a job has from a model which is a base of it, as that model."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})


class GateFailedError(RuntimeError):
    """A quality gate refused the result: exit code 3."""


Job = TypeVar("Job", bound=JobConfig)


def parse(kind: type[Job], arguments: list[str] | None = None) -> Job:
    """A job's configuration from the command line.

    `--config FILE.toml` gives defaults, from the table named after the job file (`[train]` for
    jobs/train.py); flags override them. `--config NAME` takes one that comes with the package.
    Exits with 2 on bad arguments, 0 after `--help`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    program = kind.command()
    _refuse_secrets(given)
    config, given = _take_config(given)
    table = _table(config, program) if config is not None else {}
    where = f"{config} [{program}]"
    _refuse_secrets(_options_in(table))
    kind = kind.narrowed(given, table, where)
    _refuse_options(kind, given)
    default = _with_defaults(kind, table, where) if config is not None else None
    try:
        return tyro.cli(
            kind,
            prog=kind.program(),
            args=given,
            default=default,
            config=() if kind.negatable else (tyro.conf.FlagCreatePairsOff,),
            description=_description(kind),
            registry=HELP,
        )
    except ValidationError as error:
        refuse(spell_out(error))


def _description(kind: type[JobConfig]) -> str:
    """What `--help` says before the options, in lines that fit the terminal."""
    doc, pages = as_launched(inspect.getdoc(kind) or ""), pages_elsewhere()
    about = [
        *map(on_one_line, doc.split("\n\n")),
        kind.about_choices,
        kind.about_config.format(command=kind.command()) + (f" {_RESUMES}" if kind.resumes else ""),
        "Exit codes: 0 done, 1 failed, 2 bad arguments, 3 a quality gate failed, 128 + n stopped "
        "by signal n.",
        "" if pages is None else f"Pages docs/… are in {pages}.",
    ]
    return "\n\n".join(in_lines(part) for part in about if part)


def spelled(field: str) -> str:
    """An option as on the command line: `--shard-size`."""
    return f"--{field.replace('_', '-')}"


def load_config(kind: type[Job], config: Path, given: dict[str, Any]) -> Job:
    """A job from its table in a config file, if there is one, and from options that override it.

    Raises:
        ValidationError: options that do not fit.
        FormatError: the file is not TOML.
    """
    tables = tables_in(config)
    return kind.model_validate({**tables.get(kind.command(), {}), **given})


def run_command(
    kind: type[Job], main: Callable[[Job], None], arguments: list[str] | None = None
) -> NoReturn:
    """Parse the arguments, those of the process by default, run, and exit with the code that says
    how it went."""
    job = parse(kind, arguments)
    _refuse_fleeting(job)
    # Before anything loads OpenMP: its threads else wait for each other without giving up their
    # cores, which other processes on a busy machine then lack.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    what_next = "; the same command resumes" if kind.resumes else ""
    try:
        raise_on_signals()
        main(job)
    except GateFailedError as error:
        say(f"gate failed: {error}")
        sys.exit(GATE_FAILED)
    except OptionError as error:
        refuse(str(error))
    except ValidationError as error:
        say(f"error: {spell_out(error)}")
        sys.exit(BAD_ARGUMENTS)
    except StopRequest as request:
        say(f"stopped by {request.signal.name}{what_next}")
        sys.exit(SIGNALLED + request.signal)
    except KeyboardInterrupt:
        say(f"interrupted{what_next}")
        sys.exit(SIGNALLED + signal.SIGINT)
    except (OSError, ValueError, RuntimeError) as error:
        say(f"error: {error}\ndocs/troubleshooting.md explains the most common errors")
        sys.exit(FAILED)
    sys.exit(DONE)


def _refuse_secrets(given: Iterable[str]) -> None:
    """Refuse keys in a location before anything shows, logs or saves it.

    Args:
        given: options, each followed by its values or with one after `=`.
    """
    option = "the arguments"
    for argument in given:
        value = argument
        if argument.startswith("--"):
            option, _, value = argument.partition("=")
        if _SECRET.match(value):
            refuse(
                f"{option}: keys, tokens and signatures do not belong into a location; set "
                + (
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                    "MLFLOW_TRACKING_TOKEN"
                    if option == "--mlflow"
                    else "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                )
            )


def _refuse_fleeting(job: JobConfig) -> None:
    """Refuse places that would be removed after the job."""
    for name, place in places_in(job):
        try:
            require_lasting(Path(place.removeprefix("s3:/")))
        except ValueError as error:
            refuse(f"{spelled(name)}: {error}")


def _options_in(table: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """The options and values of a table of a config file, as on the command line."""
    for name, value in table.items():
        option = prefix + name.replace("_", "-")
        if isinstance(value, Mapping):
            yield from _options_in(value, f"{option}.")
            continue
        yield option
        yield from map(str, value) if isinstance(value, list) else (str(value),)


def _take_config(given: list[str]) -> tuple[Path | None, list[str]]:
    for index, argument in enumerate(given):
        if argument == "--config":
            if index + 1 == len(given):
                refuse("--config needs a file")
            return _config_at(given[index + 1]), given[:index] + given[index + 2 :]
        if argument.startswith("--config="):
            return _config_at(argument.partition("=")[2]), given[:index] + given[index + 1 :]
    return None, given


def _config_at(place: str) -> Path:
    try:
        return config_file(Path(place))
    except ValueError as error:
        refuse(f"--config: {error}")


def _refuse_options(kind: type[Job], given: Sequence[str]) -> None:
    """Say why an option cannot be given."""
    for argument in given:
        if argument.startswith("--"):
            flag = argument.partition("=")[0]
            name = flag.removeprefix("--").removeprefix("no-").replace("-", "_").partition(".")[0]
            if name in kind.refused_options:
                refuse(f"{flag} {kind.refused_options[name]}")


def _table(path: Path, name: str) -> dict[str, Any]:
    try:
        tables = tables_in(path)
    except OSError as error:
        refuse(f"--config {path}: {error}")
    except FormatError as error:
        refuse(f"--config {error}")
    if name not in tables:
        refuse(f"--config {path} has no [{name}] table; it has {', '.join(tables) or 'none'}")
    table = tables[name]
    if not isinstance(table, dict):
        refuse(f"--config {path}: [{name}] is no table, it is {table!r}")
    return table


def _with_defaults(kind: type[Job], values: dict[str, Any], where: str) -> Job:
    """A job whose missing required options are marked as such for the command line."""
    unknown = values.keys() - kind.model_fields.keys()
    for name in sorted(unknown & kind.refused_options.keys()):
        refuse(f"{where}: {name} {kind.refused_options[name]}")
    if unknown:
        refuse(
            f"{where}: unknown option {', '.join(sorted(unknown))}; "
            f"there are {', '.join(kind.model_fields)}"
        )
    complete: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name in values:
            complete[name] = _checked(kind, name, values[name], where)
        elif field.is_required():
            complete[name] = tyro.MISSING
        else:
            complete[name] = field.get_default(call_default_factory=True)
    return kind.model_construct(**complete)


def _checked(kind: type[Job], name: str, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind.model_fields[name].rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        refuse(f"{where}: {name}: {spell_out(error)}")
