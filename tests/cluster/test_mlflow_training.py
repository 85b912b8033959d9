"""Several workers on a cluster tell MLflow of their training once: worker 0 does."""

import pytest

from cluster.on_ray.training import train_on_ray
from factory.tracking.mlflow_run import client_of
from factory.tracking.options import MlflowOptions
from support.cluster_training import cluster_config, kill_in_turn, kill_worker_and_history

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.usefixtures("shared_ray")]


def test_one_run_has_every_number_once_though_workers_are_lost(
    synthetic, single_reals, tmp_path
) -> None:
    tracking = MlflowOptions(mlflow=str(tmp_path / "mlflow"))
    config = cluster_config(steps=40)
    killer = kill_in_turn(tmp_path / "run", {25: kill_worker_and_history})
    train_on_ray(
        config,
        synthetic.location,
        single_reals.location,
        tmp_path / "run",
        split="train",
        workers=2,
        tracking=tracking,
    )
    killer.join(1)
    assert not killer.is_alive()
    client = client_of(tracking)
    experiment = client.get_experiment_by_name("simgan-factory")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["steps"] == "40"
    history = client.get_metric_history(run.info.run_id, "loss/refiner_loss")
    assert [metric.step for metric in history] == list(range(5, 41, 5))
