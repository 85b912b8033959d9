"""Go from new renders to a release: ingest, refine, validate, publish, expire."""

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import tyro
from pydantic import Field, SecretStr

from cluster.job.command import JobConfig, parse, run_command, spelled
from jobs import GROUPS, ingest, publish, refine, repair, validate
from schemas.options import OptionError, value_of
from schemas.shipped import ConfigFile
from schemas.toml import tables_in

if TYPE_CHECKING:
    from cluster.job.night.chain import Night
    from cluster.job.night.settings import NightSettings
    from schemas.report import Report

log = logging.getLogger(__name__)
Job = TypeVar("Job", bound=JobConfig)
NEEDED = {
    "ingest": {"input": "SIMGAN_RENDERS", "output": "SIMGAN_SYNTHETIC"},
    "refine": {"refiner": "SIMGAN_REFINER", "output": "SIMGAN_REFINED"},
    "validate": {"real": "SIMGAN_REAL", "gate": "SIMGAN_GATE"},
    "publish": {},
}
"""job to options that have to be given, each with the environment variable that may give it"""
POSSIBLE = {"ingest": {"source": "SIMGAN_SOURCE", "min_shard": "SIMGAN_MIN_SHARD"}}
"""the same, of options that may be left out"""
WITHOUT_FILE = {"ingest": {"source": "unityeyes", "min_shard": "4096"}}
"""what holds for these where there is no file of settings"""
OF_NIGHT = {
    "webhook": "SIMGAN_WEBHOOK",
    "keep_releases": "SIMGAN_KEEP_RELEASES",
    "keep_days": "SIMGAN_KEEP_DAYS",
}
"""fields of the table [night], each with the variable that may give it"""
OF_NIGHT_TABLE = (
    "name",
    "keep_releases",
    "keep_days",
    "withhold",
    "max_withheld_share",
    "mend",
    "webhook",
)
"""fields of the table [night], which is for `cluster.job.night.settings.NightSettings`"""
NOT_OF_A_NIGHT = ("release", "report", "abandon", "export")
"""options of jobs/publish.py that a night decides itself, or that go with one release alone"""


class NightJob(JobConfig):
    """Go from new renders to a release: ingest, refine, validate with a gate, publish under the
    date, let releases/latest.json name it, and give up releases that are too old.

    Each job reads its table of the settings ([ingest], [refine], [validate], [publish]), and the
    table [night] has what is for the night itself. docs/deploy.md explains them, and the variables
    of the environment that override them. Exit code 3: a limit of the gate was missed, and there is
    no release. Exit code 1: something else failed, and the message names it; what could be released
    was released.
    """

    negatable: ClassVar[bool] = False
    about_config: ClassVar[str] = (
        "One file has the settings of all jobs: give it as --settings, in the place of the "
        "--config of other jobs."
    )
    refused_options: ClassVar[Mapping[str, str]] = dict.fromkeys(
        OF_NIGHT_TABLE, "is read from the file that --settings names; give that instead of --config"
    )

    settings: Annotated[ConfigFile | None, tyro.conf.arg(metavar="PATH")] = None
    """TOML file with a table of options for each job; without it, environment variables say all"""
    overdue_hours: Annotated[float | None, Field(gt=0, le=1e6), tyro.conf.arg(metavar="HOURS")] = (
        None
    )
    """only look whether the latest release was published, or found to be the newest, in the last so
    many hours; if not, tell the webhook, with exit code 1"""
    take_back: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """only end the withholding of these shards of the refined dataset, so that the next night
    validates them again"""


@dataclass(frozen=True)
class Jobs:
    """The jobs of a night, which are its steps (`cluster.job.night.chain.Steps`)."""

    of_ingest: ingest.IngestJob
    of_refine: refine.RefineJob
    of_validate: validate.ValidateJob
    of_publish: publish.PublishJob

    def ingest(self) -> None:
        ingest.main(self.of_ingest)

    def refine(self) -> None:
        refine.main(self.of_refine)

    def validate(self, leave_out: Sequence[int]) -> "Report":
        return validate.validated(
            self.of_validate.model_copy(update={"leave_out": tuple(leave_out)})
        )

    def publish(self, release: str, report_id: str, kept: str | None) -> None:
        this = {"release": release, "report": report_id, "kept": kept}
        publish.main(self.of_publish.model_copy(update=this))

    def mend(self, location: str) -> None:
        from factory.store.open import absolute

        if location == absolute(self.of_refine.output):
            means = {
                "parent": self.of_refine.input,
                "refiner": self.of_refine.refiner,
                "device": self.of_refine.device,
                "withdraw_stale": True,
            }
        else:
            means = {"source_input": self.of_ingest.input}
        workers = self.of_refine.workers
        repair.main(repair.RepairJob(input=location, apply=True, workers=workers, **means))


def main(job: NightJob) -> None:
    jobs, settings = planned(job, os.environ)
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.job.night.telling import require_recent, run_night, told_if_not_begun
    from cluster.job.start import logged_run
    from factory.dataset.dataset import Dataset
    from factory.store.lease import lease
    from factory.store.open import absolute, open_store
    from factory.validation.withheld import take_back

    refined = absolute(jobs.of_refine.output)
    if job.overdue_hours is not None:
        print(require_recent(refined, job.overdue_hours, settings.webhook))
    elif job.take_back:
        with value_of(f"--take-back {' '.join(map(str, job.take_back))}"):
            taken = take_back(Dataset.open(refined), job.take_back)
        print(f"the next night validates again: shards {', '.join(map(str, taken))}")
    else:
        with told_if_not_begun(refined, settings.webhook) as begin:
            night = _night(jobs, settings)
            with logged_run(job, refined) as run, lease(open_store(refined), "night") as is_ours:
                begin()
                if is_ours:
                    run_night(night, run.write)
                else:
                    log.warning("another night is at work on %s; this one does nothing", refined)


