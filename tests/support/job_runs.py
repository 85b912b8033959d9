"""Jobs as tests run them: in this process, or as a process of their own that is killed.

Most run in this process, connected to the cluster that all tests share, because importing Ray and
starting it take longer than their work. Where the workers do not matter, they do without even
those, which load their libraries anew for each step of a job. Those that are killed start a Ray of
their own, as on one machine, and take it along.
"""

import hashlib
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.upkeep.garbage import stray_objects
from support.clusters import connect, without_ray_address
from support.places import DATA, ROOT

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

CONFIG = DATA / "tiny.toml"
LONGEST_S = 300.0
"""that a killed job may take until its moment comes"""
WAITING = """
import runpy, sys, threading
from cluster.job.progress import Progress
Progress.advance = lambda *_: threading.Event().wait()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""runs a job that waits for ever once its first shard is made, with its path and options"""


def command(job: str, *options: object) -> list[str]:
    """The command line of a job."""
    return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *map(str, options)]


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Let jobs do the work of their workers in this process, one shard or call after the other."""
    from cluster.on_ray.session import Session
    from support import fakes

    patch.setattr(Session, "make_shards", lambda _, *given: fakes.make_shards_here(*given))
    patch.setattr(Session, "side_by_side", lambda _, *given, **more: fakes.call_here(*given))


def run_job(job: str, *options: object, expect: int = 0, on_ray: bool = True) -> str:
    """Everything a job printed, after it ran in this process and exited as expected.

    Args:
        on_ray: whether its workers are Ray's; otherwise their work is done here.
    """
    from cluster.job.command import run_command
    from cluster.job.completion import job_class

    module = importlib.import_module(f"jobs.{job}")
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(printed),
        redirect_stderr(printed),
        pytest.raises(SystemExit) as exited,
    ):
        patch.setattr(sys, "argv", command(job, *options)[1:])
        if not on_ray:
            work_here(patch)
        run_command(job_class(job), module.main)
    assert exited.value.code == expect, printed.getvalue()
    return printed.getvalue()


def kill_when(is_due: Callable[[], bool], job: str, *options: object, waits: bool = False) -> bool:
    """Run a job with a Ray of its own, and kill it with all its processes (SIGKILL) when it is due.

    Args:
        waits: the job does not go on once its first shard is made. Otherwise a short one may end
            before it is looked at again, on a machine that has much to do.

    Returns:
        Whether it was killed; otherwise it ended first.
    """
    python, *path_and_options = command(job, *options)
    process = subprocess.Popen(
        [python, *(("-c", WAITING) if waits else ()), *path_and_options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
        env=without_ray_address(),
    )
    is_too_late = passed(LONGEST_S)
    while process.poll() is None and not is_due() and not is_too_late():
        time.sleep(0.01)
    is_killed = process.poll() is None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return is_killed


def passed(seconds: float) -> Callable[[], bool]:
    """What becomes true so many seconds from now."""
    due = time.monotonic() + seconds
    return lambda: time.monotonic() >= due


def appeared(folder: Path, pattern: str, count: int = 1) -> Callable[[], bool]:
    """What is true when a folder has so many files of this pattern."""
    return lambda: sum(1 for _ in folder.glob(pattern)) >= count


def check_same_ingest(ours: Path, undisturbed: Path) -> None:
    """A dataset is the one that an ingest makes which nobody kills, but for what that may leave."""
    assert tar_digests(ours) == tar_digests(undisturbed)
    dataset = Dataset.open(ours)
    assert load_index(dataset).equals(load_index(Dataset.open(undisturbed)))
    strays = {stray.kind for stray in stray_objects(dataset, older_than_s=0)}
    assert strays <= {"uncommitted", "temporary"}, "what a killed writer may leave"


def tar_digests(location: Path) -> dict[int, str]:
    """sha256 of every committed tar of a dataset, by shard."""
    dataset = Dataset.open(location)
    return {n: hashlib.sha256(dataset.tar(n)).hexdigest() for n in dataset.committed()}


@pytest.fixture(scope="session")
def job_chain(shared_cluster: "Cluster", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the jobs make when nothing disturbs them, the training alone on Ray. Read only.

    `renders` and `camera` (stand-ins for camera images), `synthetic` and `real` (both ingested, in
    shards of 32), `run` (a training of a few steps) and `refined`.
    """
    connect(shared_cluster)
    folder = tmp_path_factory.mktemp("chain")
    here = partial(run_job, on_ray=False)
    with chdir(folder):  # locations that a user gives are seldom absolute
        here("simulate", "--count", 120, "--output", "renders", "--seed", 7)
        here("simulate", "--count", 120, "--output", "camera", "--style", "camera")
        here("ingest", "--source", "unityeyes", "--input", "renders", "--output", "synthetic",
             "--shard-size", 32)  # fmt: skip
        here("ingest", "--source", "images", "--input", "camera", "--output", "real",
             "--shard-size", 32)  # fmt: skip
        run_job("train", "--config", CONFIG, "--synthetic", "synthetic", "--real", "real",
                "--output", "run")  # fmt: skip
        here("refine", "--input", "synthetic", "--refiner", "run", "--output", "refined",
             "--precision", "float32")  # fmt: skip
    return folder
