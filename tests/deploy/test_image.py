"""image.sh, with programs that record how they are called in place of podman and mmdebstrap.

The real build takes many minutes and the packages of Debian; docs/deploy.md says how it went.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.manifests import read
from support.places import ROOT

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "cluster" / "deploy"
Calls = list[list[str]]
Run = Callable[..., tuple[subprocess.CompletedProcess[str], Calls]]


@pytest.fixture
def image(tmp_path) -> Run:
    """Runs image.sh; a recorded program exits as `FAILING` says: `COMMAND=CODE`."""
    calls = tmp_path / "calls"
    for name in ("podman", "mmdebstrap"):
        fake = tmp_path / "bin" / name
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys\n"
            "call = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]\n"
            f"with pathlib.Path({str(calls)!r}).open('a') as file:\n"
            "    file.write(json.dumps(call) + '\\n')\n"
            "part, _, code = os.environ.get('FAILING', '').partition('=')\n"
            "sys.exit(int(code) if part in call else 0)\n"
        )
        fake.chmod(0o755)

    def run(*arguments: str, failing: str = "") -> tuple[subprocess.CompletedProcess[str], Calls]:
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            [DEPLOY / "image.sh", *arguments],
            env={"PATH": f"{fake.parent}:/usr/bin:/bin", "FAILING": failing},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = calls.read_text().splitlines() if calls.exists() else []
        return done, [json.loads(line) for line in lines]

    return run


def value_after(call: list[str], option: str) -> str:
    assert call.count(option) == 1
    return call[call.index(option) + 1]


def test_the_base_the_image_the_demo_and_the_lists_are_made_in_turn(image, tmp_path) -> None:
    done, calls = image("made")
    assert done.returncode == 0, done.stderr
    begun = [call[:3] if call[1] == "image" else call[:2] for call in calls]
    assert begun[1:4] == [["podman", "import"], ["podman", "build"], ["podman", "image", "inspect"]]
    assert begun[4:] == [["podman", "run"]] * 4
    debootstrap, imported, built, _, demo, *lists = calls
    assert debootstrap[-1] == imported[-2] == str(tmp_path / "made" / "base.tar")
    assert value_after(built, "--build-arg") == f"BASE={imported[-1]}"
    assert built[-1] == str(ROOT)
    for option, file in (("--file", "Dockerfile"), ("--ignorefile", "Dockerfile.dockerignore")):
        assert value_after(built, option) == str(DEPLOY / file)
    tag = value_after(built, "--tag")
    assert all(tag in call for call in (demo, *lists))
    (settings,) = read((DEPLOY / "kubernetes" / "settings" / "kustomization.yaml").read_text())
    names = {f"localhost/{image['name']}:{image['newTag']}" for image in settings["images"]}
    assert tag in names
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made >= {"demo", "demo.log", "python-packages.cdx.json", "debian-packages.txt"}


def test_the_demo_has_no_network_and_the_user_of_the_dockerfile(image) -> None:
    _, (demo,) = image("made", "demo")
    assert value_after(demo, "--network") == "none"
    assert value_after(demo, "--cap-drop") == "all"
    assert "--user" not in demo and "--privileged" not in demo
    assert "simgan-factory demo " in demo[-1]


def test_pip_gets_the_folder_and_the_index_while_the_image_is_built(image, tmp_path) -> None:
    (tmp_path / "for pip").mkdir()
    options = ("--pip", "for pip", "--torch-index", "https://example.com/simple")
    done, calls = image(*options, "made", "build", "sbom")
    assert done.returncode == 0, done.stderr
    built, _, tools, listing, _ = calls
    assert value_after(built, "--build-context") == f"pip={tmp_path}/for pip"
    assert "TORCH_INDEX=https://example.com/simple" in built
    assert f"{tmp_path}/for pip:/pip:ro" in tools and value_after(tools, "--user") == "0:0"
    assert value_after(tools, "--constraint") == "constraints.txt"
    assert value_after(listing, "--network") == "none" and "--user" not in listing


@pytest.mark.parametrize(
    ("failing", "step", "num_calls"),
    [("build=7", "build", 3), ("none=3", "demo", 5), ("import=125", "base", 2)],
)
def test_a_step_that_fails_is_the_last_and_gives_its_exit_code(
    image, failing, step, num_calls
) -> None:
    done, calls = image("made", failing=failing)
    code = int(failing.partition("=")[2])
    assert (done.returncode, len(calls)) == (code, num_calls)
    assert f"image: {step}: exit code {code} after" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "OUT is missing"),
        (["made", "bild"], "there is no step bild"),
        (["--pip", "nowhere", "made"], "--pip nowhere is not a folder"),
        (["--pip"], "--pip needs a value"),
        (["--index", "x", "made"], "there is no option --index"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_made(
    image, tmp_path: Path, arguments, said
) -> None:
    done, calls = image(*arguments)
    assert (done.returncode, calls) == (2, [])
    assert said in done.stderr and "image.sh [--pip FOLDER]" in done.stderr
