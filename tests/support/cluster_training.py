"""Trainings with several workers on a cluster, of which parts are killed."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ray
from ray.util import state

from factory.networks.refiner_files import load_refiner
from factory.training.checkpoints import Checkpoints
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from schemas.refiner import RefinerConfig


def cluster_config(**changes) -> TrainConfig:
    """A training of some seconds, long enough to kill parts of it."""
    fields = {
        "refiner": RefinerConfig(maps=4, blocks=1),
        "steps": 120,
        "batch_size": 8,
        "buffer_size": 64,
        "refiner_pretrain_steps": 0,
        "discriminator_pretrain_steps": 0,
        "checkpoint_every": 20,
        "strip_every": 100,
        "log_every": 5,
        "num_threads": 1,
    }
    return TrainConfig.model_validate(fields | changes)


def clock_of(run: Path) -> int:
    """How many updates a training has logged."""
    try:
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
        return int(json.loads(lines[-1])["clock"]) if lines else 0
    except (FileNotFoundError, ValueError):
        return 0


def kill_in_turn(run: Path, kills: Mapping[int, Callable[[], None]]) -> threading.Thread:
    """Kill something each time that the training has come so far.

    Args:
        kills: by the number of updates.
    """

    def wait() -> None:
        for clock, kill in kills.items():
            while clock_of(run) < clock:
                time.sleep(0.05)
            kill()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def actors(class_name: str, **filters: str) -> list[state.api.ActorState]:
    """The actors of a class in the cluster that this process is connected to, also beside a newer
    cluster, which Ray would ask by itself."""
    conditions = {"class_name": class_name} | filters
    return list(
        state.list_actors(
            address=ray.get_runtime_context().gcs_address,
            filters=[(name, "=", value) for name, value in conditions.items()],
            limit=1000,
        )
    )


def living_actors(class_name: str) -> list[state.api.ActorState]:
    """Those of them that have a process."""
    return actors(class_name, state="ALIVE")


def kill_worker() -> None:
    """Kill the process of one of the training's workers."""
    os.kill(living_actors("RayTrainWorker")[0].pid, signal.SIGKILL)


def kill_history() -> None:
    """Kill every process that holds a part of a history."""
    for actor in living_actors("HistoryKeeper"):
        os.kill(actor.pid, signal.SIGKILL)


def kill_worker_and_history() -> None:
    """Kill both at the same moment."""
    kill_worker()
    kill_history()


def num_workers_ever() -> int:
    """Training workers of this cluster, dead ones included."""
    return len(actors("RayTrainWorker"))


def check_whole(run: Path, config: TrainConfig) -> None:
    """Every update is in the result and in the metrics once, whatever was lost between."""
    assert load_refiner(run)[1].step == config.steps
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["clock"] for line in lines] == list(range(5, config.total_clock + 1, 5))
    newest = Checkpoints(str(run)).read(config.total_clock)
    history = HistoryBuffer(config.buffer_size, (1, 35, 55), 0)
    history.restore(str(run), newest.history)
    assert history.statistics().num_exchanges == 2 * config.total_clock
