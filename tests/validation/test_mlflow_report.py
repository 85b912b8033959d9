"""A report in MLflow: a run below that of the training whose refiner it judges."""

from pathlib import Path

import pytest

from factory.store.open import open_store
from factory.tracking.mlflow_run import MlflowRun, client_of
from factory.tracking.options import MlflowOptions
from factory.validation.mlflow_report import headline_numbers, tell_mlflow
from support import releases, report_example
from support.filtered import PAGE, REPORT_ID
from support.mlflow_servers import mlflow_server
from support.trainers import small_config, train_here

pytestmark = pytest.mark.slow


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
    train_here(small_config(), images, folder / "other", tracking=tracking)
    report = releases.report_on(judged_once)
    tell_mlflow(tracking, judged_once, report, f"reports/{REPORT_ID}/report.html")

    client = client_of(tracking)
    found = client.search_runs(
        [training.experiment_id], f"tags.`simgan_factory.report` = '{REPORT_ID}'"
    )
    (run,) = found
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
    with mlflow_server(tmp_path / "server") as url:
        tell_and_check(MlflowOptions(mlflow=url), judged_once, images, tmp_path)
        again = MlflowOptions(mlflow=url)  # of a finished training, which has all there already
        train_here(small_config(), images, tmp_path / "other", tracking=again)
        client = client_of(again)
        experiment = client.get_experiment_by_name("simgan-factory")
        runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'other'")
        (run,) = runs
        history = client.get_metric_history(run.info.run_id, "loss/refiner_loss")
        assert [metric.step for metric in history] == [2, 3, 6, 8, 10, 12, 14, 16, 17]
        pictures = client.list_artifacts(run.info.run_id, "images")
        assert len([file for file in pictures if file.path.endswith(".png")]) == 4
