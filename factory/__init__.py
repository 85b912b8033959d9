"""The library: `from factory import Dataset, Release, ingest, train, refine, validate, publish`.

Each name is imported when it is asked for, so a program that only reads datasets loads none of what
trains and refines. docs/library.md shows what the functions do; jobs call the same ones.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; names of `MODULES` alone
    from factory.dataset.dataset import Dataset as Dataset
    from factory.domains.validation import validate as validate
    from factory.ingestion.run import ingest as ingest
    from factory.reading.release import Release as Release
    from factory.refinement.run import refine as refine
    from factory.release.run import publish as publish
    from factory.training.run import train as train

MODULES = {
    "Dataset": "factory.dataset.dataset",
    "Release": "factory.reading.release",
    "ingest": "factory.ingestion.run",
    "train": "factory.training.run",
    "refine": "factory.refinement.run",
    "validate": "factory.domains.validation",
    "publish": "factory.release.run",
}
"""where each name of the library is defined"""
__all__ = [*MODULES]  # noqa: PLE0604 - all of them are strings

if not TYPE_CHECKING:  # else a type checker would take every name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *MODULES})
