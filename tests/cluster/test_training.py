"""Training with several workers on a cluster, of which parts are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util import state

from cluster.on_ray.history import HistoryLostError, SharedHistory
from cluster.on_ray.training import train_on_ray
from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.networks.refiner import RefinerConfig
from factory.networks.refiner_files import load_refiner
from factory.training.checkpoints import Checkpoints
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from support import fakes
from support.places import ROOT
from tests.cluster.test_submit import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SHAPE = (1, 4, 5)
KILL_AT = 50
"""updates"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without cores and two nodes with one each; beside it a newer cluster of somebody
    else, which Ray's own tools would rather look at."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_port()},
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    stranger = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_port()},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        ray.shutdown()  # what other tests in this process may have started
        ray.init(log_to_driver=False)
        yield cluster
        ray.shutdown()
    stranger.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def real(tmp_path_factory, renders) -> Dataset:
    """The same renders as camera images, one sample each."""
    folder = tmp_path_factory.mktemp("real")
    for place, path in enumerate(sorted(renders.glob("*.jpg"))):
        (folder / f"{place}.jpg").write_bytes(path.read_bytes())
    return fakes.ingest_here(folder, folder / "set", PicturesOptions(), shard_size=5)


def config(**changes) -> TrainConfig:
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
    try:
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
        return int(json.loads(lines[-1])["clock"]) if lines else 0
    except (FileNotFoundError, ValueError):
        return 0


def kill_in_turn(run: Path, kills: Mapping[int, Callable[[], None]]) -> threading.Thread:
    """Kill something each time that the training has come so far."""

    def wait() -> None:
        for clock, kill in kills.items():
            while clock_of(run) < clock:
                time.sleep(0.05)
            kill()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def actors(class_name: str) -> list[state.api.ActorState]:
    found = state.list_actors(filters=[("class_name", "=", class_name), ("state", "=", "ALIVE")])
    return list(found)


def kill_actor(class_name: str) -> None:
    os.kill(actors(class_name)[0].pid, signal.SIGKILL)


def check_whole(run: Path, config: TrainConfig) -> None:
    """Every update is in the result and in the metrics once, whatever was lost between."""
    assert load_refiner(run)[1].step == config.steps
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["clock"] for line in lines] == list(range(5, config.total_clock + 1, 5))
    newest = Checkpoints(str(run)).read(config.total_clock)
    history = HistoryBuffer(config.buffer_size, (1, 35, 55), 0)
    history.restore(str(run), newest.history)
    assert history.statistics().num_exchanges == 2 * config.total_clock


def test_a_lost_worker_and_a_lost_history_cost_the_steps_since_a_checkpoint(
    cluster, synthetic, real, tmp_path
) -> None:
    """And nothing else does: a cluster beside this one disturbs nobody's workers."""
    victims = {30: "RayTrainWorker", 80: "HistoryKeeper"}
    before = workers_ever()
    killer = kill_in_turn(tmp_path, {at: partial(kill_actor, v) for at, v in victims.items()})
    train_on_ray(config(), synthetic.location, real.location, tmp_path, split="train", workers=2)
    killer.join(1)
    assert not killer.is_alive()
    check_whole(tmp_path, config())
    assert workers_ever() - before == 3 * 2, "two at the start, and two after each loss"


def workers_ever() -> int:
    """Of this cluster, dead ones included."""
    return len(state.list_actors(filters=[("class_name", "=", "RayTrainWorker")], limit=1000))


def test_a_lost_node_is_waited_for(cluster, synthetic, real, tmp_path) -> None:
    """As a job of its own, for only a main thread may add a node."""
    run, toml = tmp_path / "run", tmp_path / "train.toml"
    fields = config().model_dump(exclude_defaults=True)
    refiner = fields.pop("refiner")
    tables = [("train", fields), ("train.refiner", refiner)]
    toml.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
            for name, table in tables
        )
    )
    options = {"config": toml, "synthetic": synthetic.location, "real": real.location,
               "output": run, "workers": 2}  # fmt: skip
    command = [sys.executable, str(ROOT / "jobs" / "train.py")]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (tmp_path / "log.txt").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    while clock_of(run) < KILL_AT and job.poll() is None:
        time.sleep(0.05)
    here = ray.get_runtime_context().get_node_id()  # this driver's cannot be spared
    node = next(node for node in cluster.worker_nodes if node.node_id != here)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    try:
        assert job.wait(400) == 0, (tmp_path / "log.txt").read_text()
    finally:
        job.kill()
    check_whole(run, config())


