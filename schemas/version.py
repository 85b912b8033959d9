"""The version that goes into every shard and run record."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_NAME = "simgan-factory"


def _version() -> str:
    """That of the installed package; of a checkout that is used without being installed, the one in
    its pyproject.toml."""
    try:
        return version(_NAME)
    except PackageNotFoundError:
        file = Path(__file__).parents[1] / "pyproject.toml"
        if not file.is_file():
            raise
        return str(tomllib.loads(file.read_text("utf-8"))["project"]["version"])


WRITER = f"{_NAME} {_version()}"
