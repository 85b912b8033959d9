"""How the user started a command, which usage lines and advice repeat, and how it answers."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from schemas.text import printable

DONE, FAILED, BAD_ARGUMENTS, GATE_FAILED = 0, 1, 2, 3
"""exit codes of every job"""
SIGNALLED = 128
"""plus the number of the signal that stopped a job, as in shells"""
_JOB_FILE = re.compile(r"(?:\bpython )?(?<![\w./-])jobs/(\w+)\.py\b")
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
    """A text in which job files are named, `jobs/ingest.py` or `python jobs/ingest.py`, with what
    this user types in their place."""
    if _launcher is None:
        return text
    return _JOB_FILE.sub(lambda found: program_of(found[1]), text)


def say(message: str) -> None:
    """Print a message, which may quote names from files, to the terminal."""
    print(printable(as_launched(message)), file=sys.stderr)


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the arguments, and exit."""
    say(f"error: {message}")
    sys.exit(BAD_ARGUMENTS)
