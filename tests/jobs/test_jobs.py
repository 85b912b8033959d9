"""The commands as a user runs them: options, exit codes, files; killed and run again.

They share one cluster and this process, as starting Ray and importing it take longer than their
work (tests/cluster/test_submit.py has them submitted). Those that are killed are processes with a Ray of
their own, as on one machine, and take it along.
"""

import hashlib
import importlib
import inspect
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from scipy.io import loadmat

from cluster.job.command import JobConfig, run_command
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from support.places import DATA, ROOT
from tests.cluster.test_submit import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CONFIG = DATA / "tiny.toml"


def command(job: str, *options: object) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *map(str, options)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One node, where `run` runs its jobs."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": True, "dashboard_port": free_port()},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        ray.shutdown()  # what other tests in this process may have started
        yield
        ray.shutdown()
    cluster.shutdown()


def run(job: str, *options: object, expect: int = 0) -> str:
    """Everything a job printed, after it exited as expected."""
    module = importlib.import_module(f"jobs.{job}")
    kind = next(
        found
        for found in vars(module).values()
        if inspect.isclass(found)
        and issubclass(found, JobConfig)
        and found.__module__ == module.__name__
    )
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(printed),
        redirect_stderr(printed),
        pytest.raises(SystemExit) as exited,
    ):
        patch.setattr(sys, "argv", command(job, *options)[1:])
        run_command(kind, module.main)
    ray.shutdown()  # as the end of its process would
    assert exited.value.code == expect, printed.getvalue()
    return printed.getvalue()


