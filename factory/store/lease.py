"""A lease: overlapping runs of one job notice each other, so that one of them does the work.

It saves work and guards nothing: plans and commits are exclusive by themselves, so two runs that
both believe they hold it do no harm. A holder renews it; who finds one that is not renewed until
it expires takes it over, so a crash holds nobody up for longer than that.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from factory.store.base import Store
from schemas.base import FormatError, Model

log = logging.getLogger(__name__)

TTL_S = 60.0
"""after which a lease that was not renewed is void"""
RENEWALS = 4
"""in that time"""
LOOK_EVERY_S = 1.0
"""at the lease of another run, to see whether it is renewed"""


class Lease(Model):
    """`lease/<name>.json`: who is at work."""

    holder: str
    """unique to a run"""
    host: str
    """machine and process namespace, within which a process id means something"""
    pid: int
    since: float
    """seconds since 1970 UTC"""
    expires: float
    """seconds since 1970 UTC, by the holder's clock"""

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host.partition('/')[0]}, since {_utc(self.since)}, "
            f"until {_utc(self.expires)} unless renewed"
        )


@contextmanager
def lease(store: Store, name: str, *, ttl_s: float = TTL_S) -> Iterator[bool]:
    """Hold `lease/<name>.json` in a store, renewed by a thread until the block is left.

    Another run's lease is watched until it is renewed (then that run is alive, and the answer is
    no) or expires (then it is taken over); that of a dead process on this machine is taken over
    at once.

    Returns:
        Whether it is ours; who holds it instead is in the log.
    """
    path = f"lease/{name}.json"
    ours = _take(store, path, ttl_s)
    if ours is None:
        yield False
        return
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(store, path, ours, ttl_s, done), daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        done.set()
        renewer.join()
        _give_back(store, path, ours)


def _give_back(store: Store, path: str, ours: Lease) -> None:
    try:
        there = _read(store, path)
        if there is not None and there.holder == ours.holder:
            store.delete(path)
    except OSError as error:  # it expires by itself
        log.warning("the lease %s could not be given back: %s", path, error)


def _take(store: Store, path: str, ttl_s: float) -> Lease | None:
    now = time.time()
    ours = Lease(holder=token_hex(8), host=_host(), pid=os.getpid(), since=now, expires=now + ttl_s)
    first: Lease | None = None
    watched_since = time.monotonic()
    while True:
        now = time.time()
        ours = ours.model_copy(update={"since": now, "expires": now + ttl_s})
        with suppress(FileExistsError):
            store.put_new(path, ours.to_json())
            return ours
        there = _read(store, path)
        if there is not None and not _is_void(there, time.monotonic() - watched_since, ttl_s):
            if first is not None and there != first:
                log.info("another run is at work: %s", there)
                return None
            if first is None:
                log.info("another run holds %s: %s; waiting for a sign of life", path, there)
            first = there
            time.sleep(LOOK_EVERY_S)
            continue
        if there is not None:
            log.info("taking over the lease of %s", there)
        store.delete(path)


def _is_void(there: Lease, watched_s: float, ttl_s: float) -> bool:
    """Whether a lease, unchanged for so long, is that of a dead run."""
    if there.host == _host() and not _is_alive(there.pid):
        return True
    return watched_s > ttl_s or time.time() > there.expires


def _renew(store: Store, path: str, ours: Lease, ttl_s: float, done: threading.Event) -> None:
    while not done.wait(ttl_s / RENEWALS):
        try:
            there = _read(store, path)
            if there is None or there.holder != ours.holder:
                log.warning("the lease %s was taken over by %s", path, there or "nobody")
                return
            store.put(path, ours.model_copy(update={"expires": time.time() + ttl_s}).to_json())
        except OSError as error:  # the work itself goes on, and fails by itself if it has to
            log.warning("the lease %s could not be renewed: %s", path, error)


def _read(store: Store, path: str) -> Lease | None:
    """What is there; None where nothing is, or nothing that can be read."""
    try:
        return Lease.from_json(store.read(path), where=f"{store.location}/{path}")
    except FileNotFoundError:
        return None
    except FormatError as error:
        log.warning("%s", error)
        return None


def _host() -> str:
    """Containers may share a name, and process ids mean nothing across their namespaces."""
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}/{inode}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
