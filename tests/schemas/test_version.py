"""The version of an installed package, and of a checkout that is not installed."""

import importlib.metadata
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest

from schemas.version import WRITER
from support.places import ROOT

IN_CHECKOUT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


def test_it_is_that_of_the_installed_package() -> None:
    assert f"simgan-factory {importlib.metadata.version('simgan-factory')}" == WRITER


def test_a_checkout_that_is_not_installed_reads_its_own_files(monkeypatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    run = runpy.run_path(str(ROOT / "schemas" / "version.py"))
    assert run["WRITER"] == f"simgan-factory {IN_CHECKOUT}"


def test_with_neither_the_missing_package_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    copy = Path(shutil.copy(ROOT / "schemas" / "version.py", tmp_path))
    with pytest.raises(importlib.metadata.PackageNotFoundError, match="simgan-factory"):
        runpy.run_path(str(copy))
