"""One program of which every job is a command: what it lists, and which job it runs.

Nothing that takes long is imported before a job is chosen, so the list is there at once.
"""

import ast
import difflib
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cluster.job.program import DONE, as_launched, launched_by, pages_elsewhere, refuse

SHELLS = ("bash", "zsh", "fish")
"""whose completion can be printed"""
Groups = Mapping[str, Sequence[str]]
"""titles, and the names of the jobs under each"""


def run_menu(
    program: str, groups: Groups, folder: Path, arguments: Sequence[str] | None = None
) -> NoReturn:
    """Run the job that the first argument names with the other arguments, and exit as it does.

    Args:
        program: how it was started, for usage lines and advice.
        folder: of the package `jobs`, which has a file for each name in `groups`.
        arguments: those of the process by default.
    """
    first, *others = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    names = [name for group in groups.values() for name in group]
    with launched_by(program):
        if first in names:
            _run(program, folder / f"{first}.py", others)
        _answer(program, groups, folder, first, others)
    sys.exit(DONE)


def _run(program: str, path: Path, arguments: Sequence[str]) -> NoReturn:
    """Run a job's file as Python does; its last lines say how the job is run."""
    sys.argv = [f"{program} {path.stem}", *arguments]
    runpy.run_path(str(path), run_name="__main__")
    raise AssertionError(f"{path} has not ended the process")


def _answer(program: str, groups: Groups, folder: Path, first: str, others: Sequence[str]) -> None:
    """Answer a first argument that names no job."""
    names = [name for group in groups.values() for name in group]
    if first in ("--help", "-h"):
        print(as_launched("\n".join(_help_lines(program, groups, folder))))
    elif first == "--version":
        from schemas.version import WRITER

        print(WRITER)
    elif first == "--print-completion":
        if len(others) != 1 or others[0] not in SHELLS:
            refuse(f"{first} takes one of {', '.join(SHELLS)}")
        from cluster.job.completion import completion_script

        print(completion_script(program, names, others[0]))
    else:
        what = "option" if first.startswith("-") else "command"
        known = ["--help", "--version", "--print-completion"] if what == "option" else names
        close = difflib.get_close_matches(first, known)
        listed = f"{'the nearest' if close else 'there'} are {', '.join(close or known)}"
        refuse(f"no {what} {first!r}; {listed}. `{program} --help` explains all")


def _help_lines(program: str, groups: Groups, folder: Path) -> list[str]:
    width = max(len(name) for group in groups.values() for name in group)
    lines = [f"usage: {program} COMMAND [OPTIONS]"]
    for title, names in groups.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:{width}}  {summary_of(folder / f'{name}.py')}" for name in names]
    return [
        *lines,
        "",
        f"`{program} COMMAND --help` explains the options of a command.",
        f"`{program} --version` prints the version.",
        f"`{program} --print-completion {'|'.join(SHELLS)}` prints a script with which a shell",
        "completes commands and options.",
        *([] if (pages := pages_elsewhere()) is None else [f"Pages docs/… are in {pages}."]),
    ]


def summary_of(path: Path) -> str:
    """The first line of a job file's docstring, without the full stop; nothing is imported."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return (docstring or "").partition("\n")[0].removesuffix(".")
