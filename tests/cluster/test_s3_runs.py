"""Whole runs while requests fail or the server dies: the right datasets, or a clean failure."""

import random
import re
import threading
import time
from typing import Any

import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import ShardsFailedError
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.store import s3_requests
from factory.store.open import open_store
from factory.store.s3_errors import StoreUnavailableError
from factory.upkeep.garbage import clean, stray_objects
from support import fakes, planted, s3_proxy
from support.s3_servers import PASSING, SHORT, new_location, use

OPTIONS = UnityEyesOptions()


@pytest.fixture(scope="module")
def undisturbed(six_inputs, tmp_path_factory) -> Dataset:
    """What those inputs become in a local folder, in shards of three."""
    output = tmp_path_factory.mktemp("undisturbed") / "eyes"
    return fakes.ingest_here(six_inputs, output, OPTIONS, shard_size=3)


def everything_in(location: str) -> dict[str | int, Any]:
    dataset = Dataset.open(location)
    assert stray_objects(dataset, older_than_s=0) == []
    return planted.content(dataset)


def pattern_of(name: str) -> str:
    """A name with any number of an attempt."""
    return re.sub(r"-[0-9a-f]{8}(?=\.)", "-[0-9a-f]{8}", name) + "$"


@pytest.mark.parametrize("fault", [name for name in PASSING if name != "late answer"])
def test_a_dataset_is_right_though_every_object_meets_a_fault(
    proxy, six_inputs, undisturbed, fault
) -> None:
    """Whenever it is first written, read and asked for."""
    location = new_location()
    for name in planted.objects(undisturbed):
        for method in ("PUT", "GET", "HEAD"):
            proxy.spoil(PASSING[fault], method, pattern_of(name))
    fakes.ingest_here(six_inputs, location, OPTIONS, shard_size=3)
    proxy.mend()
    assert everything_in(location) == planted.content(undisturbed)


@pytest.mark.parametrize("seed", range(3))
def test_a_dataset_is_right_though_a_third_of_all_requests_fail(
    proxy, six_inputs, undisturbed, seed
) -> None:
    chance = random.Random(seed)

    def maybe(exchange: s3_proxy.Exchange) -> None:
        if chance.random() < 0.3:
            chance.choice([*PASSING.values(), s3_proxy.send_twice])(exchange)
        else:
            exchange.reply(exchange.forward())

    location = new_location()
    proxy.spoil(maybe, times=100_000)
    fakes.ingest_here(six_inputs, location, OPTIONS, shard_size=3)
    proxy.mend()
    assert everything_in(location) == planted.content(undisturbed)


@pytest.fixture
def restarted(rgw, monkeypatch):
    """The gateway, which runs again after the test whatever the test did."""
    use(rgw, monkeypatch)
    yield rgw
    if not rgw.is_up():
        rgw.back()


def kill_after_commits(server, location: str, number: int, down_s: float) -> threading.Thread:
    """Kill the server once some shards are there; bring it back after a while."""
    dataset_store = open_store(location)

    def watch() -> None:
        while sum(1 for _ in dataset_store.entries("index")) < number:
            time.sleep(0.02)
        server.kill()
        time.sleep(down_s)
        server.back()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.s3
def test_a_run_goes_on_after_the_server_was_killed_and_came_back(
    restarted, renders, tmp_path
) -> None:
    location = new_location()
    killer = kill_after_commits(restarted, location, number=2, down_s=2)
    fakes.ingest_here(renders, location, OPTIONS, shard_size=3)
    killer.join()
    fakes.ingest_here(renders, tmp_path / "local", OPTIONS, shard_size=3)
    assert everything_in(location) == everything_in(str(tmp_path / "local"))


@pytest.mark.s3
def test_a_run_without_patience_fails_cleanly_and_the_same_command_completes_it(
    restarted, renders, tmp_path, monkeypatch
) -> None:
    location = new_location()
    with monkeypatch.context() as hurried:
        hurried.setattr(s3_requests, "PATIENCE", SHORT)
        killer = kill_after_commits(restarted, location, number=2, down_s=3)
        with pytest.raises((StoreUnavailableError, ShardsFailedError), match="given up after"):
            fakes.ingest_here(renders, location, OPTIONS, shard_size=3)
        killer.join()
    done = fakes.ingest_here(renders, location, OPTIONS, shard_size=3)
    assert len(done.committed()) == 8
    # The files of a writer that could not even remove them are nothing but leftovers.
    leftovers = stray_objects(done, older_than_s=0)
    assert {stray.kind for stray in leftovers} <= {"uncommitted"} and len(leftovers) <= 2
    list(clean(done, leftovers))
    fakes.ingest_here(renders, tmp_path / "local", OPTIONS, shard_size=3)
    assert everything_in(location) == everything_in(str(tmp_path / "local"))
