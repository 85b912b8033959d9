"""A report in MLflow: a run below that of the training whose refiner it judges."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from factory.networks.stored_refiner import read_refiner
from factory.store.open import open_store
from factory.tracking.mlflow_run import MlflowRun, client_of
from factory.tracking.options import MlflowOptions
from factory.training.loop import Progress
from factory.training.mlflow_log import MLFLOW_NAME
from factory.validation.mlflow_report import headline_numbers, tell_mlflow
from support import releases, report_example
from support.clusters import free_port
from support.filtered import PAGE, REPORT_ID
from support.mlflow_servers import mlflow_server
from support.trainers import small_config, train_here

pytestmark = pytest.mark.slow
ODD = ("nan", "inf")
"""numbers of a training that goes wrong, which must not cost the others of their request"""


def test_the_numbers_by_which_reports_are_compared() -> None:
    report = report_example.example_report()
    numbers = headline_numbers(report)
    assert numbers["num_samples"] == report.num_samples
    assert numbers["realism.refined_vs_real.accuracy"] == report.realism.refined_vs_real.accuracy
    gain = report.realism.synthetic_vs_real.accuracy - report.realism.refined_vs_real.accuracy
    assert numbers["derived.realism_gain"] == pytest.approx(gain)
    drifts = {
        f"witness.{name}.drift_{witness.unit}.median": witness.drift.median
        for name, witness in report.by_witness()
        if witness is not None and witness.drift is not None
    }
    assert drifts and drifts.items() <= numbers.items()


def tell_and_check(tracking: MlflowOptions, judged_once, images, folder: Path) -> None:
    """A training of the refiner that the report judges, another training, and the report."""
    refiner = judged_once.card.refiner.sha256
    training = MlflowRun(tracking, name="ours", tags={"simgan_factory.refiner": refiner})
    training.log_metrics([("odd", float(name), step, 1) for step, name in enumerate(ODD)])
    train_here(small_config(), images, folder / "other", tracking=tracking)
    report = releases.report_on(judged_once)
    tell_mlflow(tracking, judged_once, report, f"reports/{REPORT_ID}/report.html")

    client = client_of(tracking)
    odd = [metric.value for metric in client.get_metric_history(training.id, "odd")]
    assert math.isnan(odd[0]) and odd[1] > 1e308
    runs = client.search_runs(
        [training.experiment_id], f"tags.`simgan_factory.report` = '{REPORT_ID}'"
    )
    (run,) = runs
    assert run.data.tags["mlflow.parentRunId"] == training.id
    assert run.data.tags["simgan_factory.passed"] == "passed"
    assert run.info.status == "FINISHED"
    assert run.data.params["dataset"] == judged_once.location
    assert run.data.metrics == pytest.approx(headline_numbers(report))
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "report.json"}
    copy = client.download_artifacts(run.info.run_id, "report.html", str(folder))
    assert Path(copy).read_bytes() == PAGE


@pytest.mark.long
def test_a_report_finds_its_training(judged_once, images, tmp_path) -> None:
    tracking = MlflowOptions(mlflow=str(tmp_path / "mlflow"))
    tell_and_check(tracking, judged_once, images, tmp_path)


@pytest.mark.long
def test_without_a_training_it_is_a_run_of_its_own(judged_once, tmp_path, caplog) -> None:
    """And a server out of reach is a warning."""
    report = releases.report_on(judged_once, passed=False)
    page = f"reports/{REPORT_ID}/report.html"
    tracking = MlflowOptions(mlflow=str(tmp_path / "mlflow"), mlflow_experiment="reports")
    tell_mlflow(tracking, judged_once, report, page)
    client = client_of(tracking)
    experiment = client.get_experiment_by_name("reports")
    (run,) = client.search_runs([experiment.experiment_id])
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.tags["simgan_factory.passed"] == "failed"
    assert caplog.messages == []
    file = open_store(tmp_path).root / "file"
    file.touch()
    broken = MlflowOptions.model_construct(mlflow=str(file), mlflow_experiment="reports")
    tell_mlflow(broken, judged_once, report, page)
    assert "lacks 5 entries" in caplog.messages[-1]


@pytest.mark.long
def test_a_real_server_keeps_the_same(judged_once, images, tmp_path) -> None:
    with mlflow_server(tmp_path / "server", free_port()) as url:
        tell_and_check(MlflowOptions(mlflow=url), judged_once, images, tmp_path)


@pytest.mark.long
def test_a_server_that_fails_in_the_middle_gets_the_rest_later(images, tmp_path, caplog) -> None:
    """The training goes on without it, and the same command tells what is missing."""
    port, config = free_port(), small_config()
    tracking = MlflowOptions(mlflow=f"http://127.0.0.1:{port}")
    with ExitStack() as server:
        server.enter_context(mlflow_server(tmp_path / "server", port))

        def fail(progress: Progress) -> None:
            if progress.clock == 8:
                wait_until((tmp_path / "run" / MLFLOW_NAME).exists)
                server.close()

        train_here(config, images, tmp_path / "run", on_progress=fail, tracking=tracking)
    assert read_refiner(tmp_path / "run").description.step == config.steps
    assert [line.split(" ")[3] for line in caplog.messages if line.startswith("MLflow")] == [
        "cannot",
        "lacks",
    ]
    with mlflow_server(tmp_path / "server", port):
        train_here(config, images, tmp_path / "run", tracking=tracking)
        client = client_of(tracking)
        experiment = client.get_experiment_by_name("simgan-factory")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "loss/refiner_loss")
        assert [metric.step for metric in history] == [2, 3, 6, 8, 10, 12, 14, 16, 17]
        pictures = client.list_artifacts(run.info.run_id, "images")
        assert len([file for file in pictures if file.path.endswith(".png")]) == 4
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"refiner", "train.json", "overview.png"} <= files


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
