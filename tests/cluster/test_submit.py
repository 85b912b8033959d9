"""A job submitted to a running cluster, as docs/steps.md says."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.clusters import free_port
from support.places import ROOT

RAY = Path(sys.executable).with_name("ray")
TOKEN = secrets.token_hex(32)
"""of the cluster: the machine may have none yet"""
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def environment() -> dict[str, str]:
    """Token authentication, and the environment's python for the job's entrypoint."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": path}


def members_of_session(leader: int) -> list[int]:
    """Ids of the processes that a process has started, itself included, whoever is their parent."""
    processes = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    members = []
    for process in processes:
        with suppress(ProcessLookupError):
            if os.getsid(process) == leader:
                members.append(process)
    return members


@pytest.fixture
def dashboard() -> Iterator[str]:
    """The address of a cluster of one node, stopped by its own handle."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: it holds Unix sockets
    port = free_port()
    options = {
        "port": free_port(),
        "num-cpus": 2,
        "temp-dir": folder,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "dashboard-agent-listen-port": free_port(),
    }
    flags = ["--head", "--block", "--disable-usage-stats"]
    flags += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [RAY, "start", *flags], env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        else:
            pytest.fail((folder / "log.txt").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        # Asked to end (SIGTERM), it would wait half a minute for its own processes.
        for member in members_of_session(process.pid):
            with suppress(ProcessLookupError):  # it ended by itself, as another of them had
                os.kill(member, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def submitted(dashboard: str, output: str) -> "subprocess.CompletedProcess[str]":
    """A job that was submitted from the checkout, after its end."""
    entrypoint = ["python", "jobs/simulate.py", "--count", "16", "--output", output]
    command = [RAY, "job", "submit", "--address", dashboard, "--working-dir", ".", "--"]
    for _ in range(60):
        done = subprocess.run(
            [*command, *entrypoint],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        # A busy machine brings the dashboard up late, and the node's agent after it.
        if not any(early in done.stderr for early in ("No available agent", "Connection refused")):
            break
        time.sleep(1)
    return done


def test_a_job_runs_when_submitted_with_the_working_directory(
    dashboard: str, tmp_path: Path
) -> None:
    done = submitted(dashboard, str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 16
    assert len(list((tmp_path / "out").glob("[0-9]*.json"))) == 16
    done = submitted(dashboard, "out")  # where Ray would remove it
    assert done.returncode != 0
    assert "--output: out is relative to" in done.stdout + done.stderr
