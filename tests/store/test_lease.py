"""A lease only avoids wasted work: what matters is that it never blocks for long."""

import os
import subprocess
import sys
import threading
import time

import pytest

from factory.store import lease as leases
from factory.store.lease import lease
from factory.store.local import LocalStore
from schemas.lease import Lease
from support.places import ROOT

NAME = "lease/ingest.json"


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.02)


def put_lease(store: LocalStore, **changes) -> Lease:
    """That of another run, on another machine, good for a minute."""
    other = Lease(holder="x", host="elsewhere/1", pid=1, since=time.time(),
                  expires=time.time() + 60).model_copy(update=changes)  # fmt: skip
    store.put(NAME, other.to_json())
    return other


def read_lease(store: LocalStore) -> Lease:
    return Lease.from_json(store.read(NAME), where=NAME)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_who_comes_first_holds_it_and_gives_it_back(store) -> None:
    with lease(store, "ingest") as is_held:
        assert is_held
        held = read_lease(store)
        assert (held.pid, held.host) == (os.getpid(), leases._host())
        assert held.expires - held.since == pytest.approx(leases.TTL_S)
    assert store.size(NAME) is None


def test_it_is_given_back_after_a_failure(store) -> None:
    with pytest.raises(KeyError), lease(store, "ingest"):
        raise KeyError
    assert store.size(NAME) is None


def test_leases_of_two_names_do_not_meet(store) -> None:
    with lease(store, "ingest") as first, lease(store, "refine") as second:
        assert first and second


def test_a_second_run_sees_that_the_first_is_alive_and_leaves(store, caplog) -> None:
    caplog.set_level("INFO")
    with lease(store, "ingest", ttl_s=0.8) as first:
        holder = read_lease(store).holder
        with lease(store, "ingest", ttl_s=0.8) as second:
            assert first and not second
        assert read_lease(store).holder == holder, "who was refused leaves it alone"
    assert f"another run is at work: process {os.getpid()} on" in caplog.text


@pytest.mark.slow
def test_it_is_renewed_for_as_long_as_it_is_held(store) -> None:
    with lease(store, "ingest", ttl_s=0.4):
        first = read_lease(store)
        time.sleep(1.0)
        now = read_lease(store)
    assert now.expires > time.time() - 0.5 > first.expires
    assert (now.holder, now.since) == (first.holder, first.since)


def test_that_of_a_dead_process_on_this_machine_is_taken_over_at_once(store) -> None:
    put_lease(store, host=leases._host(), pid=dead_process())
    started = time.monotonic()
    with lease(store, "ingest") as is_held:
        assert is_held
    assert time.monotonic() - started < 5


def test_one_that_expired_is_taken_over_at_once(store) -> None:
    put_lease(store, expires=time.time() - 1)
    with lease(store, "ingest") as is_held:
        assert is_held


def test_one_that_nobody_renews_is_taken_over_whatever_its_clock_says(store) -> None:
    """The clock of the machine that died was a year ahead."""
    put_lease(store, expires=time.time() + 3e7)
    started = time.monotonic()
    with lease(store, "ingest", ttl_s=0.3) as is_held:
        assert is_held
    assert 0.3 <= time.monotonic() - started < 5


def test_one_that_is_given_back_meanwhile_is_taken(store) -> None:
    put_lease(store)
    threading.Timer(0.2, store.delete, [NAME]).start()
    with lease(store, "ingest") as is_held:
        assert is_held


def test_what_is_no_lease_blocks_nobody(store) -> None:
    store.put(NAME, b"{}")
    with lease(store, "ingest") as is_held:
        assert is_held


def test_who_lost_it_stops_renewing_and_leaves_the_others_alone(store, caplog) -> None:
    with lease(store, "ingest", ttl_s=0.4):
        other = put_lease(store)
        time.sleep(0.5)
        assert read_lease(store) == other
    assert read_lease(store) == other
    assert "was taken over by process 1 on elsewhere" in caplog.text


def test_a_store_that_fails_does_not_stop_the_work(store, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise OSError("full")

    with lease(store, "ingest", ttl_s=0.2):
        monkeypatch.setattr(LocalStore, "put", fail)
        monkeypatch.setattr(LocalStore, "delete", fail)
        time.sleep(0.3)
    assert "could not be renewed: full" in caplog.text
    assert "could not be given back: full" in caplog.text


@pytest.mark.slow
def test_of_many_that_start_at_once_one_holds_it(store) -> None:
    got: list[bool] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        with lease(store, "ingest", ttl_s=1.0) as is_held:
            got.append(is_held)
            time.sleep(2.0 if is_held else 0)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


@pytest.mark.slow
def test_a_killed_run_leaves_one_that_blocks_nobody_here(store, tmp_path) -> None:
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from factory.store.lease import lease\n"
        "from factory.store.local import LocalStore\n"
        "with lease(LocalStore(Path(sys.argv[1])), 'ingest'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=False)
    assert read_lease(store).pid != os.getpid()
    with lease(store, "ingest") as is_held:
        assert is_held
