"""The tars of a release: opened once, checked once, read by ranges."""

import hashlib
import logging
import mmap
import os
import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from factory.dataset.tar import DamagedShardError
from factory.reading.cache import TarCache, WrongContentError
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.stored_file import READ_AT_ONCE
from schemas.base import FormatError
from schemas.release import ReleasedShard

OPEN_TARS = 256
"""that a process keeps open"""
FETCHED_AT_ONCE = 4
"""tars that a process fetches from an object store at once"""
_UNKNOWN, _SOUND, _DAMAGED = range(3)
log = logging.getLogger(__name__)


class ReleaseTars:
    """The tars of the shards of a release that are read, by number from 0."""

    def __init__(
        self,
        store: Store,
        release: str,
        shards: Sequence[ReleasedShard],
        cache: TarCache | None,
        *,
        check_sha256: bool,
    ):
        """
        Args:
            store: of the dataset.
            release: name of the release.
            cache: of tars that are not in a local folder.
        """
        self.shards = shards
        self._store, self._cache, self._check = store, cache, check_sha256
        self._folder = f"releases/{release}"
        self._names = [_name_in_dataset(self._folder, shard) for shard in shards]
        self._open: OrderedDict[int, _Tar] = OrderedDict()
        self._known = _shared_bytes(bytes(len(shards)))
        self._what: dict[int, str] = {}
        self._left_remote: set[int] = set()
        self._ahead: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self) | {"_open": OrderedDict(), "_ahead": None}
        return state | {"_known": self._known[: len(self.shards)]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._known = _shared_bytes(state["_known"])

    def where(self, shard: int) -> str:
        """What messages call a shard."""
        released = self.shards[shard]
        return (
            f"shard {released.shard} of the release {self._store.location}/{self._folder} "
            f"({released.url})"
        )

    def is_checked(self, shard: int) -> bool:
        """Whether the digest of the whole tar was compared, by this process or one it forked."""
        return self._known[shard] == _SOUND

    def require(self, shard: int) -> None:
        """See that a whole tar is there and is the one that was released, once for each opening of
        the release; processes that are forked later know it too.

        A tar in an object store is fetched, or, where the cache has no room, left where it is.

        Raises:
            DamagedShardError: it is not.
        """
        if self._known[shard] == _SOUND or shard in self._left_remote:
            return
        if self._known[shard] == _DAMAGED:
            what = self._what.get(shard, "was found to be damaged by another process")
            raise DamagedShardError(f"{self.where(shard)} {what}")
        try:
            self._require(shard)
        except (FileNotFoundError, WrongContentError) as error:
            self._known[shard] = _DAMAGED
            self._what[shard] = "is missing" if isinstance(error, FileNotFoundError) else str(error)
            raise DamagedShardError(f"{self.where(shard)} {self._what[shard]}") from error

    def _require(self, shard: int) -> None:
        released = self.shards[shard]
        if isinstance(self._store, LocalStore):
            tar = self._tar(shard)
            assert tar is not None
            tar.check(released, read_all=self._check)
        else:
            fetched = self._fetched(shard)
            if fetched is None:
                self._left_remote.add(shard)
                return
            self._keep(shard, _Tar(fetched))
        self._known[shard] = _SOUND

    def _fetched(self, shard: int) -> int | None:
        if self._cache is None:
            return None
        released = self.shards[shard]
        return self._cache.fetched(
            self._store, self._names[shard], released.sha256, released.size, check=self._check
        )

    def prepare(
        self, shards: Iterable[int], following: Iterable[int] = (), *, num_sharing: int = 1
    ) -> None:
        """Fetch tars from an object store, several at once, so that `require` finds them.

        Those for which the cache is too small stay where they are, and are read by ranges.

        Args:
            following: shards that are going to be read soon. They are fetched meanwhile, if the
                cache has room for all of them.
            num_sharing: releases that are read side by side. None takes more than its part of the
                cache for shards that are not read yet.
        """
        if isinstance(self._store, LocalStore) or self._cache is None:
            return
        room = self._cache.max_bytes
        self._left_remote.clear()
        now = []
        for shard in shards:
            room -= self.shards[shard].size
            if room < 0:
                self._left_remote.add(shard)
            elif shard not in self._open:
                now.append(shard)
        if now:
            self._fetch_all(now)
        later = list(following)
        room -= self._cache.max_bytes - self._cache.max_bytes // num_sharing
        fits = sum(self.shards[shard].size for shard in later) <= room
        if later and fits and (self._ahead is None or not self._ahead.is_alive()):
            self._ahead = threading.Thread(target=self._fetch_all, args=(later,), daemon=True)
            self._ahead.start()

    def _fetch_all(self, shards: list[int]) -> None:
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            list(pool.map(self._fetch, shards))

    def _fetch(self, shard: int) -> None:
        """Fetch a tar; what is wrong with it is left to whoever reads from it."""
        try:
            fetched = self._fetched(shard)
        except (WrongContentError, OSError) as error:
            log.info("%s was not fetched ahead: %s", self.where(shard), error)
            return
        if fetched is not None:
            os.close(fetched)

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Some bytes of a tar, by one read.

        Raises:
            DamagedShardError: the tar is missing or ends before.
        """
        tar = self._tar(shard)
        try:
            if tar is not None:
                return tar.read(offset, length)
            return self._store.read_range(self._names[shard], offset, length)
        except FileNotFoundError as error:
            raise DamagedShardError(f"{self.where(shard)} is missing") from error
        except WrongContentError as error:
            raise DamagedShardError(f"{self.where(shard)} {error}") from error

    def _tar(self, shard: int) -> "_Tar | None":
        """A tar as a local file; None where it is in an object store alone."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        if isinstance(self._store, LocalStore):
            path = self._store.root / self._names[shard]
            return self._keep(shard, _Tar(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        if self._cache is None:
            return None
        cached = self._cache.opened(self.shards[shard].sha256, checked=self._check)
        return None if cached is None else self._keep(shard, _Tar(cached))

    def _keep(self, shard: int, tar: "_Tar") -> "_Tar":
        """Keep a tar open. A file that left the cache keeps its blocks until it is closed, so what
        is open of an object store is no more than the cache may hold."""
        self._open[shard] = tar
        most = None if self._cache is None else self._cache.max_bytes
        while len(self._open) > 1 and (
            len(self._open) > OPEN_TARS
            or (most is not None and sum(self.shards[s].size for s in self._open) > most)
        ):
            self._open.popitem(last=False)
        return tar


class _Tar:
    """An open file, which is closed when nobody uses it any more."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        content = os.pread(self._descriptor, length, offset)
        if len(content) != length:
            raise WrongContentError(f"ends at byte {offset + len(content)}")
        return content

    def check(self, released: ReleasedShard, *, read_all: bool) -> None:
        """Raise `WrongContentError` unless it is the tar that was released."""
        size = os.fstat(self._descriptor).st_size
        if size != released.size:
            raise WrongContentError(f"has {size} bytes, released {released.size}")
        if not read_all:
            return
        # Read by position: processes that were forked share the file's own position.
        digest = hashlib.sha256()
        for start in range(0, size, READ_AT_ONCE):
            digest.update(self.read(start, min(READ_AT_ONCE, size - start)))
        sha256 = digest.hexdigest()
        if sha256 != released.sha256:
            raise WrongContentError(f"has sha256 {sha256[:12]}…, released {released.sha256[:12]}…")


def _shared_bytes(content: bytes) -> mmap.mmap:
    """Memory that processes share which are forked from this one."""
    shared = mmap.mmap(-1, max(1, len(content)))
    shared[: len(content)] = content
    return shared


def _name_in_dataset(folder: str, shard: ReleasedShard) -> str:
    """Name of a tar in the store of the dataset.

    Raises:
        FormatError: it is not one of the places where a release may have a tar.
    """
    name = posixpath.normpath(f"{folder}/{shard.url}")
    if posixpath.dirname(name) not in ("shards", f"{folder}/shards"):
        raise FormatError(f"{folder}/manifest.json: {shard.url} is no place of a released shard")
    return name
