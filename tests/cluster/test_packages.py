"""Other people's packages that have the names of ours are named, before anything fails in them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.job.packages import PACKAGES
from support.places import ROOT

PROGRAM = ["-m", "simgan_factory", "--version"]


def first_line(command: list[str], folder: Path, *path: Path, code: int = 1) -> str:
    """What a command says first, in a folder, with these folders on Python's path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    ran = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return (ran.stderr or ran.stdout).splitlines()[0]


def package(folder: Path, name: str) -> Path:
    """The file of somebody else's package."""
    path = folder / name / "__init__.py"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_comes_before_ours_is_named_with_what_to_do(
    tmp_path, elsewhere, name
) -> None:
    theirs = package(tmp_path / "theirs", name)
    said = first_line(PROGRAM, elsewhere, tmp_path / "theirs", ROOT)
    assert said == (
        f"error: {theirs} is not simgan-factory's own package {name!r} ({ROOT / name}), but Python "
        f"finds it first; take {tmp_path / 'theirs'} out of PYTHONPATH"
    )


def test_so_is_a_module_and_one_in_the_folder_where_the_command_is_run(elsewhere) -> None:
    (elsewhere / "factory.py").touch()
    said = first_line(PROGRAM, elsewhere, ROOT)
    assert said.startswith(f"error: {elsewhere / 'factory.py'} is not simgan-factory's own")
    assert said.endswith("run the command from another folder, or rename it")


def test_so_is_one_that_was_installed(tmp_path, elsewhere) -> None:
    site = tmp_path / "lib" / "site-packages"
    theirs = package(site, "schemas")
    said = first_line(PROGRAM, elsewhere, site, ROOT)
    assert said.startswith(f"error: {theirs} is not") and "; uninstall what brings it" in said


@pytest.mark.parametrize("name", ["factory", "schemas"])
def test_a_job_that_is_run_as_its_file_says_the_same(tmp_path, elsewhere, name) -> None:
    theirs = package(tmp_path / "theirs", name)
    job = [str(ROOT / "jobs" / "ingest.py"), "--help"]
    said = first_line(job, elsewhere, tmp_path / "theirs", ROOT)
    assert said.startswith(f"error: {theirs} is not simgan-factory's own package {name!r}")


def test_a_folder_of_that_name_without_code_is_no_package(elsewhere) -> None:
    (elsewhere / "jobs").mkdir()
    assert first_line(PROGRAM, elsewhere, ROOT, code=0).startswith("simgan-factory ")
