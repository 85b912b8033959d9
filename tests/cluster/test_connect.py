"""What the environment says of Ray, and what is said of it where it cannot work."""

import socket
import time
from pathlib import Path

import pytest
import ray

from cluster.on_ray.connect import (
    SOCKET_PATH_BYTES,
    ensure_ray,
    ray_address,
    require_cluster,
    require_short_folder,
)
from support.clusters import disconnect, free_port


@pytest.fixture(autouse=True)
def unconnected() -> None:
    disconnect()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://10.0.0.1:8265", "ray job submit --address http://10.0.0.1:8265 --working-dir"),
        ("https://ray.example.org", "dashboard"),
        ("ray://10.0.0.1:10001", "ray job submit --address http://10.0.0.1:8265"),
    ],
)
def test_an_address_that_is_not_of_a_cluster_is_explained(monkeypatch, address, says) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RuntimeError) as caught:
        ensure_ray()
    message = str(caught.value)
    assert f"RAY_ADDRESS={address}" in message and says in message
    assert "unset RAY_ADDRESS" in message


@pytest.mark.parametrize("listens", [False, True], ids=["nobody there", "another program"])
def test_a_dead_cluster_is_reported_in_time(monkeypatch, listens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if listens else free_port()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setenv("SIMGAN_RAY_CONNECT_S", "0.5")
        started = time.monotonic()
        with pytest.raises(RuntimeError, match=rf"RAY_ADDRESS=127\.0\.0\.1:{port} within 0.5 s"):
            ensure_ray()
        assert time.monotonic() - started < 5


def test_an_empty_address_is_none(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert ray_address() is None


def test_a_folder_in_which_ray_cannot_start_is_named_with_what_to_set(monkeypatch) -> None:
    long = "/scratch/" + 10 * "slurm_jobdir_"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", long)
    with pytest.raises(RuntimeError, match=rf"{long}/ray: .*export RAY_TMPDIR=/tmp"):
        ensure_ray()


def test_the_longest_folder_is_just_not_refused() -> None:
    rest = len("/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
    require_short_folder(Path("/" + "a" * (SOCKET_PATH_BYTES - rest - 1)))
    with pytest.raises(RuntimeError, match="by 1 bytes"):
        require_short_folder(Path("/" + "a" * (SOCKET_PATH_BYTES - rest)))


@pytest.mark.ray
def test_a_cluster_that_is_there_answers(shared_cluster) -> None:
    require_cluster(shared_cluster.address, 20)


def test_a_ray_that_does_not_start_is_reported_with_where_its_logs_are(monkeypatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(RuntimeError, match=r"timed out during startup\. .*/tmp/ray/session_latest"):
        ensure_ray()
