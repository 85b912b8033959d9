"""A training in MLflow: everything once, in one run, whatever stops the training or the server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.networks.stored_refiner import read_refiner
from factory.store.open import open_store
from factory.tracking import delivery
from factory.tracking.mlflow_run import client_of
from factory.tracking.options import MlflowOptions
from factory.training.alarms import Alarm
from factory.training.mlflow_log import MLFLOW_NAME
from factory.training.record import recorded
from schemas.training import MlflowRecord
from support.fakes import score
from support.places import ROOT
from support.trainers import Killed, Prepared, kill_at, small_config, train_here

pytestmark = pytest.mark.slow  # all of them train


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> MlflowOptions:
    """One folder of MLflow's for all tests, for making its database takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowOptions(mlflow=str(folder / "deep" / "er"), mlflow_experiment="trainings")


def run_of(run: Path, tracking: MlflowOptions):
    """The client, and the run in MLflow that a training names."""
    record = MlflowRecord.from_json((run / MLFLOW_NAME).read_bytes(), where=MLFLOW_NAME)
    assert record.place == tracking.mlflow
    client = client_of(tracking)
    return client, client.get_run(record.run_id)


def history_of(client, run, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def logged(run: Path, name: str) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["clock"], line[name]) for line in lines if name in line]


def files_of(client, run, folder: str | None = None) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id, folder)}


def test_a_killed_training_goes_on_with_its_run_and_tells_everything_once(
    images, tmp_path, tracking
) -> None:
    for clock in (6, 13):  # a strip and a line of metrics lie after the newest checkpoint
        with pytest.raises(Killed):
            train_here(
                small_config(), images, tmp_path, on_progress=kill_at(clock), tracking=tracking
            )
        client, run = run_of(tmp_path, tracking)
        assert run.info.status == "FAILED"
    train_here(small_config(), images, tmp_path, tracking=tracking)
    assert run.info.run_id == run_of(tmp_path, tracking)[1].info.run_id
    client, run = run_of(tmp_path, tracking)
    assert run.info.status == "FINISHED" and run.info.run_name == tmp_path.name
    for group, name in (("loss", "refiner_loss"), ("discriminator", "accuracy_real"),
                        ("refiner", "mean_abs_delta")):  # fmt: skip
        history, kept = history_of(client, run, f"{group}/{name}"), logged(tmp_path, name)
        assert history == kept and len(kept) > 3

    record = recorded(open_store(tmp_path))
    assert record is not None
    params = run.data.params
    assert params["steps"] == "12" and params["refiner.maps"] == "4"
    assert params["synthetic"] == record.synthetic and params["ema_decay"] == "None"
    described = read_refiner(tmp_path).description
    assert run.data.tags["simgan_factory.refiner"] == described.sha256
    assert files_of(client, run) == {
        "images", "losses.png", "metrics.jsonl", "overview.png", "refiner", "train.json",
    }  # fmt: skip
    assert files_of(client, run, "refiner") == {
        "refiner/refiner.json", "refiner/refiner.safetensors",
    }  # fmt: skip
    for name in ("refiner/refiner.safetensors", "overview.png"):
        copy = client.download_artifacts(run.info.run_id, name, str(tmp_path))
        assert Path(copy).read_bytes() == (tmp_path / Path(name).name).read_bytes()

    pictures = {name for name in files_of(client, run, "images") if name.endswith(".png")}
    steps = sorted(int(name.split("+")[2]) for name in pictures)
    strips = sorted((tmp_path / "strips").iterdir())
    assert steps == [5 + int(path.stem[5:]) for path in strips] and len(strips) == 4
    first = min(pictures, key=lambda name: int(name.split("+")[2]))
    copy = Image.open(client.download_artifacts(run.info.run_id, first, str(tmp_path)))
    np.testing.assert_array_equal(
        np.asarray(copy.convert("L")), np.asarray(Image.open(strips[0]).convert("L"))
    )


