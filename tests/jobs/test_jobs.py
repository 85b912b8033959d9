"""The commands as a user runs them: options, exit codes, files; killed and run again.

tests/cluster/test_submit.py has them submitted, tests/all/test_killed_jobs.py has them killed at
random.
"""

import json
import tomllib
from functools import partial
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from scipy.io import loadmat

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.measures.looks.inception import WEIGHTS_URL, Inception
from factory.networks.stored_refiner import WEIGHTS_NAME
from factory.training.config import TrainConfig
from factory.training.run import train_on_datasets
from schemas.eye.report import EyeReport
from support.inception import SmallNetwork
from support.job_runs import (
    CONFIG,
    appeared,
    check_same_ingest,
    kill_when,
    run_job,
    tar_digests,
)
from support.pages import Page
from support.places import DATA

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_ray")]


def validate(chain: Path, gate: str, expect: int = 0, on_ray: bool = True) -> str:
    return run_job("validate", "--config", CONFIG, "--input", chain / "refined", "--real",
                   chain / "real", "--gate", DATA / gate, expect=expect, on_ray=on_ray)  # fmt: skip


def test_the_chain_ends_in_a_release(job_chain: Path) -> None:
    assert "report.html" in validate(job_chain, "open-gate.toml")
    run_job("publish", "--input", job_chain / "refined", "--release", "first")
    release = job_chain / "refined" / "releases" / "first"
    manifest = json.loads((release / "manifest.json").read_text())
    assert manifest["num_samples"] == 120
    assert [shard["num_samples"] for shard in manifest["shards"]] == [32, 32, 32, 24]
    page = next((job_chain / "refined" / "reports").glob("*/report.html")).read_text()
    assert "<script" not in page and "http:" not in page and "https:" not in page
    assert "judged by the gate open-gate.toml." in page
    before, after = (load_index(Dataset.open(job_chain / n)) for n in ("synthetic", "refined"))
    for label in ("key", "pupil_px", "gaze", "iris_px", "extra", "crop_affine"):
        assert before[label].equals(after[label])
    assert before["png_sha256"] != after["png_sha256"]


def test_a_gate_that_is_missed_exits_with_3_and_stops_the_release(job_chain: Path) -> None:
    printed = validate(job_chain, "shut-gate.toml", expect=3, on_ray=False)
    assert "FAIL" in printed
    assert "0 of 4 shards to measure" in printed  # the validation before has measured them
    refused = run_job("publish", "--input", job_chain / "refined", "--release", "gated", expect=1)
    assert "did not pass" in refused
    assert not (job_chain / "refined" / "releases" / "gated").exists()


