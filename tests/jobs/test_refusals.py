"""What a job refuses before it begins, whatever else is at work on its output."""

from pathlib import Path

import pytest

from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.store import lease as leases
from factory.store.lease import lease
from factory.store.open import open_store
from support import fakes
from support.job_runs import run_job

pytestmark = pytest.mark.slow


def test_another_configuration_is_refused_while_another_run_holds_the_lease(
    six_inputs: Path, refiner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run would go on, and this one never begin: exit code 0 would hide the mistake."""
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.02)
    dataset = fakes.ingest_here(six_inputs, tmp_path / "eyes", UnityEyesOptions(), shard_size=6)
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    other = fakes.save_tiny_refiner(tmp_path / "other", seed=2)
    ingest = ("ingest", "--source", "unityeyes", "--input", six_inputs, "--output",
              dataset.location, "--shard-size")  # fmt: skip
    refine = ("refine", "--input", dataset.location, "--output", child.location, "--refiner")
    ours, childs = open_store(dataset.location), open_store(child.location)
    with lease(ours, "ingest", ttl_s=2), lease(childs, "refine", ttl_s=2):  # renewed often
        assert "shard_size: 6 -> 5" in run_job(*ingest, 5, expect=1, on_ray=False)
        assert "refiner" in run_job(*refine, other, expect=1, on_ray=False)
        assert "--overlap runs beside" in run_job(*ingest, 6, on_ray=False)
        assert "--overlap runs beside" in run_job(*refine, refiner, on_ray=False)
