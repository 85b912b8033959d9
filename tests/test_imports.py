"""Imports point one way, and the core has never heard of Ray."""

import ast
import functools
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import factory
import schemas
from support.places import ROOT

LAYERS = ("schemas", "factory", "cluster", "jobs")
"""each may import itself and what stands before it"""
CORE = [
    info.name
    for package in (schemas, factory)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported_by(path: Path) -> set[str]:
    """Top-level names of every import in a file, also those inside functions."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"tests", "benchmarks"}
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    wrong = {str(path): imported_by(path) & later for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("layer", ["schemas", "factory"])
def test_the_core_does_not_import_ray(layer) -> None:
    assert [p for p in (ROOT / layer).rglob("*.py") if "ray" in imported_by(p)] == []


@pytest.mark.slow
def test_no_core_module_brings_ray_along() -> None:
    """In a fresh interpreter, whatever their imports import."""
    assert len(CORE) > 30
    script = (
        "import importlib, sys\n"
        f"for name in {CORE!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'ray' not in sys.modules, name\n"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr


def test_nothing_of_ours_can_unpickle_or_evaluate() -> None:
    """Files from outside are data, never code."""
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            assert imported_by(path) & {"pickle", "dill", "shelve", "marshal"} == set(), path
            for node in nodes_of(path):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("eval", "exec"), path


def test_a_job_file_shadows_no_standard_module() -> None:
    """`python jobs/x.py` puts jobs/ first on the path."""
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    assert jobs and jobs & set(sys.stdlib_module_names) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["factory.refinement.shards", "factory.ingestion.shards", "cluster.on_ray.pipeline"]
)
def test_workers_that_only_read_and_write_need_no_torch(module) -> None:
    """It takes seconds to import, in each of them."""
    script = f"import sys, {module}\nassert 'torch' not in sys.modules"
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr


FACES = (
    "schemas.eye.kind",
    "schemas.hand.kind",
    "factory.domains.eye.domain",
    "factory.domains.hand.domain",
    "factory.dataset.dataset",
)
"""what a reader of datasets imports, whatever their domain"""


def test_kinds_and_the_faces_of_domains_are_quick_to_import() -> None:
    """Sources, renderers and validators, and with them the large libraries, load on first use."""
    script = (
        "import importlib, sys\n"
        f"for name in {FACES!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'cv2', 'scipy'} & sys.modules.keys()\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
