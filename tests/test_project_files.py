"""The files by which GitHub and others know the project are what their formats ask for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from support.places import ROOT

FORMS = sorted(
    path
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    if path.name != "config.yml"
)
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
SCHEMAS = {
    "vendor.github-workflows": [WORKFLOW],
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}
"""schema that check-jsonschema brings along -> the files that are to follow it"""


def check(schema: str, *files: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, *files], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("schema", list(SCHEMAS))
def test_every_file_follows_its_schema(schema) -> None:
    files = SCHEMAS[schema]
    done = check(schema, *files)
    assert files and done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_file_that_does_not_is_refused(tmp_path) -> None:
    wrong = tmp_path / "ci.yml"
    wrong.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert check("vendor.github-workflows", wrong).returncode == 1


def pyproject() -> dict[str, dict[str, str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == pyproject()["project"]["version"]
    assert cited["license"] == pyproject()["project"]["license"]


def test_the_workflow_runs_what_a_merge_must_pass_on_every_python_that_is_allowed() -> None:
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["ci"]
    assert job["steps"][-1] == {"run": ".ci/run"}
    versions = job["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == pyproject()["project"]["requires-python"]
    assert [int(version.removeprefix("3.")) for version in versions] == [11, 12, 13]


def test_the_hook_of_a_commit_is_a_target_of_make() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [hook["entry"] for hook in hooks] == ["make check"] and "check" in targets


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_each_thing_once(form) -> None:
    asked = [part.get("id") for part in yaml.safe_load(form.read_text())["body"] if "id" in part]
    assert len(asked) == len(set(asked)) >= 2


def test_every_target_of_make_is_explained_to_contributors() -> None:
    said = (ROOT / "CONTRIBUTING.md").read_text()
    explained = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    ordinary = {"help", "clean", "format"}
    assert {name for name in explained if f"make {name}" not in said} <= ordinary