def run_alone(job: str, *options: object) -> None:
    """As a process with a Ray of its own."""
    done = subprocess.run(
        command(job, *options),
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def killed_after(due: float | Callable[[], bool], job: str, *options: object) -> None:
    """Run a job and kill it and all its processes with SIGKILL, unless it was faster.

    Args:
        due: seconds, or what is true when it is time.
    """
    process = subprocess.Popen(
        command(job, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )
    if callable(due):
        while process.poll() is None and not due():
            time.sleep(0.05)
    else:
        time.sleep(due)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def digests(dataset: Path) -> dict[str, str]:
    """sha256 of every tar of a dataset."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((dataset / "shards").glob("*.tar"))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Renders, stand-ins, both ingested, a refiner of a few steps, and what it refined."""
    folder = tmp_path_factory.mktemp("chain")
    run("simulate", "--count", 120, "--output", folder / "renders", "--seed", 7)
    run("simulate", "--count", 120, "--output", folder / "camera", "--style", "camera")
    common = ("--shard-size", 32)
    run("ingest", "--source", "unityeyes", "--input", folder / "renders",
        "--output", folder / "synthetic", *common)  # fmt: skip
    run("ingest", "--source", "images", "--input", folder / "camera",
        "--output", folder / "real", *common)  # fmt: skip
    run("train", "--config", CONFIG, "--synthetic", folder / "synthetic",
        "--real", folder / "real", "--output", folder / "run")  # fmt: skip
    run_alone("refine", "--input", folder / "synthetic", "--refiner", folder / "run",
              "--output", folder / "refined")  # fmt: skip
    return folder


def test_the_chain_ends_in_a_release(made: Path) -> None:
    out = run("validate", "--config", CONFIG, "--input", made / "refined", "--real", made / "real",
              "--gate", DATA / "open-gate.toml")  # fmt: skip
    assert "report.html" in out
    run("publish", "--input", made / "refined", "--release", "first")
    release = made / "refined" / "releases" / "first"
    manifest = json.loads((release / "manifest.json").read_text())
    assert manifest["num_samples"] == 120
    assert [shard["num_samples"] for shard in manifest["shards"]] == [32, 32, 32, 24]
    page = next((made / "refined" / "reports").glob("*/report.html")).read_text()
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    before, after = (load_index(Dataset.open(made / n)) for n in ("synthetic", "refined"))
    for label in ("key", "pupil_px", "gaze", "iris_px", "extra", "crop_affine"):
        assert before[label].equals(after[label])
    assert before["png_sha256"] != after["png_sha256"]


def test_a_gate_that_is_missed_exits_with_3_and_stops_the_release(made: Path) -> None:
    gate = DATA / "shut-gate.toml"
    out = run("validate", "--config", CONFIG, "--input", made / "refined", "--real", made / "real",
              "--gate", gate, expect=3)  # fmt: skip
    assert "FAIL" in out
    assert "0 of 4 shards to measure" in out  # the validation before has measured them
    told = run("publish", "--input", made / "refined", "--release", "gated", expect=1)
    assert "did not pass" in told
    assert not (made / "refined" / "releases" / "gated").exists()


def test_an_ingest_killed_at_random_and_run_again_equals_an_undisturbed_one(
    made: Path, tmp_path: Path
) -> None:
    options = ("--source", "unityeyes", "--input", made / "renders", "--output", tmp_path / "ours",
               "--shard-size", 32)  # fmt: skip
    rng = random.Random(5)
    for _ in range(2):
        killed_after(rng.uniform(4, 16), "ingest", *options)
        committed = Dataset.open(tmp_path / "ours") if (tmp_path / "ours").exists() else None
        for shard in committed.committed() if committed else ():
            committed.tar(shard)  # whole, or it raises
    run("ingest", *options)
    assert digests(tmp_path / "ours") == digests(made / "synthetic")
    ours, undisturbed = Dataset.open(tmp_path / "ours"), Dataset.open(made / "synthetic")
    assert load_index(ours).equals(load_index(undisturbed))
    assert {p.name for p in (tmp_path / "ours" / "shards").iterdir()} == {
        f"{shard:06d}.tar" for shard in ours.committed()
    }


def test_a_refine_killed_at_random_and_run_again_equals_an_undisturbed_one(
    made: Path, tmp_path: Path
) -> None:
    options = ("--input", made / "synthetic", "--refiner", made / "run")
    due_s = random.Random(6).uniform(6, 18)
    killed_after(due_s, "refine", *options, "--output", tmp_path / "ours")
    run("refine", *options, "--output", tmp_path / "ours", "--workers", 1)
    assert digests(tmp_path / "ours") == digests(made / "refined")


def test_new_renders_after_a_kill_become_new_shards_and_change_no_plan(
    made: Path, tmp_path: Path
) -> None:
    run("simulate", "--count", 40, "--output", tmp_path / "renders", "--seed", 3)
    options = ("--source", "unityeyes", "--input", tmp_path / "renders",
               "--output", tmp_path / "set", "--shard-size", 16)  # fmt: skip
    dataset = tmp_path / "set"
    killed_after(lambda: any((dataset / "plan").glob("*.json")), "ingest", *options)
    planned = {p.name: p.read_bytes() for p in sorted((dataset / "plan").glob("*.json"))}
    assert planned
    run("simulate", "--count", 50, "--output", tmp_path / "renders", "--seed", 3)
    run("ingest", *options)
    after = {p.name: p.read_bytes() for p in sorted((dataset / "plan").glob("*.json"))}
    assert {name: after[name] for name in planned} == planned
    index = load_index(Dataset.open(dataset))
    assert sorted(index["source_id"].to_pylist(), key=int) == [str(n) for n in range(1, 51)]
    assert "nothing to do: 50 inputs listed, 0 new" in run("ingest", *options)


def test_hands_are_drawn_and_their_joints_written_for_all_frames(tmp_path: Path) -> None:
    for count, style in ((2, "render"), (3, "render"), (2, "camera")):
        out = tmp_path / style
        run("simulate", "--domain", "hand", "--count", count, "--output", out, "--style", style)
    assert len(list((tmp_path / "render").glob("synthdepth_1_*.png"))) == 3
    assert len(list((tmp_path / "camera").glob("*depth_1_*.png"))) == 4
    joints = [loadmat(tmp_path / s / "joint_data.mat")["joint_uvd"] for s in ("render", "camera")]
    assert [uvd.shape for uvd in joints] == [(3, 3, 36, 3), (3, 2, 36, 3)]
    printed = run("simulate", "--domain", "hand", "--height", 96, "--count", 1,
                  "--output", tmp_path / "other", expect=2)  # fmt: skip
    assert "leave out --height" in printed


def test_a_training_killed_at_random_and_run_again_makes_the_same_refiner(
    made: Path, tmp_path: Path
) -> None:
    options = ("--config", CONFIG, "--synthetic", made / "synthetic", "--real", made / "real")
    strips = tmp_path / "run" / "strips"
    killed_after(strips.is_dir, "train", *options, "--output", tmp_path / "run")
    run("train", *options, "--output", tmp_path / "run")
    again, first = (f / "run" / "refiner.safetensors" for f in (tmp_path, made))
    assert again.read_bytes() == first.read_bytes()


def test_an_output_of_another_configuration_is_refused_with_the_difference(made: Path) -> None:
    out = run("ingest", "--source", "unityeyes", "--input", made / "renders",
              "--output", made / "synthetic", "--shard-size", 64, expect=1)  # fmt: skip
    assert "shard_size: 32 -> 64" in out
