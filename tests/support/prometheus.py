"""A real Prometheus on the loopback, and promtool."""

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.clusters import free_port

UNPACKED = Path.home() / ".cache/simgan-factory/prometheus"


def program(name: str) -> str:
    """`prometheus` or `promtool`: where `make prometheus` put it, or on the path."""
    root = Path(os.environ.get("SIMGAN_PROMETHEUS") or UNPACKED)
    path = shutil.which(name, path=str(root / "usr/bin")) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not there; `make prometheus` unpacks it from Debian's package")
    return path


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression gives now."""
        answer = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")
        result: list[dict[str, Any]] = answer["result"]
        return result

    def firing(self) -> dict[str, dict[str, str]]:
        """Labels of the alerts that fire, by name; of several of a name, one."""
        alerts = self._get("alerts")["alerts"]
        return {a["labels"]["alertname"]: a["labels"] for a in alerts if a["state"] == "firing"}

    def eventually(self, what: Callable[[], Any], within_s: float, about: str) -> Any:
        """What a look at the server gives, once it gives something."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with suppress(OSError):
                if seen := what():
                    return seen
            time.sleep(0.5)
        pytest.fail(f"Prometheus did not see {about} within {within_s:g} s")

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            content = json.load(answer)
        assert content["status"] == "success", content
        return content["data"]


@contextmanager
def running_prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """A server with a configuration, whose data lie in a folder."""
    binary = program("prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    command = [
        binary, f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(30)