@pytest.mark.long
def test_a_training_from_before_is_told_whole_and_a_lost_run_is_made_anew(
    images, tmp_path, tracking
) -> None:
    """Without `mlflow.json`, with one of another place, and with one of a run that is gone."""
    train_here(small_config(), images, tmp_path)
    assert not (tmp_path / MLFLOW_NAME).exists()
    seen = set()
    for kind in ("none", "another place", "deleted", "damaged"):
        if kind == "another place":
            other = MlflowRecord(place="http://elsewhere", run_id="0" * 32)
            (tmp_path / MLFLOW_NAME).write_bytes(other.to_json())
        elif kind == "deleted":
            client, run = run_of(tmp_path, tracking)
            client.delete_run(run.info.run_id)
        elif kind == "damaged":
            (tmp_path / MLFLOW_NAME).write_text("{")
        train_here(small_config(), images, tmp_path, tracking=tracking)
        client, run = run_of(tmp_path, tracking)
        seen.add(run.info.run_id)
        assert history_of(client, run, "loss/refiner_loss") == logged(tmp_path, "refiner_loss")
        assert len(files_of(client, run, "images")) == 2 * 4  # each with a small copy
        assert run.info.status == "FINISHED"
    assert len(seen) == 4


def test_a_server_out_of_reach_stops_nothing_and_is_warned_of_once(
    images, tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.01)
    away = MlflowOptions(mlflow="http://127.0.0.1:1")
    train_here(small_config(), images, tmp_path, tracking=away)
    assert read_refiner(tmp_path).description.step == 12
    assert not (tmp_path / MLFLOW_NAME).exists()
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    said = [line for line in said if line.startswith("MLflow")]
    assert [line.split(";")[0] for line in said] == [
        "MLflow at http://127.0.0.1:1 cannot be reached, and is tried again meanwhile",
        said[1].split(";")[0],
    ]
    assert "lacks" in said[1] and f"{tmp_path} has all of it" in said[1]


@pytest.mark.long
def test_scores_and_alarms_are_told_too(images, tmp_path, tracking, monkeypatch) -> None:
    monkeypatch.setattr(
        "factory.training.loop.alarm_of",
        lambda lines: Alarm("discriminator wins", "lower its rate") if len(lines) == 5 else None,
    )
    scorer = Prepared({clock: score(0.3, clock / 100) for clock in (8, 12, 16, 17)})
    config = small_config(validate_every=4)
    train_here(config, images, tmp_path, scorer=scorer, tracking=tracking)
    client, run = run_of(tmp_path, tracking)
    history = history_of(client, run, "validation/two_sample_accuracy")
    assert history == [(8, 0.08), (12, 0.12), (16, 0.16), (17, 0.17)]
    (note,) = files_of(client, run, "notes")
    copy = client.download_artifacts(run.info.run_id, note, str(tmp_path))
    assert Path(copy).read_text() == "discriminator wins: lower its rate"


NO_CALLS = """
import socket, sys
from factory.tracking.mlflow_run import MlflowRun
from factory.tracking.options import MlflowOptions

def refused(self, address):
    raise SystemExit(f"a connection to {address}")

socket.socket.connect = refused
run = MlflowRun(MlflowOptions(mlflow=sys.argv[1]), name="a", tags={})
run.log_metrics([("x", 1.0, 1, 1)])
run.end("FINISHED")
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
assert "cloudpickle" not in str(run.client)
print("told nobody else")
"""


@pytest.mark.long
def test_nothing_is_sent_to_anyone_else(tmp_path) -> None:
    """MLflow reports its use unless it is told not to; it never does where it sees a test, so a
    process that is none has to look."""
    seen = ("PYTEST", "CI", "GITHUB", "MLFLOW", "TOX", "DO_NOT_TRACK")
    environment = {name: x for name, x in os.environ.items() if not name.startswith(seen)}
    done = subprocess.run(
        [sys.executable, "-c", NO_CALLS, str(tmp_path / "mlflow")],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "told nobody else\n", done.stderr
