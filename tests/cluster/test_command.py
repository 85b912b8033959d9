"""The command line: defaults from TOML, overridden by flags, and what the exit codes mean."""

import os
import re
import runpy
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import Field

from cluster.job.command import (
    GateFailedError,
    JobConfig,
    load_config,
    parse,
    run_command,
)
from cluster.job.estimators import estimator_job
from factory.evaluation.comparison.setup import EvaluationSetup
from jobs.demo import Chain
from jobs.ingest import IngestJob
from schemas.base import Model
from schemas.shipped import shipped
from support.commands import always_explained
from support.places import ROOT

JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py") if not path.stem.startswith("__"))
ESTIMATORS = ("landmarks", "gaze", "joints")
"""kinds of jobs/estimator.py, each of which has an older name of its own too"""
OWN_OPTIONS = [path for path in JOBS if path.stem not in (*ESTIMATORS, "estimator")]


class Framing(Model):
    height: int = Field(default=35, ge=16)
    width: int = 55


class SampleJob(JobConfig):
    """A job for these tests."""

    output: Path
    """folder"""
    count: int = Field(default=10, gt=0)
    """how many"""
    share: float = 0.5
    """of what"""
    names: tuple[str, ...] = ("a",)
    """of things"""
    crop: Framing = Framing()


def toml(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "job.toml").write_text(text)
    return ["--config", str(tmp_path / "job.toml")]


def refused(capsys, arguments: list[str]) -> str:
    """The message with which bad arguments are refused."""
    with pytest.raises(SystemExit) as caught:
        parse(SampleJob, arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_options_come_from_flags() -> None:
    job = parse(SampleJob, ["--output", "x", "--count", "3", "--crop.height", "40"])
    assert job == SampleJob(output=Path("x"), count=3, crop=Framing(height=40))


def test_flags_override_a_config_file_that_overrides_defaults(tmp_path) -> None:
    config = toml(tmp_path, '[sample]\noutput = "y"\ncount = 4\nnames = ["b", "c"]\nshare = 0.25\n')
    job = parse(SampleJob, [*config, "--count", "5"])
    assert job == SampleJob(output=Path("y"), count=5, names=("b", "c"), share=0.25)
    assert parse(SampleJob, ["--count", "5", f"--config={config[1]}"]) == job


def test_a_zero_in_a_config_file_is_a_value(tmp_path) -> None:
    config = toml(tmp_path, "[sample]\nshare = 0.0\n")
    assert parse(SampleJob, [*config, "--output", "x"]).share == 0.0


def test_nested_options_come_from_a_sub_table(tmp_path) -> None:
    config = toml(tmp_path, '[sample]\noutput = "y"\n[sample.crop]\nheight = 40\n')
    assert parse(SampleJob, config).crop == Framing(height=40)
    both = parse(SampleJob, [*config, "--crop.width", "60"])
    assert both.crop == Framing(height=40, width=60)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sample]\ncuont = 3\n", r"[sample]: unknown option cuont; there are output, count"),
        ("[sample]\ncount = 'many'\n", "count: "),
        ("[sample]\ncount = 0\n", "greater than 0"),
        ("[sample.crop]\nheight = 3\n", "height"),
        ("[sample.crop]\ndepth = 3\n", "depth"),
        ("[other]\ncount = 3\n", "has no [sample] table; it has other"),
        ("sample = 3\n", "[sample] is no table"),
        ("[sample\n", "job.toml"),
        ("", "has no [sample] table; it has none"),
    ],
)
def test_a_config_file_that_does_not_fit_is_refused(tmp_path, capsys, text, reason) -> None:
    message = refused(capsys, [*toml(tmp_path, text), "--output", "x"])
    assert reason in message and "job.toml" in message


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_config_file_is_read_whichever_editor_saved_it(tmp_path, mark, end) -> None:
    (tmp_path / "job.toml").write_bytes(mark + end.join([b"[sample]", b"count = 4", b""]))
    assert parse(SampleJob, ["--config", f"{tmp_path}/job.toml", "--output", "x"]).count == 4


