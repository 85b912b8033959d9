"""`simgan-factory COMMAND`: every job is a command of one program, which names itself rightly."""

import ast
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.job import program
from cluster.job.command import JobConfig
from cluster.job.completion import completion_script, job_class
from cluster.job.menu import SHELLS, run_menu, summary_of
from cluster.job.program import as_launched, launched_by, pages_elsewhere, program_of
from cluster.job.start import logged_run
from factory.domains.registry import estimators
from jobs import GROUPS
from schemas.version import WRITER
from support.commands import always_explained
from support.places import ROOT

NAMES = [name for names in GROUPS.values() for name in names]
FILES = {path.stem: path for path in (ROOT / "jobs").glob("[!_]*.py")}


@pytest.fixture
def menu(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the program with arguments: its exit code, and what it printed to both streams."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bin/simgan-factory"])  # a command sets its own
        with pytest.raises(SystemExit) as caught:
            run_menu("simgan-factory", GROUPS, ROOT / "jobs", list(map(str, arguments)))
        return (int(caught.value.code or 0), *capsys.readouterr())

    return run


def test_every_job_file_is_listed_once() -> None:
    assert sorted(NAMES) == sorted(FILES)


@pytest.mark.parametrize("name", NAMES)
def test_a_job_file_begins_with_a_line_that_says_what_it_does(name) -> None:
    first = (ast.get_docstring(ast.parse(FILES[name].read_text())) or "").partition("\n")[0]
    assert first.endswith("."), "the list shows this line alone"
    assert summary_of(FILES[name]) == first[:-1]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=["none", "--help", "-h"])
def test_the_list_has_every_command_with_what_it_does(menu, arguments) -> None:
    code, shown, _ = menu(*arguments)
    assert code == 0 and shown.startswith("usage: simgan-factory COMMAND [OPTIONS]\n")
    lines = [line.split(maxsplit=1) for line in shown.splitlines() if line.startswith("  ")]
    assert [name for name, _ in lines] == NAMES
    assert ["ingest", summary_of(FILES["ingest"])] in lines
    assert all(f"\n{title}:\n" in shown for title in GROUPS)
    assert "The older name of `simgan-factory estimator gaze`" in shown
    assert max(map(len, shown.splitlines())) <= 102


def test_the_version_is_that_of_every_dataset(menu) -> None:
    assert menu("--version") == (0, f"{WRITER}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["injest"], "error: no command 'injest'; the nearest are ingest."),
        (["jobs/ingest.py"], "the nearest are ingest."),
        (["estimate"], "the nearest are estimator, simulate."),
        (["--versoin"], "error: no option '--versoin'; the nearest are --version."),
        (["xyz"], f"error: no command 'xyz'; there are {', '.join(NAMES)}."),
        (["\x1b[2J"], r"no command '\x1b[2J'"),
        (["--print-completion"], "--print-completion takes one of bash, zsh, fish"),
        (["--print-completion", "csh"], "takes one of bash, zsh, fish"),
    ],
)
def test_what_is_no_command_is_refused_with_the_nearest_names(menu, arguments, message) -> None:
    code, shown, said = menu(*arguments)
    assert (code, shown) == (2, "") and message in said and "\x1b" not in said


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_explains_its_options_and_names_the_program(menu, name) -> None:
    code, shown, _ = menu(name, "--help")
    names = f"estimator {name}" if name in estimators() else name
    assert code == 0 and shown.startswith(f"usage: simgan-factory {names} ")
    assert "jobs/" not in shown and "--config" in shown
    options = set() if name == "estimator" else always_explained(job_class(name))
    assert [option for option in options if option not in shown] == []


def test_wrong_options_of_a_command_are_refused_as_the_job_refuses_them(menu) -> None:
    code, _, said = menu("simulate", "--cuont", 3)
    assert code == 2 and "--cuont" in said
    assert "simgan-factory simulate --help" in said


def test_advice_names_commands_as_the_user_starts_them(menu, tmp_path) -> None:
    arguments = ("--input", tmp_path, "--refiner", tmp_path, "--output", tmp_path / "out")
    code, _, said = menu("refine", *arguments)
    assert code == 1 and "Make one with simgan-factory ingest\n" in said


def test_a_text_names_a_job_as_it_was_started() -> None:
    text = "run `python jobs/gc.py --delete`, or jobs/estimator.py gaze; not /x/jobs/ingest.py"
    assert as_launched(text) == text and program_of("ingest") == "python jobs/ingest.py"
    with launched_by("python -m jobs"):
        assert program_of("ingest") == "python -m jobs ingest"
        assert as_launched(text) == (
            "run `python -m jobs gc --delete`, or python -m jobs estimator gaze; "
            "not /x/jobs/ingest.py"
        )
    assert as_launched(text) == text


def test_a_text_names_a_page_by_the_place_where_it_is(tmp_path, monkeypatch) -> None:
    text = "docs/stores.md names servers; not /x/docs/stores.md"
    monkeypatch.chdir(ROOT)
    assert as_launched(text) == text and pages_elsewhere() is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()  # somebody else's
    (tmp_path / "docs" / "stores.md").touch()
    elsewhere = f"{ROOT}/docs/stores.md names servers; not /x/docs/stores.md"
    assert as_launched(text) == elsewhere and pages_elsewhere() == ROOT / "docs"
    with launched_by("simgan-factory"):
        assert as_launched(text) == elsewhere


def test_a_page_keeps_its_name_where_there_are_none(tmp_path, monkeypatch) -> None:
    """As in a copy of the packages alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "folder_of", lambda kind: tmp_path / "simgan_factory" / kind)
    assert pages_elsewhere() is None and as_launched("see docs/stores.md") == "see docs/stores.md"


def test_lines_of_the_log_name_it_too(tmp_path, capsys) -> None:
    with launched_by("simgan-factory"), logged_run(JobConfig(), tmp_path) as run:
        logging.getLogger(__name__).warning("mend it with jobs/repair.py")
    assert "mend it with simgan-factory repair" in run.log.read_text()
    assert "mend it with simgan-factory repair" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell_has_every_command_and_option(shell) -> None:
    script = completion_script("simgan-factory", NAMES, shell)
    assert [name for name in NAMES if f"'{name}'" not in script] == []
    assert "--keep-gaze-yaw-deg" in script and "'--config'" in script
    assert "'landmarks'" in script.partition("'estimator'")[2]


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "simgan-factory.bash"
    path.write_text(completion_script("simgan-factory", NAMES, "bash"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("simgan-factory", NAMES),
        ("simgan-factory ing", ["ingest"]),
        ("simgan-factory publish --re", ["--release", "--report"]),
        ("simgan-factory train --conf", ["--config"]),
        ("simgan-factory describe --no-v", []),
        ("simgan-factory estimator lan", ["landmarks"]),
    ],
)
def test_bash_completes_commands_and_options(bash_script, words, completed) -> None:
    subprocess.run(["bash", "-n", bash_script], check=True)
    last = len(words.split()) - (1 if words != "simgan-factory" else 0)
    asked = (
        f"source {bash_script}; COMP_WORDS=({words}{' ' + chr(39) * 2 if last == 1 else ''}); "
        f"COMP_CWORD={last}; _tyro_simgan_factory; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    answer = subprocess.run(
        ["bash", "-c", asked], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    offered = [word for word in answer.stdout.split() if not word.startswith("-h")]
    assert sorted(set(offered) - {"--help"}) == sorted(completed)
