"""A lease: overlapping runs of one job notice each other, so that only one of them does the work.

A lease only avoids wasted work; data is safe without it. Plans and commits are exclusive by
themselves, so two runs that both believe they hold the lease do no harm. Its holder renews it. A
lease that is not renewed until it expires is taken over by the next run that wants it, so a crash
delays other runs by no more than `TTL_S`.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from factory.store.base import Store
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.lease import Lease

log = logging.getLogger(__name__)

TTL_S = 60.0
"""time after which a lease that was not renewed is void"""
SILENT_S = 20 * TTL_S
"""after which a lease that was not renewed is nobody's; holders renew it often within `TTL_S`"""
RENEWALS = 4
"""how often a lease is renewed in that time"""
LOOK_EVERY_S = 1.0
"""pause between two looks at another run's lease, to see whether it is renewed"""


@contextmanager
def lease(store: Store, name: str, *, ttl_s: float = TTL_S) -> Iterator[bool]:
    """Hold `lease/<name>.json` in a store; a thread renews it until the block is left.

    Another run's lease is watched until it is renewed or expires. If it is renewed, that run is
    alive, and this one does not get the lease. If it expires, it is taken over; the lease of a dead
    process on this machine is taken over at once.

    Returns:
        Whether this run holds the lease; the log names the run that holds it instead.
    """
    path = f"lease/{name}.json"
    own = _take(store, path, ttl_s)
    if own is None:
        yield False
        return
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(store, path, own, ttl_s, done), daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        done.set()
        renewer.join()
        _give_back(store, path, own)


@contextmanager
def alone(what: str, output: str | Path, *, overlap: bool) -> Iterator[bool]:
    """Whether this run may go on: no other run of this kind is working on the output, or the user
    lets them overlap. Otherwise the log says that nothing was done.

    Args:
        what: the kind of run, which is the name of its lease.
        output: location of what is made.
        overlap: go on in any case.
    """
    if overlap:
        yield True
        return
    with lease(open_store(output), what) as is_ours:
        if not is_ours:
            log.warning("nothing was done; --overlap runs beside the other run, and data is safe")
        yield is_ours


def live_holder(stores: Iterable[Store], now_s: float) -> str | None:
    """Who holds a lease that has not expired; one that cannot be read counts as held.

    A lease that was not renewed for `SILENT_S` is nobody's, whatever its holder's clock said.

    Args:
        now_s: seconds since 1970 UTC.
    """
    for store in stores:
        for entry in store.entries("lease"):
            if now_s - entry.mtime_ns / 1e9 > SILENT_S:
                continue
            try:
                held = Lease.from_json(store.read(entry.name), where=entry.name)
            except FileNotFoundError:  # given back a moment ago
                continue
            except FormatError:
                return f"whoever holds {entry.name}"
            if held.expires > now_s:
                return str(held)
    return None


def _give_back(store: Store, path: str, own: Lease) -> None:
    try:
        current = _read(store, path)
        if current is not None and current.holder == own.holder:
            store.delete(path)
    except OSError as error:  # no harm: the lease expires by itself
        log.warning("the lease %s could not be given back: %s", path, error)


def _take(store: Store, path: str, ttl_s: float) -> Lease | None:
    """This run's new lease; None where another run holds the lease and renews it."""
    holder = token_hex(8)
    first_seen: Lease | None = None
    watched_since = time.monotonic()
    while True:
        now = time.time()
        own = Lease(holder=holder, host=_host(), pid=os.getpid(), since=now, expires=now + ttl_s)
        with suppress(FileExistsError):
            store.put_new(path, own.to_json())
            return own
        other = _read(store, path)
        if other is not None and not _is_void(other, time.monotonic() - watched_since, ttl_s):
            if first_seen is not None and other != first_seen:
                log.info("another run is at work: %s", other)
                return None
            if first_seen is None:
                log.info("another run holds %s: %s; waiting to see it renewed", path, other)
            first_seen = other
            time.sleep(LOOK_EVERY_S)
            continue
        if other is not None:
            log.info("taking over the lease of %s", other)
        store.delete(path)


def _is_void(other: Lease, watched_s: float, ttl_s: float) -> bool:
    """Whether a lease, unchanged for `watched_s` seconds, is that of a dead run."""
    if other.host == _host() and not _is_alive(other.pid):
        return True
    return watched_s > ttl_s or time.time() > other.expires


def _renew(store: Store, path: str, own: Lease, ttl_s: float, done: threading.Event) -> None:
    while not done.wait(ttl_s / RENEWALS):
        try:
            current = _read(store, path)
            if current is None or current.holder != own.holder:
                log.warning("the lease %s was taken over by %s", path, current or "nobody")
                return
            store.put(path, own.model_copy(update={"expires": time.time() + ttl_s}).to_json())
        except OSError as error:  # the work goes on without the lease; a broken store stops it
            log.warning("the lease %s could not be renewed: %s", path, error)


def _read(store: Store, path: str) -> Lease | None:
    """The lease in the store; None where there is none, or none that can be read."""
    try:
        return Lease.from_json(store.read(path), where=f"{store.location}/{path}")
    except FileNotFoundError:
        return None
    except FormatError as error:
        log.warning("%s; the file is taken for no lease and replaced", error)
        return None


def _host() -> str:
    """Host name and process namespace.

    Containers may share a host name, and process ids mean nothing across their namespaces.
    """
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}/{inode}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True