def test_a_config_file_in_another_encoding_is_refused_with_what_to_do(tmp_path, capsys) -> None:
    (tmp_path / "job.toml").write_text("[sample]\ncount = 4\n", "utf-16")
    message = refused(capsys, ["--config", str(tmp_path / "job.toml"), "--output", "x"])
    assert "job.toml: not in UTF-8" in message and "save it as UTF-8" in message


def test_a_config_file_that_is_not_text_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "job.toml").write_bytes(b"\xff\xfe\x00")
    assert "job.toml" in refused(capsys, ["--config", str(tmp_path / "job.toml")])


def test_a_config_file_that_is_missing_is_named(tmp_path, capsys) -> None:
    assert "nowhere.toml" in refused(capsys, ["--config", str(tmp_path / "nowhere.toml")])
    assert "--config needs a file" in refused(capsys, ["--output", "x", "--config"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "output"),
        (["--output", "x", "--count", "many"], "count"),
        (["--output", "x", "--count", "0"], "greater than 0"),
        (["--output", "x", "--cuont", "3"], "cuont"),
    ],
)
def test_bad_arguments_exit_with_2_and_name_the_option(capsys, arguments, reason) -> None:
    assert reason in refused(capsys, arguments)


def test_a_required_option_is_still_required_with_a_config_file(tmp_path, capsys) -> None:
    assert "output" in refused(capsys, toml(tmp_path, "[sample]\ncount = 3\n"))


def test_load_config_takes_the_jobs_own_table(tmp_path) -> None:
    (tmp_path / "all.toml").write_text("[sample]\ncount = 4\n[other]\nx = 1\n")
    job = load_config(SampleJob, tmp_path / "all.toml", {"output": "x"})
    assert job == SampleJob(output=Path("x"), count=4)


def bad_value(job: SampleJob) -> None:
    Framing(height=1)


def raising(error: BaseException):
    def main(job: SampleJob) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "message"),
    [
        (lambda job: None, 0, ""),
        (raising(ValueError("what is wrong")), 1, "error: what is wrong"),
        (raising(OSError(28, "No space left", "x.tar")), 1, "No space left"),
        (raising(RuntimeError("2 of 3 shards failed")), 1, "error: 2 of 3 shards failed"),
        (raising(GateFailedError("drift too large")), 3, "gate failed: drift too large"),
        (raising(KeyboardInterrupt()), 130, "the same command resumes"),
        (bad_value, 2, "height"),
    ],
)
def test_exit_codes_say_how_it_went(monkeypatch, capsys, main, code, message) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/sample.py", "--output", "x"])
    with pytest.raises(SystemExit) as caught:
        run_command(SampleJob, main)
    assert caught.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_their_cores_to_others(monkeypatch, given, used) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")  # it is put back after the test
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    seen: list[str] = []
    with pytest.raises(SystemExit):
        run_command(
            SampleJob, lambda job: seen.append(os.environ["OMP_WAIT_POLICY"]), ["--output", "x"]
        )
    assert seen == [used]


