"""Options of the jobs that train: one way to ask for a GPU, and advice that can be followed."""

import re

import pytest
import ray

from cluster.job.command import parse
from cluster.on_ray import training
from jobs.ablate import AblateJob
from jobs.train import TrainJob

REQUIRED = {
    TrainJob: ["--synthetic", "a", "--real", "b", "--output", "c", "--steps", "1"],
    AblateJob: ["--synthetic", "a", "--real", "b", "--output", "c", "--variants", "ablation"],
}


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_gpu_is_asked_for_by_device(kind) -> None:
    assert parse(kind, REQUIRED[kind]).device == "cpu"
    assert parse(kind, [*REQUIRED[kind], "--device", "cuda"]).device == "cuda"


@pytest.mark.parametrize("flag", ["--use-gpu", "--no-use-gpu", "--use_gpu", "--use-gpu=True"])
@pytest.mark.parametrize("kind", REQUIRED)
def test_the_flag_of_earlier_versions_is_refused_by_the_name_of_the_new_one(
    kind, flag, capsys
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(kind, [*REQUIRED[kind], flag])
    assert stopped.value.code == 2
    assert "is gone; use --device cuda" in capsys.readouterr().err


def test_so_is_the_option_in_a_file(tmp_path, capsys) -> None:
    (tmp_path / "train.toml").write_text("[train]\nsteps = 1\nuse_gpu = true\n")
    with pytest.raises(SystemExit) as stopped:
        parse(TrainJob, ["--config", str(tmp_path / "train.toml"), *REQUIRED[TrainJob][:-2]])
    assert stopped.value.code == 2
    assert "use_gpu is gone; use --device cuda" in capsys.readouterr().err


def test_advice_names_options_that_the_job_has(monkeypatch) -> None:
    node = {"Alive": True, "Resources": {"CPU": 4}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    with pytest.raises(RuntimeError, match=r"\[0\] GPUs") as stopped:
        training._cpus_of_a_worker(2, True, None)
    named = re.findall(r"--([a-z-]+)", str(stopped.value))
    assert named and {name.replace("-", "_") for name in named} <= TrainJob.model_fields.keys()


def test_more_history_actors_than_workers_are_refused(capsys) -> None:
    """The actors that no worker asks would stay empty, and the history be smaller than it says."""
    with pytest.raises(SystemExit) as stopped:
        parse(TrainJob, [*REQUIRED[TrainJob], "--workers", "2", "--history-actors", "3"])
    assert stopped.value.code == 2
    assert "at most --history-actors 2" in capsys.readouterr().err
