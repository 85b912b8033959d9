"""The ways in which Prometheus gets the metrics of records: printed, in a file, or served."""

import logging
import threading
from pathlib import Path

from prometheus_client import generate_latest, start_http_server

from factory.store.atomic import write_atomically
from factory.upkeep.watched.metrics import RecordsCollector

log = logging.getLogger(__name__)


class UnreadableError(RuntimeError):
    """The records of some dataset could not be read; its metrics are missing."""


def print_metrics(collector: RecordsCollector) -> None:
    """Print the metrics once, in Prometheus' text format.

    Raises:
        UnreadableError: the records of a dataset could not be read; all others are printed.
    """
    is_whole = collector.refresh()
    print(generate_latest(collector.registry()).decode(), end="")
    _check(is_whole)


def write_metrics(collector: RecordsCollector, path: Path) -> None:
    """Write the metrics to a file, which is whole at any time.

    Raises:
        UnreadableError: the records of a dataset could not be read; all others are written.
        OSError: the file cannot be written.
    """
    is_whole = collector.refresh()
    # Not prometheus_client's own function: its file is readable by the job's user alone, and
    # node_exporter has another.
    write_atomically(path, generate_latest(collector.registry()), durable=False)
    _check(is_whole)


def serve_metrics(collector: RecordsCollector, host: str, port: int, interval_s: float) -> None:
    """Serve the metrics until the process is asked to end, reading the records now and then.

    Raises:
        OSError: the address cannot be listened on.
    """
    collector.refresh()
    server, thread = start_http_server(port, host, registry=collector.registry())
    print(f"metrics are at http://{host}:{port}/metrics", flush=True)
    try:
        while True:
            threading.Event().wait(interval_s)
            collector.refresh()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _check(is_whole: bool) -> None:
    if not is_whole:
        raise UnreadableError("the records of some datasets could not be read")