def test_a_stopped_job_that_cannot_go_on_does_not_say_that_it_can(monkeypatch, capsys) -> None:
    monkeypatch.setattr(SampleJob, "resumes", False)
    with pytest.raises(SystemExit) as caught:
        run_command(SampleJob, raising(KeyboardInterrupt()), ["--output", "x"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def job_class(path: Path) -> type[JobConfig]:
    if path.stem in ESTIMATORS:
        return estimator_job(path.stem)
    kinds = [
        value
        for value in runpy.run_path(str(path), run_name="looked_at").values()
        if isinstance(value, type) and issubclass(value, JobConfig)
    ]
    (kind,) = [kind for kind in kinds if kind.command() == path.stem]
    return kind


def shown_help(monkeypatch, capsys, name: str, *arguments: str) -> str:
    """What a job prints where it is asked for help."""
    path = str(ROOT / "jobs" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, *arguments, "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(path, run_name="__main__")
    assert caught.value.code == 0
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("path", OWN_OPTIONS, ids=lambda path: path.stem)
def test_help_of_each_job_explains_every_option(monkeypatch, capsys, path) -> None:
    shown = shown_help(monkeypatch, capsys, path.stem)
    assert f"jobs/{path.stem}.py" in shown and "--config" in shown and "Exit codes" in shown
    assert [flag for flag in always_explained(job_class(path)) if flag not in shown] == []


@pytest.mark.parametrize("name", ["browse", "describe", "metrics", "verify"])
def test_help_of_a_job_that_only_answers_does_not_speak_of_resuming(
    monkeypatch, capsys, name
) -> None:
    assert "resumes" in shown_help(monkeypatch, capsys, "publish")
    assert "resumes" not in shown_help(monkeypatch, capsys, name)


def test_help_of_the_night_names_the_file_that_it_takes(monkeypatch, capsys) -> None:
    shown = " ".join(shown_help(monkeypatch, capsys, "night").split())
    assert "as --settings, in the place of the --config of other jobs" in shown
    assert "gives defaults for all options" not in shown


def test_help_of_browse_says_that_a_place_is_required(monkeypatch, capsys) -> None:
    shown = " ".join(shown_help(monkeypatch, capsys, "browse").split())
    assert "(required)" in shown and "(default: )" not in shown


def test_help_of_validate_names_every_gate_that_comes_along(monkeypatch, capsys) -> None:
    shown = " ".join(shown_help(monkeypatch, capsys, "validate").replace("│", " ").split())
    named = shown.partition("one that comes with simgan-factory: ")[2].partition(" --")[0]
    assert set(named.split(", ")) == set(shipped("gates"))


def test_help_of_a_training_says_something_about_every_option(monkeypatch, capsys) -> None:
    shown = shown_help(monkeypatch, capsys, "train").replace("│", " ")
    silent = re.findall(r"(--(?!discriminator\.layers)[\w.-]+) \S+\s{2,}\(default", shown)
    assert silent == [] and len(re.findall(r" --[\w.-]+ \S+\s{2,}\w", shown)) > 40


def test_help_of_the_estimator_job_names_every_kind(monkeypatch, capsys) -> None:
    shown = shown_help(monkeypatch, capsys, "estimator")
    assert "jobs/estimator.py KIND" in shown and "--config" in shown and "Exit codes" in shown
    assert all(f"    {name}" in shown for name in ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_help_of_each_estimator_explains_every_option_under_both_names(
    monkeypatch, capsys, name
) -> None:
    shown = shown_help(monkeypatch, capsys, "estimator", name)
    assert f"jobs/estimator.py {name}" in shown and f"[{name}]" in shown and "Exit codes" in shown
    for option in estimator_job(name).model_fields:
        assert f"--{option.replace('_', '-')}" in shown, option
    assert shown_help(monkeypatch, capsys, name) == shown


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_table_of_a_named_configuration_fits_its_job(path) -> None:
    tables = tomllib.loads(path.read_text())
    if "arms" in tables:  # a setup for jobs/evaluate.py
        EvaluationSetup.model_validate(tables)
        return
    tables.pop("variants", None)  # of jobs/ablate.py: see test_ablation.py
    if "chain" in tables:  # of jobs/demo.py
        chain = Chain.model_validate(tables.pop("chain"))
        given = {"input": "x", "output": "y"}
        for options in (chain.renders, chain.camera):
            IngestJob.model_validate(given | tables["ingest"] | options)
        assert all(map(estimator_job, chain.estimators))
    jobs = {job.stem: job_class(job) for job in JOBS if job.stem != "estimator"}
    assert tables and tables.keys() <= jobs.keys()
    for name, table in tables.items():
        required = [field for field, info in jobs[name].model_fields.items() if info.is_required()]
        stand_ins = {"source": "unityeyes", "count": 1}
        given = {field: stand_ins.get(field, "x") for field in required}
        jobs[name].model_validate(given | table)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("ingest", "max_reject_share"),
        ("ingest", "crop.eye_width_px"),
        ("ingest", "keep_gaze_yaw_deg"),
        ("gc", "older_than_hours"),
        ("train", "lambda_reg"),
        ("train", "betas"),
        ("validate", "test.learning_rate"),
        ("validate", "finder.max_disagreement_px"),
        ("validate", "looks.copy_percentile"),
        ("power", "rates"),
        ("power", "tail"),
        ("gaze", "lr"),
    ],
)
def test_no_option_is_nan(tmp_path, capsys, name, option) -> None:
    """A limit that is NaN is never passed, and a NaN among the settings reaches every result."""
    jobs = import_module(f"jobs.{name}")
    kind = estimator_job(name) if name in ESTIMATORS else getattr(jobs, f"{name.capitalize()}Job")
    table, _, field = f"{kind.command()}.{option}".rpartition(".")
    several = option in ("rates", "betas", "keep_gaze_yaw_deg")
    config = toml(tmp_path, f"[{table}]\n{field} = {'[nan, nan]' if several else 'nan'}\n")
    flag = f"--{option.replace('_', '-')}"
    for arguments in (config, [flag, *(["nan", "nan"] if several else ["nan"])]):
        with pytest.raises(SystemExit) as caught:
            parse(kind, [*arguments, *given_to(kind)])
        assert caught.value.code == 2
        message = capsys.readouterr().err
        assert field in message or flag in message


def given_to(kind: type[JobConfig]) -> list[str]:
    """The options that have to be given, as on the command line."""
    stand_ins = {"source": "unityeyes", "count": "1", "steps": "2"}
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    pairs = [(f"--{name.replace('_', '-')}", stand_ins.get(name, "x")) for name in required]
    return [part for pair in pairs for part in pair]


SECRETS = [
    "s3://AKPLANTED:planted@bucket/eyes",
    "s3:/AKPLANTED:planted@bucket/eyes",  # as a path shortens it
    "https://host/x.npz?X-Amz-Signature=planted",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", [("--output", "{}"), ("--output={}",), ("--config", "{}")])
def test_keys_in_any_location_are_refused_untold(capsys, secret, form) -> None:
    message = refused(capsys, [part.format(secret) for part in form])
    assert "planted" not in message.lower()
    assert f"{form[0].partition('=')[0]}: keys, tokens and signatures do not belong" in message


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_in_a_config_file_are_refused_untold(capsys, tmp_path, secret) -> None:
    for text in (
        f'output = "{secret}"',
        f'names = ["a", "{secret}"]',
        f'crop = {{x = "{secret}"}}',
    ):
        message = refused(capsys, toml(tmp_path, f"[sample]\n{text}\n"))
        assert "planted" not in message.lower() and "do not belong into a location" in message


def test_locations_without_keys_are_none() -> None:
    places = ("s3://bucket/prefix", "/a@b/c", "me@host:/x", "a?b", "C:/x", "s3://bucket/a@b")
    assert parse(SampleJob, ["--output", "x", "--names", *places]).names == places


def test_an_error_cannot_control_the_terminal(capsys) -> None:
    def main(job: SampleJob) -> None:
        raise ValueError("cannot read \x1b[2J\u202e1.jpg")

    with pytest.raises(SystemExit):
        run_command(SampleJob, main, ["--output", "x"])
    first, page = capsys.readouterr().err.splitlines()
    assert first == "error: cannot read \\x1b[2J\\u202e1.jpg"
    assert page == "docs/troubleshooting.md explains the most common errors"