def test_fid_and_kid_are_measured_where_weights_are_given(
    job_chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refined = tmp_path / "refined"
    copytree(job_chain / "refined", refined, ignore=ignore_patterns("reports"))
    given = ("--config", CONFIG, "--input", refined, "--real", job_chain / "real")
    missing = tmp_path / "weights.pth"
    refused = run_job("validate", *given, "--inception", missing, expect=2, on_ray=False)
    assert f"{missing}: no such file" in refused and WEIGHTS_URL in refused
    assert not (refined / "reports").exists()
    monkeypatch.setattr(Inception, "read", lambda path: SmallNetwork())
    printed = run_job("validate", *given, "--inception", missing, on_ray=False)
    (with_it,) = (refined / "reports").iterdir()
    report = EyeReport.from_json((with_it / "report.json").read_bytes(), where="with")
    fidelity = report.fidelity
    assert (
        fidelity is not None
        and fidelity.num_images == 60
        and fidelity.weights == SmallNetwork.sha256
    )
    assert fidelity.synthetic.fid > fidelity.floor.fid and fidelity.refined.fid > fidelity.floor.fid
    assert f"refined {fidelity.refined.fid:.1f} and {fidelity.refined.kid:.4f}" in printed
    text = Page((with_it / "report.html").read_text()).text
    for words in (f"{fidelity.floor.fid:.1f}", "60 images of each", "35×55 px, grey repeated"):
        assert words in text.split("FID and KID", 1)[1]


def test_an_ingest_killed_and_run_again_equals_an_undisturbed_one(
    job_chain: Path, tmp_path: Path
) -> None:
    """Killed with its first tar; after its plan, it is killed in the test of new renders."""
    options = ("--source", "unityeyes", "--input", job_chain / "renders",
               "--output", tmp_path / "ours", "--shard-size", 32)  # fmt: skip
    assert kill_when(
        appeared(tmp_path / "ours" / "shards", "*.tar"), "ingest", *options, waits=True
    )
    committed = Dataset.open(tmp_path / "ours")
    for shard in committed.committed():
        committed.tar(shard)  # whole, or it raises
    run_job("ingest", *options)
    check_same_ingest(tmp_path / "ours", job_chain / "synthetic")


@pytest.mark.long
def test_a_refine_killed_and_run_again_equals_an_undisturbed_one(
    job_chain: Path, tmp_path: Path
) -> None:
    options = ("--input", job_chain / "synthetic", "--refiner", job_chain / "run",
               "--output", tmp_path / "ours", "--precision", "float32")  # fmt: skip
    assert kill_when(
        appeared(tmp_path / "ours" / "shards", "*.tar"), "refine", *options, waits=True
    )
    run_job("refine", *options, "--workers", 1)
    assert tar_digests(tmp_path / "ours") == tar_digests(job_chain / "refined")


def test_new_renders_after_a_kill_become_new_shards_and_change_no_plan(tmp_path: Path) -> None:
    here = partial(run_job, on_ray=False)
    here("simulate", "--count", 40, "--output", tmp_path / "renders", "--seed", 3)
    options = ("--source", "unityeyes", "--input", tmp_path / "renders",
               "--output", tmp_path / "set", "--shard-size", 16)  # fmt: skip
    dataset = tmp_path / "set"
    assert kill_when(appeared(dataset / "plan", "*.json"), "ingest", *options, waits=True)
    planned = {p.name: p.read_bytes() for p in sorted((dataset / "plan").glob("*.json"))}
    assert planned
    here("simulate", "--count", 50, "--output", tmp_path / "renders", "--seed", 3)
    here("ingest", *options)
    after = {p.name: p.read_bytes() for p in sorted((dataset / "plan").glob("*.json"))}
    assert {name: after[name] for name in planned} == planned
    index = load_index(Dataset.open(dataset))
    assert sorted(index["source_id"].to_pylist(), key=int) == [str(n) for n in range(1, 51)]
    assert "nothing to do: 50 inputs listed, 0 new" in here("ingest", *options)


def test_hands_are_drawn_and_their_joints_written_for_all_frames(tmp_path: Path) -> None:
    for count, style in ((2, "render"), (3, "render"), (2, "camera")):
        run_job("simulate", "--domain", "hand", "--count", count, "--output", tmp_path / style,
                "--style", style, on_ray=False)  # fmt: skip
    assert len(list((tmp_path / "render").glob("synthdepth_1_*.png"))) == 3
    assert len(list((tmp_path / "camera").glob("*depth_1_*.png"))) == 4
    joints = [loadmat(tmp_path / s / "joint_data.mat")["joint_uvd"] for s in ("render", "camera")]
    assert [uvd.shape for uvd in joints] == [(3, 3, 36, 3), (3, 2, 36, 3)]
    printed = run_job("simulate", "--domain", "hand", "--height", 96, "--count", 1,
                      "--output", tmp_path / "other", expect=2)  # fmt: skip
    assert "--height is for the domain eye, not for hand" in printed


def test_one_worker_on_ray_trains_the_same_refiner_as_no_ray_at_all(
    job_chain: Path, tmp_path: Path
) -> None:
    config = TrainConfig.model_validate(tomllib.loads(CONFIG.read_text())["train"])
    pair = (str(job_chain / name) for name in ("synthetic", "real"))
    train_on_datasets(config, *pair, str(tmp_path), split="train", device="cpu")
    ours, on_ray = (run / WEIGHTS_NAME for run in (tmp_path, job_chain / "run"))
    assert ours.read_bytes() == on_ray.read_bytes()


def test_an_output_of_another_configuration_is_refused_with_the_difference(
    job_chain: Path,
) -> None:
    options = ("--source", "unityeyes", "--input", job_chain / "renders",
               "--output", job_chain / "synthetic", "--shard-size", 64)  # fmt: skip
    printed = run_job("ingest", *options, expect=1)
    assert "shard_size: 32 -> 64" in printed
