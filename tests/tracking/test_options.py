"""Where MLflow is: which values are places, and that a wrong one ends a job before it begins."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster.job.command import parse
from factory.tracking.options import NO_MLFLOW, MlflowOptions, is_server
from jobs.train import TrainJob
from jobs.validate import ValidateJob

NEEDED = {
    TrainJob: ["--synthetic", "a", "--real", "b", "--output", "c", "--steps", "1"],
    ValidateJob: ["--input", "a", "--real", "b"],
}


@pytest.mark.parametrize(
    ("given", "kept", "server"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000", True),
        ("https://mlflow.example.com/", "https://mlflow.example.com", True),
        ("https://mlflow.example.com/team/a", "https://mlflow.example.com/team/a", True),
        ("out/mlflow", "out/mlflow", False),
        ("/data/mlflow", "/data/mlflow", False),
    ],
)
def test_a_server_and_a_folder_are_places(given: str, kept: str, server: bool) -> None:
    options = MlflowOptions(mlflow=given)
    assert options.mlflow == kept and is_server(kept) is server


def test_a_folder_means_the_same_in_every_process(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert MlflowOptions(mlflow="mlflow").located().mlflow == str(tmp_path / "mlflow")
    server = MlflowOptions(mlflow="http://127.0.0.1:5000")
    assert server.located() == server and NO_MLFLOW.located() == NO_MLFLOW


@pytest.mark.parametrize(
    "given",
    ["", " ", "s3://bucket/mlflow", "sqlite:///mlflow.db", "http://", "ftp://host", "databricks:x"],
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="MLflow server, http://HOST:PORT"):
        MlflowOptions(mlflow=given)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(ValidationError, match="this is a file"):
        MlflowOptions(mlflow=str(tmp_path / "mlflow.db"))


@pytest.mark.parametrize("kind", NEEDED)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--mlflow", "ftp://host"], "an MLflow server"),
        (["--mlflow", "http://me:secret@host"], "location; set MLFLOW_TRACKING_USERNAME"),
        (["--mlflow-experiment", " "], "mlflow_experiment"),
    ],
)
def test_a_job_refuses_it_with_exit_code_2(kind, given, said, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(kind, [*NEEDED[kind], *given])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("kind", NEEDED)
def test_a_job_takes_a_place_and_tells_nobody_without_one(kind) -> None:
    assert parse(kind, NEEDED[kind]).mlflow is None
    job = parse(kind, [*NEEDED[kind], "--mlflow", "https://host", "--mlflow-experiment", "eyes"])
    assert job.part(MlflowOptions) == MlflowOptions(mlflow="https://host", mlflow_experiment="eyes")