def test_an_error_of_ours_is_not_tried_again(cluster, synthetic, real, tmp_path) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"ValueError: .* cannot share a batch of 6"):
        train_on_ray(
            config(batch_size=6),
            synthetic.location,
            real.location,
            tmp_path,
            split="train",
            workers=2,
            max_failures=50,
        )
    assert time.monotonic() - started < 300, "fifty more groups of workers take longer"


def test_more_workers_than_there_are_cores_are_refused(cluster, synthetic, real, tmp_path) -> None:
    with pytest.raises(RuntimeError, match="cannot hold 5 workers"):
        train_on_ray(
            config(), synthetic.location, real.location, tmp_path, split="train", workers=5
        )


# The shared history


def numbered(*numbers: int) -> np.ndarray:
    return np.broadcast_to(
        np.array(numbers, np.float16)[:, None, None, None], (len(numbers), *SHAPE)
    ).copy()


def test_one_actor_is_the_buffer(cluster, tmp_path) -> None:
    shared, plain = SharedHistory.start(16, SHAPE, seed=3), HistoryBuffer(16, SHAPE, seed=3)
    shared.restore(str(tmp_path), {})
    for step in range(12):
        fresh = numbered(step, step + 100)
        worker = step % 2
        assert np.array_equal(shared.exchange(fresh, worker), plain.exchange(fresh, worker))
    assert np.array_equal(shared.last(1), plain.last(1)) and shared.last(7) is None
    assert shared.statistics() == plain.statistics()
    digests = shared.start_saving(str(tmp_path), "there")()
    assert digests == plain.start_saving(str(tmp_path), "there")()
    other = SharedHistory.start(16, SHAPE, seed=99)
    other.restore(str(tmp_path), digests)
    assert np.array_equal(other.exchange(numbered(7, 8)), plain.exchange(numbered(7, 8)))


def test_several_actors_share_it(cluster, tmp_path) -> None:
    shared = SharedHistory.start(16, SHAPE, seed=3, actors=2)
    shared.restore(str(tmp_path), {})
    for step in range(8):
        for worker in range(2):
            past = shared.exchange(numbered(step * 10 + worker, step * 10 + worker), worker)
            assert (past % 10 == worker).all()
    assert shared.statistics()[:4] == (16, 16, 16, 32)
    digests = shared.start_saving(str(tmp_path), "there")()
    assert sorted(digests) == ["there-0.safetensors", "there-1.safetensors"]
    again = SharedHistory.start(16, SHAPE, seed=3, actors=2)
    again.restore(str(tmp_path), digests)
    for worker in range(2):
        assert np.array_equal(again.last(worker), shared.last(worker))
    with pytest.raises(ValueError, match="--history-actors 2"):
        SharedHistory.start(16, SHAPE, seed=3).restore(str(tmp_path), digests)


def test_a_restarted_actor_says_that_it_holds_nothing(cluster, tmp_path) -> None:
    shared = SharedHistory.start(16, SHAPE, seed=3)
    shared.restore(str(tmp_path), {})
    shared.exchange(numbered(1, 2))
    digests = shared.start_saving(str(tmp_path), "there")()
    pid = actors("HistoryKeeper")[-1].pid
    for actor in actors("HistoryKeeper"):
        os.kill(actor.pid, signal.SIGKILL)
    assert pid
    with pytest.raises((HistoryLostError, ray.exceptions.RayError)):
        for _ in range(100):
            shared.exchange(numbered(3, 4))
            time.sleep(0.1)
    shared.restore(str(tmp_path), digests)
    assert (shared.last(0) == numbered(1, 2)).all()
    assert shared.statistics().num_exchanges == 1
