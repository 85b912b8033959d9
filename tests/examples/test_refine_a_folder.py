"""examples/refine_a_folder.py, at its smallest, as its reader runs it."""

import os
import re
import runpy
import shlex
import sys
import time
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.release.state import read_manifest
from support.places import DATA, ROOT

EXAMPLE = ROOT / "examples" / "refine_a_folder.py"
NUM = 40
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """`renders` of the built-in renderer, and `camera`, pictures of other eyes by themselves."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in (("renders", 5), ("camera", 6)):
        (folder / name).mkdir()
        write_renders(
            folder / name, EyeRenderer(height=120, width=160, seed=seed).render(range(NUM))
        )
    for label in (folder / "camera").glob("*.json"):
        label.unlink()
    return folder


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return exited.value.code


def test_a_folder_becomes_a_release_and_a_missed_gate_stops_one(
    inputs, tmp_path, monkeypatch, capsys
) -> None:
    given = (inputs / "renders", inputs / "camera", tmp_path / "out", "--trial", "--gate")
    started = time.process_time()
    assert exit_code(monkeypatch, *given, DATA / "open-gate.toml") == 0
    assert time.process_time() - started < 20
    refined = Dataset.open(tmp_path / "out" / "refined")
    assert capsys.readouterr().out == f"{NUM} samples in {refined.location}/releases/first\n"
    manifest = read_manifest(refined, "first")
    assert manifest.num_samples == NUM
    parent = Dataset.open(tmp_path / "out" / "renders")
    labels = [dataset.index(0, ["key", "gaze", "png_sha256"]) for dataset in (parent, refined)]
    assert labels[0].select(["key", "gaze"]).equals(labels[1].select(["key", "gaze"]))
    assert labels[0]["png_sha256"] != labels[1]["png_sha256"]

    shut = (*given, DATA / "shut-gate.toml", "--release", "second")
    assert exit_code(monkeypatch, *shut) == 3
    assert "no release: " in capsys.readouterr().out
    assert not os.path.lexists(tmp_path / "out" / "refined" / "releases" / "second")


def test_the_commands_of_the_page_are_ones_that_it_takes() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    commands = re.findall(r"^python examples/refine_a_folder\.py(.*)$", page, re.MULTILINE)
    options_in = runpy.run_path(str(EXAMPLE))["options_in"]
    assert commands
    for command in commands:
        options_in(shlex.split(command, comments=True))
