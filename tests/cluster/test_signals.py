"""A job that a signal stops ends cleanly, and says that the same command resumes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.job import signals
from cluster.job.signals import holding_signals_back
from support.clusters import without_ray_address
from support.places import ROOT

pytestmark = pytest.mark.slow

JOB = """
import sys, time
from cluster.job.command import JobConfig, run_command

class WaitJob(JobConfig):
    '''A job that waits.'''

def main(job):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("put away", flush=True)

run_command(WaitJob, main, [])
"""


def started(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=without_ray_address() | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal() -> Iterator[None]:
    """Tests that `nohup` or a shell runs in the background ignore them, as do their processes."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_job_with_one_sentence(name) -> None:
    number = signal.Signals[name]
    job = started("-c", JOB)
    assert job.stdout is not None and job.stdout.readline() == "waiting\n"
    job.send_signal(number)
    out, err = job.communicate(timeout=30)
    assert job.returncode == 128 + number
    assert out == "put away\n"
    assert err.endswith("; the same command resumes\n") and err.count("\n") == 1
    assert name == "SIGINT" or err.startswith(f"stopped by {name}")


def test_a_signal_whose_exception_was_lost_can_be_given_again(monkeypatch) -> None:
    monkeypatch.setattr(signals, "_asked_at_s", [])
    with pytest.raises(signals.StopRequest):
        signals._stop(signal.SIGTERM, None)
    signals._stop(signal.SIGTERM, None)  # the end is not disturbed
    monkeypatch.setattr(signals, "UNDISTURBED_S", -1.0)
    with pytest.raises(signals.StopRequest):
        signals._stop(signal.SIGTERM, None)


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As SIGHUP is after `nohup`."""
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    job = started("-c", ignoring + JOB.replace("time.sleep(60)", "time.sleep(1)"))
    assert job.stdout is not None and job.stdout.readline() == "waiting\n"
    job.send_signal(signal.SIGHUP)
    assert job.wait(30) == 0
    job.communicate()


def test_a_signal_in_a_section_is_answered_at_its_end() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), holding_signals_back():
        signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a library may
        steps.append("the section went on")
    assert steps == ["the section went on"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.ray
@pytest.mark.long
def test_a_job_that_ray_works_for_leaves_no_processes(tmp_path: Path) -> None:
    job = started(
        "jobs/simulate.py", "--count", "20000", "--output", str(tmp_path / "eyes"),
        "--workers", "1", TMPDIR="/tmp",
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("eyes/*.jpg")) and job.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(job.pid, signal.SIGTERM)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM, err
    assert err.endswith("stopped by SIGTERM; the same command resumes\n")
    assert "Traceback" not in err and "*** SIGTERM" not in err
    with pytest.raises(ProcessLookupError):  # nobody is left of its session
        for _ in range(50):
            os.killpg(job.pid, 0)
            time.sleep(0.1)
