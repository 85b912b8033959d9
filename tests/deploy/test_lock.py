"""requirements.lock: whole, in step with constraints.txt, and read by the Dockerfile as meant."""

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.deploy import lock
from support.places import ROOT

DEPLOY = ROOT / "cluster" / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}


def locked() -> list[tuple[Requirement, set[str]]]:
    """(package, hashes) of every entry."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [(Requirement(line.partition(" --hash")[0]), set(HASH.findall(line))) for line in lines]


def version_of(needed: Requirement) -> str:
    """The version that is pinned."""
    (pin,) = needed.specifier
    assert pin.operator == "==", needed
    return pin.version


@pytest.fixture(scope="module")
def versions() -> dict[str, str]:
    """Name -> version, of what is installed on Linux."""
    entries = [
        (canonicalize_name(needed.name), version_of(needed))
        for needed, _ in locked()
        if needed.marker is None or needed.marker.evaluate(LINUX)
    ]
    assert len(entries) > 90 and len(dict(entries)) == len(entries)
    return dict(entries)


def test_every_entry_has_hashes_of_whole_files() -> None:
    for needed, hashes in locked():
        assert hashes, needed
    text = (ROOT / "requirements.lock").read_text()
    assert len(HASH.findall(text)) == text.count("--hash=")


def test_every_version_is_that_of_the_constraints(versions) -> None:
    pinned = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    constraints = {canonicalize_name(each.name): version_of(each) for each in pinned}
    others = {
        name: (version, constraints.get(name))
        for name, version in versions.items()
        if version.removesuffix("+cpu") != constraints.get(name)
    }
    assert others == {}, "make lock"


def test_every_dependency_and_extra_is_in_it(versions) -> None:
    optional = PROJECT["optional-dependencies"]
    needed = [
        *PROJECT["dependencies"],
        *(each for extra in set(optional) - {"all", "dev", "docs"} for each in optional[extra]),
    ]
    assert len(needed) > 18
    for requirement in map(Requirement, needed):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement}: make lock"
        assert requirement.specifier.contains(version), f"{requirement}: make lock"


def test_torch_is_the_cpu_build_on_linux_and_pypis_elsewhere() -> None:
    cpu, pypi = [(needed, hashes) for needed, hashes in locked() if needed.name == "torch"]
    assert version_of(cpu[0]) == f"{version_of(pypi[0])}+cpu"
    for needed, is_on_linux in ((cpu[0], True), (pypi[0], False)):
        assert needed.marker is not None and needed.marker.evaluate(LINUX) is is_on_linux
        assert needed.marker.evaluate(LINUX | {"sys_platform": "darwin"}) is not is_on_linux
    assert not cpu[1] & pypi[1]
    assert not [needed for needed, _ in locked() if needed.name.startswith(("nvidia", "cuda"))]


def test_the_dockerfile_takes_the_lock_apart_without_loss(tmp_path) -> None:
    """Its own commands are run, without those of pip."""
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    runs = [re.sub(r"^RUN (--mount=\S+ +)?", "", line) for line in lines if line.startswith("RUN ")]
    reading = [
        part.replace("/tmp/", "made/")
        for run in runs
        for part in run.split("&&")
        if "requirements.lock" in part
    ]
    assert len(reading) == 3
    (tmp_path / "made").mkdir()
    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    for command in reading:
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    build, others, torch = (
        (tmp_path / "made" / f"{n}.lock").read_text() for n in ("build", "others", "torch")
    )
    assert re.findall(r"^(\S+)==", build, re.MULTILINE) == ["cffi", "pycparser", "setuptools"]
    assert len(re.findall(r"^\S+==", others, re.MULTILINE)) == len(locked()) - 2
    assert "torch==" not in others
    name, *hashes = torch.split()
    of_torch = [(needed, hashes) for needed, hashes in locked() if needed.name == "torch"]
    assert name == f"torch=={version_of(of_torch[1][0])}" and torch.count("\n") == 1
    assert {HASH.fullmatch(each)[1] for each in hashes} == of_torch[0][1] | of_torch[1][1]
    assert not build.endswith("\\\n") and not others.endswith("\\\n")


def test_the_lock_has_both_builds_of_torch(monkeypatch) -> None:
    """What uv prints of each place, and what is made of it."""

    def compiled(requirements: str, *options: str, stdin: str | None = None) -> str:
        if stdin is None:
            return everything
        assert (requirements, stdin) == ("-", "torch==2.13.0")
        return "torch==2.13.0 \\\n    --hash=sha256:c\n"

    monkeypatch.setattr(lock, "_compiled", compiled)
    everything = "a==1 \\\n    --hash=sha256:a\ntorch==2.13.0+cpu \\\n    --hash=sha256:b\n"
    assert lock.locked("wheels").removeprefix(lock.HEADER) == (
        "a==1 \\\n    --hash=sha256:a\n"
        "torch==2.13.0+cpu ; sys_platform == 'linux' \\\n    --hash=sha256:b\n"
        "torch==2.13.0 ; sys_platform != 'linux' \\\n    --hash=sha256:c\n"
    )
    everything = everything.replace("+cpu", "")
    with pytest.raises(ValueError, match=r"wheels has no CPU build of torch 2\.13\.0"):
        lock.locked("wheels")