def planned(job: NightJob, environment: Mapping[str, str]) -> "tuple[Jobs, NightSettings]":
    """The jobs of a night with their options, and its settings.

    Exits with 2 where the options of a job are wrong, as that job does.

    Raises:
        OptionError: something is missing, or is not for a night.
    """
    from cluster.job.night.settings import NightSettings

    with value_of(f"--settings {job.settings}"):
        tables = {} if job.settings is None else tables_in(job.settings)
        for name, table in tables.items():
            if name not in {*chain.from_iterable(GROUPS.values())} or not isinstance(table, dict):
                raise ValueError(f"{name} is no table of a job, nor [night]")
        of_night = dict(tables.get("night", {}))
    for name, variable in OF_NIGHT.items():
        if environment.get(variable):
            of_night[name] = environment[variable]
    if isinstance(webhook := of_night.get("webhook"), str):
        of_night["webhook"] = SecretStr(webhook)  # so that no message quotes it
    with value_of(f"[night], or {', '.join(OF_NIGHT.values())}"):
        settings = NightSettings.model_validate(of_night)
    for name in NOT_OF_A_NIGHT:
        if name in tables.get("publish", {}):
            raise OptionError(f"{job.settings} [publish]: {name} is not for a night")
    read = _Options(job.settings, tables, environment)
    of_ingest = read.job(ingest.IngestJob)
    of_refine = read.job(refine.RefineJob, input=of_ingest.output)
    of_validate = read.job(validate.ValidateJob, input=of_refine.output)
    of_publish = read.job(publish.PublishJob, input=of_refine.output, release="night")
    if of_publish.export is not None or of_publish.report is not None or of_publish.abandon:
        raise OptionError("--export, --report and --abandon of jobs/publish.py are not for a night")
    for one, follows in (
        (of_refine, of_ingest.output),
        (of_validate, of_refine.output),
        (of_publish, of_refine.output),
    ):
        if one.input != follows:
            raise OptionError(
                f"--input {one.input} of jobs/{one.command()}.py is not for a night: it follows "
                f"from the other options, and is {follows}"
            )
    if not of_publish.latest:
        raise OptionError("a night lets releases/latest.json name its release; leave latest out")
    return Jobs(of_ingest, of_refine, of_validate, of_publish), settings


@dataclass(frozen=True)
class _Options:
    """Options of jobs, from tables of a file and from environment variables, which come first."""

    path: Path | None
    tables: Mapping[str, Any]
    environment: Mapping[str, str]

    def job(self, kind: type[Job], **follows: str) -> Job:
        """A job as its own command line gives it.

        Args:
            follows: options that follow from the other jobs.

        Raises:
            OptionError: an option that a night needs is given nowhere.
        """
        name = kind.command()
        with value_of(of_further := f"SIMGAN_{name.upper()}_OPTIONS"):
            further = shlex.split(self.environment.get(of_further, ""))
        given = dict(follows)
        for option, variable in {**NEEDED[name], **POSSIBLE.get(name, {})}.items():
            value = self.environment.get(variable)
            if value:
                given[option] = value
            elif self.path is None and option in WITHOUT_FILE.get(name, {}):
                given[option] = WITHOUT_FILE[name][option]
        for option, variable in NEEDED[name].items():
            is_there = option in given or option in self.tables.get(name, {})
            if not is_there and spelled(option) not in further:
                table = "" if self.path is None else f", and {self.path} [{name}] has no {option}"
                raise OptionError(f"{variable} is not set{table}; docs/deploy.md tells what it is")
        arguments = [argument for o, v in given.items() for argument in (spelled(o), v)]
        from_file = ["--config", str(self.path)] if name in self.tables else []
        return parse(kind, [*from_file, *arguments, *further])


def _night(jobs: Jobs, settings: "NightSettings") -> "Night":
    """The night, once its gate and its real dataset are seen to be of use.

    Raises:
        OptionError: one of them is not.
    """
    from cluster.job.night.chain import Night, Places
    from factory.dataset.dataset import Dataset
    from factory.domains.registry import domain_of_source
    from factory.release.run import beside_location
    from factory.store.open import absolute
    from factory.validation.gate import load_gate

    of_validate, of_publish = jobs.of_validate, jobs.of_publish
    assert of_validate.gate is not None, "a night needs one"
    with value_of(f"--gate {of_validate.gate}"):
        load_gate(of_validate.gate, domain_of_source(jobs.of_ingest.source).validator().report)
    with value_of(f"--real {of_validate.real}"):
        Dataset.open(of_validate.real)
    refined = absolute(jobs.of_refine.output)
    kept = None
    if of_publish.drop_failed:
        kept = beside_location(refined) if of_publish.kept is None else absolute(of_publish.kept)
    return Night(
        jobs,
        Places(
            synthetic=absolute(jobs.of_ingest.output),
            refined=refined,
            kept=kept,
            split=of_validate.split,
            leave_out=of_validate.leave_out,
        ),
        settings,
    )


if __name__ == "__main__":
    run_command(NightJob, main)
