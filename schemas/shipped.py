"""Configurations of jobs and gates that come along, which options take by their names."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from schemas.folders import folder_of

Kind = Literal["configs", "gates"]
_NOUNS = {"configs": "configurations", "gates": "gates"}


def shipped(kind: Kind) -> dict[str, Path]:
    """The files that there are of a kind, by their names without `.toml`."""
    files = folder_of(kind).glob("*.toml")
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def config_file(path: Path) -> Path:
    """The file that a user means by `eye-small`, `eye-small.toml` or `configs/eye-small.toml`.

    A file of the user's own comes first; then the name is one of the configurations that come with
    the package.

    Raises:
        ValueError: there is neither; the message lists the names.
    """
    return _find("configs", path)


def gate_file(path: Path) -> Path:
    """The same for gates: `eye`, `eye.toml` or `gates/eye.toml`."""
    return _find("gates", path)


ConfigFile = Annotated[Path, AfterValidator(config_file)]
"""an option that takes a TOML file of tables for jobs, or the name of one that is shipped"""
GateFile = Annotated[Path, AfterValidator(gate_file)]
"""an option that takes a gate, or the name of one that is shipped"""


def _find(kind: Kind, path: Path) -> Path:
    if path.exists() and not path.is_dir():
        return path
    known = shipped(kind)
    name = path.name.removesuffix(".toml")
    if path.parent in (Path(), Path(kind)) and name in known:
        return known[name]
    raise ValueError(
        f"there is no file {path}; by name there are the {_NOUNS[kind]} of simgan-factory: "
        + (", ".join(known) or "none is installed")
    )
