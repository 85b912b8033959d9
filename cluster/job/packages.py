"""Whether Python finds this project's packages under their names, or other people's.

The names are general ones, so a folder or an installed package may have one of them too and come
first on the path. This module imports nothing of the project: `simgan_factory/__main__.py` runs it
by its path, before anything is imported by name.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("cluster", "factory", "schemas", "jobs")
FOLDER = Path(__file__).resolve().parents[2]
"""where this project's packages lie: site-packages, or the checkout"""


def require_own_packages() -> None:
    """Make sure that each of the packages that can be imported is this project's.

    Raises:
        SystemExit: one is not. The process ends with exit code 1 and one line that names the file
            in the way; anything later would be an ImportError from deep inside.
    """
    for name in PACKAGES:
        file = _location(name)
        if file is not None and _package_of(file) != FOLDER / name:
            raise SystemExit(
                f"error: {file} is not simgan-factory's own package {name!r} ({FOLDER / name}), "
                f"but Python finds it first; {_remedy(file)}"
            )


def _location(name: str) -> Path | None:
    """The file of a package or module, or the folder of a package that has no `__init__.py`."""
    spec = find_spec(name)
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]).resolve() if places else None


def _package_of(file: Path) -> Path:
    return file.parent if file.name == "__init__.py" else file


def _remedy(file: Path) -> str:
    entry = _package_of(file).parent
    if entry.name in ("site-packages", "dist-packages"):
        return "uninstall what brings it, or install simgan-factory into an environment of its own"
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if entry in {Path(one).resolve() for one in given if one}:
        return f"take {entry} out of PYTHONPATH"
    if entry == Path.cwd() or entry == Path(sys.path[0] or ".").resolve():
        return "run the command from another folder, or rename it"
    return f"take {entry} off Python's path, or rename it"
