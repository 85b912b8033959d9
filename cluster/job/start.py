"""The life of one run of a job: its folder, its log and its saved configuration."""

import copy
import logging
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from cluster.job.command import JobConfig
from cluster.job.program import as_launched
from cluster.job.runs import RunFolder, open_run
from factory.store.open import absolute
from schemas.dataset import RunId, RunRecord
from schemas.place import places_in
from schemas.text import one_line, printable
from schemas.version import WRITER

log = logging.getLogger(__name__)


@contextmanager
def logged_run(job: JobConfig, output: str | Path, *, runs: str = "runs") -> Iterator[RunFolder]:
    """Open a run in `<output>/<runs>/<id>/`: save the configuration, log there and to the terminal.

    Args:
        output: what the job writes to, a folder or s3://bucket/prefix.
        runs: name of the folder of all runs in the output.
    """
    now = datetime.now(UTC)
    name = f"{runs}/{RunId(now, job.command(), secrets.token_hex(2))}"
    record = RunRecord(
        job=type(job).__name__,
        started=now.isoformat(timespec="seconds"),
        version=WRITER,
        config=job.model_dump(mode="json"),
    )
    with open_run(output, name) as run:
        run.write("config.json", record.to_json())
        with _logging_to(run.log), logging_redirect_tqdm():
            _log_places(job)
            try:
                yield run
            except Exception:
                with run.log.open("a") as file:
                    traceback.print_exc(file=file)
                raise


def _log_places(job: JobConfig) -> None:
    """Say where the job reads and writes, as every machine understands it."""
    if places := [f"{name} {absolute(place)}" for name, place in places_in(job)]:
        log.info("places: %s", ", ".join(places))


class _Lines(logging.Formatter):
    """Lines of a log, in which names from files can neither move the cursor nor begin a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple):
            shown = (one_line(a) if isinstance(a, str) else a for a in record.args)
            record = copy.copy(record)
            record.args = tuple(shown)
        return printable(as_launched(super().format(record)))


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    root = logging.getLogger()
    lines = _Lines()
    terminal, file = logging.StreamHandler(), logging.FileHandler(path)
    terminal.setLevel(logging.INFO)
    for handler in (terminal, file):
        handler.setFormatter(lines)
        root.addHandler(handler)
    before = root.level
    root.setLevel(logging.INFO)
    for chatty in ("ray", "ray.data"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in (terminal, file):
            root.removeHandler(handler)
            handler.close()
