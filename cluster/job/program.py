"""How the user started a command, which usage lines and advice repeat, and how it answers."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from schemas.folders import folder_of
from schemas.text import printable

DONE, FAILED, BAD_ARGUMENTS, GATE_FAILED = 0, 1, 2, 3
"""exit codes of every job"""
SIGNALLED = 128
"""plus the number of the signal that stopped a job, as in shells"""
_JOB_FILE = re.compile(r"(?:\bpython )?(?<![\w./-])jobs/(\w+)\.py\b")
_PAGE = re.compile(r"(?<![\w./-])docs/([\w-]+\.md)\b")
_launcher: str | None = None


@contextmanager
def launched_by(program: str) -> Iterator[None]:
    """Name the program of which jobs are commands meanwhile, e.g. `simgan-factory`.

    Otherwise a job is run as its file. It holds for the whole process, because advice may come from
    any thread.
    """
    global _launcher  # noqa: PLW0603
    before, _launcher = _launcher, program
    try:
        yield
    finally:
        _launcher = before


def program_of(job: str) -> str:
    """What starts a job: `python jobs/ingest.py`, or `simgan-factory ingest`."""
    return f"python jobs/{job}.py" if _launcher is None else f"{_launcher} {job}"


def as_launched(text: str) -> str:
    """A text in which job files are named, `jobs/ingest.py` or `python jobs/ingest.py`, and pages,
    `docs/stores.md`, with what this user types, and where this user finds them, in their place."""
    if (pages := pages_elsewhere()) is not None:
        text = _PAGE.sub(lambda match: str(pages / match[1]), text)
    if _launcher is None:
        return text
    return _JOB_FILE.sub(lambda match: program_of(match[1]), text)


def pages_elsewhere() -> Path | None:
    """The folder of the pages; None where it is `docs/` of the folder that the user is in."""
    pages = folder_of("docs")
    try:
        return None if Path("docs").samefile(pages) else pages
    except OSError:  # one of them is not there
        return pages if pages.is_dir() else None


def say(message: str) -> None:
    """Print a message, which may quote names from files, to the terminal."""
    print(printable(as_launched(message)), file=sys.stderr)


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the arguments, and exit."""
    say(f"error: {message}")
    sys.exit(BAD_ARGUMENTS)
