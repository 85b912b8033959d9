"""A release as a sequence of samples, and as epochs of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from factory.dataset.tar import BLOCK_BYTES, DamagedShardError
from factory.reading.cache import TarCache
from factory.reading.index import ReleaseIndex
from factory.reading.order import DEFAULT_MIX, Mix, Numbers, ReleaseOrder
from factory.reading.sample import Sample, decoded
from factory.reading.source import Damaged, Source
from factory.reading.tars import ReleaseTars
from factory.release.latest import followed
from factory.release.state import MANIFEST, dropped_in, release_at
from factory.store.base import Store
from factory.store.open import is_remote, open_store
from schemas.base import digest_of
from schemas.release import ReleaseManifest

DEFAULT_CACHE = Path.home() / ".cache" / "simgan-factory" / "tars"
"""where tars from object stores are kept, unless another folder is given"""
DEFAULT_CACHE_BYTES = 16 << 30


class Skipped(NamedTuple):
    """What was left out of what was read."""

    shard: int
    """number of the shard in its dataset"""
    num_samples: int
    why: str


class Release(Source):
    """A release at `DATASET/releases/NAME`, in a folder or at `s3://`. The name `latest` is that of
    the release which was published last; `name` and `location` say which one that was.

    It is a sequence: `release[i]` reads one sample, by one read of its bytes. `epoch` reads all of
    them in a seeded order that ranks and workers share. It can be sent to other processes.

    Memory does not grow with the number of samples: rows of the index are read for the shards that
    are in use; a bit is kept for each sample where an expression selects.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        split: str | None = None,
        where: str | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        check_sha256: bool = True,
        damaged: Damaged = "raise",
        mix: Mix = DEFAULT_MIX,
    ):
        """
        Args:
            place: `DATASET/releases/NAME`, a folder or `s3://bucket/…/releases/NAME`. The reader
                stays with the release that `latest` was when it began.
            split: None for all splits.
            where: an SQL expression on the columns of the index, as `gaze[1] > 0.2 AND identity IS
                NOT NULL` (lists begin at 1); None for all samples.
            cache: a folder for tars from an object store, None for `DEFAULT_CACHE`. Processes and
                releases may share it.
            cache_bytes: the most that it may hold.
            check_sha256: compare the digest of each tar once, before its first sample is read in
                an epoch; and of a single sample that is read before, that of its png.
            damaged: `raise` an error where a shard is missing or is not the one that was released,
                or `skip` it and count its samples in `skipped`.
            mix: how much is shuffled together.

        Raises:
            FileNotFoundError: there is no such release, or it was dropped; or none is the latest.
            ValueError: the place is not one of a release, or there is no such split.
            SelectionError: the expression is wrong.
            FormatError: the manifest or the index cannot be read.
        """
        store, self.name = _placed(place)
        self.location = f"{store.location}/releases/{self.name}"
        self.manifest = _manifest_at(store, self.name)
        self.split, self.where, self.damaged, self.mix = split, where, damaged, mix
        if damaged not in ("raise", "skip"):
            raise ValueError(f"damaged is raise or skip, found {damaged!r}")
        if split is not None and split not in self.manifest.splits:
            raise ValueError(
                f"{self.location} has no split {split}, only {', '.join(self.manifest.splits)}"
            )
        shards = self.manifest.shards
        read = [n for n, shard in enumerate(shards) if split in (None, shard.split)]
        remote = is_remote(store.location)
        folder = DEFAULT_CACHE if cache is None else Path(cache)
        self.tars = ReleaseTars(
            store,
            self.name,
            [shards[number] for number in read],
            TarCache(folder, cache_bytes) if remote else None,
            check_sha256=check_sha256,
        )
        self._check = check_sha256
        self._index = ReleaseIndex(store, self.manifest, read, num_kept=mix.num_samples)
        if where is not None:
            self._index.select(where)
        self._num_samples = self._index.num_samples
        self._ends = np.cumsum(self._num_samples)
        self.num_skipped: Counter[tuple[int, str]] = Counter()
        """samples that this process left out so far, by number of the shard and why"""

    def __repr__(self) -> str:
        chosen = {"split": self.split, "where": self.where}
        given = [f"{name}={value!r}" for name, value in chosen.items() if value is not None]
        return f"<Release {', '.join([self.location, *given])}: {len(self)} samples>"

    def __len__(self) -> int:
        """The number of samples that are read, after `split` and `where`."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """A sample by its number, in the order of the release: one read of its bytes.

        Raises:
            IndexError: there is no such sample.
            DamagedShardError: it cannot be read, whatever `damaged` says.
        """
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.take([index])[0]

    def __iter__(self) -> Iterator[Sample]:
        """All samples in the order of the release."""
        return self.epoch(shuffle=False)

    def take(self, indices: Iterable[int]) -> list[Sample]:
        """Some samples by their numbers, in the given order. Raises as `release[i]`."""
        numbers = np.fromiter(indices, np.int64)
        total = len(self)
        wrong = numbers[(numbers < -total) | (numbers >= total)]
        if len(wrong):
            raise IndexError(f"{self.location} has no sample {wrong[0]}: {total} are read")
        numbers = np.where(numbers < 0, numbers + total, numbers)
        shards = np.searchsorted(self._ends, numbers, "right")
        rows = numbers - (self._ends - self._num_samples)[shards]
        members = self.offsets_at(shards, rows).tolist()
        wanted = zip(shards.tolist(), rows.tolist(), members, strict=True)
        return [self._read(shard, row, of_row) for shard, row, of_row in wanted]

    @property
    def releases(self) -> "tuple[Release, ...]":
        return (self,)

    @property
    def skipped(self) -> list[Skipped]:
        """What this process left out so far, because it was damaged, by shard."""
        return [
            Skipped(shard, count, why) for (shard, why), count in sorted(self.num_skipped.items())
        ]

    def plan(self, epoch: int, *, seed: int, shuffle: bool) -> ReleaseOrder:
        num_bytes = np.array([shard.size for shard in self.tars.shards], np.int64)
        return ReleaseOrder(
            self._num_samples, num_bytes, seed=seed, epoch=epoch, mix=self.mix, shuffle=shuffle
        )

    def digest(self) -> str:
        read = [shard.sha256 for shard in self.tars.shards]
        return digest_of([read, self.where, self.mix.num_samples, self.mix.num_bytes])

    def offsets_at(self, shards: Numbers, rows: Numbers) -> NDArray[np.uint32]:
        """(n, 4) as `ReleaseIndex.offsets`, for some samples by shard and row."""
        offsets = np.empty((len(rows), 4), np.uint32)
        for shard in np.unique(shards).tolist():
            inside = shards == shard
            offsets[inside] = self._index.offsets(shard)[rows[inside]]
        return offsets

    def read_or_skip(self, shard: int, row: int, members: Sequence[int]) -> Sample | None:
        """The sample at a place in an epoch; None where it is damaged and left out.

        Args:
            members: a row of `offsets_at`.
        """
        try:
            self.tars.require(shard)
            return self._read(shard, row, members)
        except DamagedShardError as error:
            self.skip_or_raise(shard, error, 1)
            return None

    def skip_or_raise(self, shard: int, error: DamagedShardError, num_samples: int) -> None:
        """Count samples that are left out because of an error, or raise it: what `damaged` says."""
        if self.damaged == "raise":
            raise error
        self.num_skipped[self.tars.shards[shard].shard, str(error)] += num_samples

    def _read(self, shard: int, row: int, members: Sequence[int]) -> Sample:
        png_block, png_length, json_block, json_length = members
        json_at = (json_block - png_block) * BLOCK_BYTES
        raw = self.tars.read(shard, png_block * BLOCK_BYTES, json_at + json_length)
        png = raw[:png_length]
        if self._check and not self.tars.is_checked(shard):
            digest = hashlib.sha256(png).digest()[:8]
            if int.from_bytes(digest) != self._index.digests(shard)[row]:
                raise DamagedShardError(
                    f"{self.tars.where(shard)} is damaged: the png at byte "
                    f"{png_block * BLOCK_BYTES} has another sha256 than its index says"
                )
        sample = decoded(png, raw[json_at:], where=self.tars.where(shard))
        of_shard = self.tars.shards[shard].shard
        if not sample.key.startswith(f"{of_shard:06d}-"):
            raise DamagedShardError(
                f"{self.tars.where(shard)} holds {sample.key}, a sample of another shard"
            )
        return sample


def _placed(place: str | Path) -> tuple[Store, str]:
    """(store of the dataset, name of the release) of a place.

    Raises:
        ValueError: it is not the place of a release.
        FileNotFoundError: it is that of the latest release, and the dataset names none.
    """
    location = open_store(place).location
    release = release_at(location)
    if release is None:
        names = open_store(place).folders("releases")
        choice = f"; there are {', '.join(names)}" if names else ""
        raise ValueError(f"{place} is not the place of a release, DATASET/releases/NAME{choice}")
    return followed(open_store(release[0]), release[1])


def _manifest_at(store: Store, name: str) -> ReleaseManifest:
    """The manifest of a release.

    Raises:
        FileNotFoundError: there is no such release, or it was dropped.
        FormatError: the manifest cannot be read, or names no shard.
    """
    path = f"releases/{name}/{MANIFEST}"
    try:
        raw = store.read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{store.location}/releases/{name} is not a release: it has no {MANIFEST}"
        ) from error
    if (dropped := dropped_in(raw)) is not None:
        raise FileNotFoundError(f"the release {store.location}/{path} was dropped: {dropped.why}")
    return ReleaseManifest.from_json(raw, where=f"{store.location}/{path}")
