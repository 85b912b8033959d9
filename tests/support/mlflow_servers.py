"""A real MLflow server on the loopback, from the client's own package and Flask."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = ("mlflow", "sqlalchemy", "alembic", "flask", "flask_cors", "uvicorn")
START_S = 180.0
"""a server makes its database first, which takes a minute on a busy machine"""


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """A server whose database and artifacts lie in a folder; gives its URL.

    Args:
        port: of 127.0.0.1, which nobody listens on.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"an MLflow server needs {', '.join(missing)}")
    folder.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of its evaluations, which needs huey
    }
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await(server, url, folder / "log.txt")
            yield url
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server with the workers that uvicorn starts."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
            return


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"the MLflow server ended: {log.read_text()[-2000:]}")
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)
    raise RuntimeError(f"no MLflow server after {START_S} s: {log.read_text()[-2000:]}")
