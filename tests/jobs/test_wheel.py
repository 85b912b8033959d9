"""What `pip install .` brings works in a folder of its own, away from the checkout."""

import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from schemas.version import WRITER
from support.clusters import without_ray_address
from support.demos import smaller
from support.places import ROOT

pytestmark = pytest.mark.slow
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
HERE = """
import sys
from cluster.on_ray.session import Session
from factory.dataset.shard_tasks import collect, run_here
from simgan_factory.__main__ import main
Session.make_shards = lambda _, what, task, shards, num_samples: collect(run_here(task, shards))
main()
"""
"""the program with the work of its workers done in its own process, without Ray"""


def printed(command: list[str], cwd: Path, expect: int = 0) -> str:
    """Everything a command prints that ends as expected."""
    ran = subprocess.run(
        command, cwd=cwd, env=without_ray_address(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == expect, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """An environment of its own that a wheel of the checkout's tracked files was installed into.

    The dependencies are those of this environment, without its .pth files, and so without an
    editable install.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to leave out of the wheel what is not tracked")
    folder = tmp_path_factory.mktemp("wheel")
    listed = printed(["git", "ls-files", "-z"], ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "sources" / name)
    printed([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels",
             "./sources"], folder)  # fmt: skip
    (wheel,) = (folder / "wheels").glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    printed([*PIP, "--python", "env", "install", "--no-deps", str(wheel)], folder)
    return folder / "env"


@pytest.fixture
def installed(environment) -> Path:
    """The folder that the packages of the wheel are in."""
    (packages,) = environment.glob("lib/python*/site-packages")
    return packages


@pytest.fixture
def run(environment, tmp_path, monkeypatch):
    """Run the environment's Python, or a program of it, in a folder that is no checkout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(*arguments: str, program: str = "python", expect: int = 0) -> str:
        return printed([str(environment / "bin" / program), *arguments], tmp_path, expect)

    return run


def test_all_packages_come_from_the_wheel(installed, run) -> None:
    names = ("factory", "schemas", "cluster", "jobs", "simgan_factory")
    script = f"import {', '.join(names)}\nfor one in ({', '.join(names)}): print(one.__file__)"
    files = run("-c", script).splitlines()
    assert files == [str(installed / name / "__init__.py") for name in names]


def files_in(folder: Path) -> dict[Path, bytes]:
    """The content of every file, at any depth."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_the_wheel_has_every_job_configuration_gate_and_page_and_nothing_more(installed) -> None:
    for kind in ("configs", "gates", "docs"):
        assert files_in(installed / "simgan_factory" / kind) == files_in(ROOT / kind)
    typed = {path.parent.name for path in installed.rglob("py.typed")}
    assert typed == {"schemas", "factory", "cluster"}
    jobs = {path.name for path in (installed / "jobs").glob("*.py")}
    assert jobs == {path.name for path in (ROOT / "jobs").glob("*.py")}
    top = {path.name for path in installed.iterdir() if not path.name.startswith("_simgan_crop")}
    top -= {"dependencies.pth", "__pycache__"}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        *("schemas", "factory", "cluster", "jobs", "simgan_factory"),
    }


def test_the_program_lists_its_commands_under_each_of_its_names(installed, run) -> None:
    for start in (["simgan-factory"], ["python", "-m", "jobs"]):
        program, *first = start
        assert run(*first, "--version", program=program) == f"{WRITER}\n"
        shown = run(*first, "--help", program=program)
        assert shown.startswith(f"usage: {' '.join(start)} COMMAND")
        assert "  ingest     Turn raw renders or camera images into a dataset of shards" in shown
        assert f"Pages docs/… are in {installed / 'simgan_factory' / 'docs'}." in shown


def test_a_message_names_a_page_by_the_place_where_it_is(installed, run, tmp_path) -> None:
    said = run("describe", "--input", "nothing", program="simgan-factory", expect=1)
    (page,) = [Path(word) for word in said.split() if word.endswith("troubleshooting.md")]
    assert page == installed / "simgan_factory" / "docs" / "troubleshooting.md" and page.is_file()
    assert "Make one with simgan-factory ingest" in said


@pytest.mark.long
@pytest.mark.ray
def test_the_demo_of_a_wheel_ends_in_a_report(installed, run, tmp_path) -> None:
    settings = (installed / "simgan_factory" / "configs" / "demo.toml").read_text("utf-8")
    (tmp_path / "settings.toml").write_text(smaller(settings), "utf-8")
    said = run("demo", "--settings", "settings.toml", program="simgan-factory")
    report = tmp_path / "out" / "demo" / "report.html"
    assert said.rstrip().endswith(f"open: {report}")
    assert "<img" in report.read_text("utf-8")
    refined = ("--input", "out/demo/refined", "--workers", "1")
    assert "nothing is wrong with" in run("verify", *refined, program="simgan-factory")


def test_it_makes_a_dataset_by_a_configuration_that_came_along(run, tmp_path) -> None:
    run("-c", HERE, "simulate", "--count", "12", "--output", "renders")
    ingest = ("-c", HERE, "ingest", "--config", "eye-cpu", "--source", "unityeyes",
              "--input", "renders", "--output", "eyes")  # fmt: skip
    assert "12 inputs" in run(*ingest)
    assert f"written by    {WRITER}" in run("-m", "jobs", "describe", "--input", "eyes")
    card = Dataset.open(tmp_path / "eyes").card
    options = UnityEyesOptions.model_validate(card.config["options"])
    assert options.crop.equalise and card.shard_size == 1024


def test_the_library_can_be_imported_and_ingests(run, tmp_path) -> None:
    run("-c", HERE, "simulate", "--count", "3", "--output", "renders")
    script = (
        "from factory import Dataset, ingest, publish, refine, train, validate\n"
        "eyes = ingest('renders', source='unityeyes', output='eyes')\n"
        "print(sum(facts.num_samples for facts in eyes.all_facts(eyes.committed())))\n"
    )
    assert run("-c", script) == "3\n"
    assert Dataset.open(tmp_path / "eyes").committed() == [0]


def test_a_gate_that_is_not_there_is_answered_with_those_that_came_along(run, installed) -> None:
    script = (
        "from pathlib import Path; from schemas.shipped import gate_file\n"
        "print(gate_file(Path('eye')))"
    )
    assert run("-c", script) == f"{installed / 'simgan_factory' / 'gates' / 'eye.toml'}\n"
