"""The jobs that tell MLflow, from their command lines to a report below its training."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from factory.networks.stored_refiner import read_refiner
from factory.tracking.mlflow_run import client_of
from factory.tracking.options import MlflowOptions
from support.job_runs import CONFIG, run_job

pytestmark = [pytest.mark.ray, pytest.mark.long]


@pytest.fixture
def chain(job_chain, tmp_path) -> Path:
    """A copy of what the jobs made, in which a training and a report may be added."""
    for name in ("run", "refined"):
        shutil.copytree(job_chain / name, tmp_path / name)
    for name in ("synthetic", "real"):
        (tmp_path / name).symlink_to(job_chain / name)
    return tmp_path


def test_a_report_is_below_the_training_whose_refiner_it_judges(chain) -> None:
    with chdir(chain):  # a folder that a user names is seldom absolute
        tracking = ("--mlflow", "out/mlflow", "--mlflow-experiment", "eyes")
        run_job("train", "--config", CONFIG, "--synthetic", "synthetic", "--real", "real",
                "--output", "run", *tracking)  # fmt: skip
        run_job("validate", "--config", CONFIG, "--input", "refined", "--real", "real",
                "--workers", 1, *tracking, on_ray=False)  # fmt: skip
    client = client_of(MlflowOptions(mlflow=str(chain / "out/mlflow")))
    experiment = client.get_experiment_by_name("eyes")
    runs = client.search_runs([experiment.experiment_id])
    by_source = {run.data.tags["mlflow.source.name"]: run for run in runs}
    assert by_source.keys() == {"simgan-factory train", "simgan-factory validate"}
    training, report = by_source.values()
    if "mlflow.parentRunId" in training.data.tags:
        training, report = report, training
    assert report.data.tags["mlflow.parentRunId"] == training.info.run_id
    sha256 = read_refiner(chain / "run").description.sha256
    assert training.data.tags["simgan_factory.refiner"] == sha256
    assert report.data.tags["simgan_factory.judges"] == sha256
    assert training.data.params["refiner.maps"] == "8"
    assert report.data.metrics["num_samples"] == 120
    assert {file.path for file in client.list_artifacts(report.info.run_id)} == {
        "report.html",
        "report.json",
    }


def test_a_place_that_is_none_ends_the_job_before_it_begins(chain) -> None:
    with chdir(chain):
        for place in ("s3://bucket/mlflow", "dataset:eyes", str(CONFIG)):
            run_job("train", "--config", CONFIG, "--synthetic", "synthetic", "--real", "real",
                    "--output", "new", "--mlflow", place, expect=2)  # fmt: skip
    assert not (chain / "new").exists()
