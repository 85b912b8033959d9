"""`runs/<id>/` of what a job writes to: its configuration, log and summaries."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cluster.job.every import every
from factory.store.atomic import make_folder, sync_folder
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import open_store

log = logging.getLogger(__name__)
COPY_EVERY_S = 60.0
"""seconds between two copies of a growing log to an object store, which cannot append"""


class RunFolder:
    """The files of one run."""

    def __init__(self, store: Store, name: str, log_path: Path):
        self.store, self.name = store, name
        self.log = log_path
        """the local file that the log is written to"""

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the folder."""
        self.store.put(f"{self.name}/{name}", content)


@contextmanager
def open_run(output: str | Path, name: str) -> Iterator[RunFolder]:
    """The folder of a run, its log copied to an object store every minute and at the end."""
    store = open_store(output)
    if isinstance(store, LocalStore):
        folder = store.root / name
        make_folder(folder.parent)
        folder.mkdir()  # it is this run's alone
        sync_folder(folder.parent)
        yield RunFolder(store, name, folder / "log.txt")
        return
    with tempfile.TemporaryDirectory(prefix="simgan-run-") as folder:
        path = Path(folder) / "log.txt"
        path.touch()
        run = RunFolder(store, name, path)
        try:
            with every(COPY_EVERY_S, partial(_copy_log, run)):
                yield run
        finally:
            _copy_log(run)


def _copy_log(run: RunFolder) -> None:
    try:
        run.write("log.txt", run.log.read_bytes())
    except OSError as error:  # the run goes on: if the store stays out of reach, a shard fails
        log.warning("the log could not be copied to %s: %s", run.store.location, error)
