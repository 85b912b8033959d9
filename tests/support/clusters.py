"""One Ray for all tests of a process, and what tests of several nodes need.

Ray is imported where it is needed, because every test process loads this file.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 150 << 20
"""of the shared node; small, so that a test can fill it"""


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_cluster(num_cpus: int, **options: object) -> Iterator["Cluster"]:
    """A cluster of one head node, with the dashboard that Ray Train needs.

    Args:
        num_cpus: that the head offers; other nodes may be added to the cluster.
        options: more arguments of the head node.
    """
    from ray.cluster_utils import Cluster

    head = {"num_cpus": num_cpus, "include_dashboard": True, "dashboard_port": free_port()}
    cluster = Cluster(initialize_head=True, head_node_args=head | options)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def connect(cluster: "Cluster") -> None:
    """Connect this process to a cluster, and to no other one."""
    import ray

    if ray.is_initialized():
        if ray.get_runtime_context().gcs_address == cluster.address:
            return
        ray.shutdown()
    ray.init(address=cluster.address, log_to_driver=False)


def disconnect() -> None:
    """Leave whatever cluster this process is connected to."""
    import ray

    ray.shutdown()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator["Cluster"]:
    """A cluster of one node with two cores. It starts once in a test process, because a start takes
    longer than the work of most tests."""
    with running_cluster(num_cpus=2, object_store_memory=OBJECT_STORE_BYTES) as cluster:
        yield cluster
        disconnect()


@pytest.fixture
def shared_ray(shared_cluster: "Cluster") -> None:
    """This process is connected to the shared cluster, and jobs that run in it find it so."""
    connect(shared_cluster)


def without_ray_address() -> dict[str, str]:
    """The environment of a process that is to start a Ray of its own."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
