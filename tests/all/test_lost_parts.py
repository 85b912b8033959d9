"""A training on several nodes survives what is lost one after the other: worker, history, node.

tests/cluster/test_training.py has a shorter trial, in which a worker and the history are lost at
once.
"""

import subprocess
import time
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster

from cluster.on_ray.training import train_on_ray
from support.cluster_training import (
    check_whole,
    clock_of,
    cluster_config,
    kill_history,
    kill_in_turn,
    kill_worker,
    num_workers_ever,
)
from support.clusters import connect, disconnect, running_cluster
from support.job_runs import command
from support.places import ROOT

pytestmark = [pytest.mark.long, pytest.mark.ray]
KILL_AT = 50
"""updates"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without cores and two nodes with one each; beside it a newer cluster of somebody
    else, which Ray's own tools would rather look at."""
    with running_cluster(num_cpus=0) as cluster:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        with running_cluster(num_cpus=0), pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", cluster.address)
            connect(cluster)
            yield cluster
            disconnect()


def test_a_lost_worker_and_then_a_lost_history_cost_the_steps_since_a_checkpoint(
    nodes, synthetic, single_reals, tmp_path
) -> None:
    before = num_workers_ever()
    killer = kill_in_turn(tmp_path, {30: kill_worker, 80: kill_history})
    config = cluster_config()
    train_on_ray(
        config, synthetic.location, single_reals.location, tmp_path, split="train", workers=2
    )
    killer.join(1)
    assert not killer.is_alive()
    check_whole(tmp_path, config)
    assert num_workers_ever() - before == 3 * 2, "two at the start, and two after each loss"


def test_a_lost_node_is_waited_for(nodes, synthetic, single_reals, tmp_path) -> None:
    """As a job of its own, for only a main thread may add a node."""
    run, toml = tmp_path / "run", tmp_path / "train.toml"
    config = cluster_config()
    fields = config.model_dump(exclude_defaults=True)
    refiner = fields.pop("refiner")
    tables = [("train", fields), ("train.refiner", refiner)]
    toml.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
            for name, table in tables
        )
    )
    options = {"config": toml, "synthetic": synthetic.location, "real": single_reals.location,
               "output": run, "workers": 2}  # fmt: skip
    flags = [f"--{name}={value}" for name, value in options.items()]
    with (tmp_path / "log.txt").open("wb") as log:
        job = subprocess.Popen(command("train", *flags), stdout=log, stderr=log, cwd=ROOT)
    try:
        while clock_of(run) < KILL_AT and job.poll() is None:
            time.sleep(0.05)
        here = ray.get_runtime_context().get_node_id()  # this driver's cannot be spared
        node = next(node for node in nodes.worker_nodes if node.node_id != here)
        nodes.remove_node(node, allow_graceful=False)
        nodes.add_node(num_cpus=1)
        assert job.wait(400) == 0, (tmp_path / "log.txt").read_text()
    finally:
        job.kill()
    check_whole(run, config)
