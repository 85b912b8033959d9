"""Jobs that are killed at random moments and run again make what undisturbed ones make.

tests/jobs/test_jobs.py has shorter trials, with a kill at a chosen moment each.
"""

import random
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.networks.stored_refiner import WEIGHTS_NAME
from support.job_runs import CONFIG, check_same_ingest, kill_when, passed, run_job, tar_digests

pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]


def test_an_ingest_killed_twice_at_random_and_run_again_equals_an_undisturbed_one(
    job_chain: Path, tmp_path: Path
) -> None:
    options = ("--source", "unityeyes", "--input", job_chain / "renders",
               "--output", tmp_path / "ours", "--shard-size", 32)  # fmt: skip
    rng = random.Random(5)
    for _ in range(2):
        kill_when(passed(rng.uniform(4, 16)), "ingest", *options)
        committed = Dataset.open(tmp_path / "ours") if (tmp_path / "ours").exists() else None
        for shard in committed.committed() if committed else ():
            committed.tar(shard)  # whole, or it raises
    run_job("ingest", *options)
    check_same_ingest(tmp_path / "ours", job_chain / "synthetic")


def test_a_refine_killed_at_random_and_run_again_equals_an_undisturbed_one(
    job_chain: Path, tmp_path: Path
) -> None:
    options = ("--input", job_chain / "synthetic", "--refiner", job_chain / "run",
               "--output", tmp_path / "ours", "--precision", "float32")  # fmt: skip
    kill_when(passed(random.Random(6).uniform(6, 18)), "refine", *options)
    run_job("refine", *options, "--workers", 1)
    assert tar_digests(tmp_path / "ours") == tar_digests(job_chain / "refined")


def test_a_training_killed_and_run_again_makes_the_same_refiner(
    job_chain: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ("--config", CONFIG, "--synthetic", job_chain / "synthetic",
               "--real", job_chain / "real", "--output", run)  # fmt: skip
    assert kill_when((run / "strips").is_dir, "train", *options)
    run_job("train", *options)
    ours, undisturbed = (f / "run" / WEIGHTS_NAME for f in (tmp_path, job_chain))
    assert ours.read_bytes() == undisturbed.read_bytes()
