"""In which order the samples of an epoch come, and which of them each rank and worker reads.

An order is a sequence of positions that every process can compute for itself. Nothing here reads a
file, and nothing holds a value for each sample of a release: a window of shards alone is permuted
at a time.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Ends = Literal["pad", "drop", "uneven"]
"""what happens where the samples of an epoch cannot be divided evenly among ranks"""
WINDOWS_KEPT = 2
"""permutations of windows that are in memory at once"""


@dataclass(frozen=True)
class Mix:
    """How much of a release is shuffled together: shards are drawn at random into windows of about
    this size, and the samples of a window are permuted uniformly.

    A release that is no larger is permuted uniformly as a whole.
    """

    num_samples: int = 1 << 19
    num_bytes: int = 4 << 30
    """of tars, which a cache should hold twice"""

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.num_bytes < 1:
            raise ValueError(f"a window has at least one sample and one byte, found {self}")


DEFAULT_MIX = Mix()


class Places(NamedTuple):
    """Where the samples of some positions are."""

    source: Numbers
    """number of the release, 0 unless several are blended"""
    shard: Numbers
    """number of the shard among those that are read, from 0"""
    row: Numbers
    """number of the sample among those of its shard that are read, from 0"""


class ReleaseOrder:
    """The order of one epoch of one release.

    Shards are put in a random order and cut into windows of about the same size; a uniform
    permutation of its samples is drawn for each window. So a sample is equally likely at every
    position, and two neighbours come from one shard as often as their window has few shards.

    The random bits are those of PCG64, which numpy keeps the same over its versions.
    """

    def __init__(
        self,
        num_samples: Numbers,
        num_bytes: Numbers,
        *,
        seed: int,
        epoch: int,
        mix: Mix,
        shuffle: bool,
    ):
        """
        Args:
            num_samples: (S,) of each shard that are read.
            num_bytes: (S,) of each shard's tar.
            shuffle: False for the order of the release.
        """
        self._key = (seed, epoch)
        self._shuffled = shuffle
        self._shards = self._permutation(0, len(num_samples))
        counts = num_samples[self._shards]
        self._window = _windows(counts, num_bytes[self._shards], mix)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._bounds = np.searchsorted(self._window, np.arange(self.num_windows + 1))
        self._permutations: OrderedDict[int, Numbers] = OrderedDict()
        self.num_samples = int(counts.sum())

    @property
    def num_windows(self) -> int:
        """Windows of the release, each of at least one shard."""
        return int(self._window[-1]) + 1 if len(self._window) else 0

    def places(self, positions: Numbers) -> Places:
        """Where the samples of some positions are.

        Args:
            positions: (n,) in [0, num_samples).
        """
        at = np.searchsorted(self._ends, positions, "right")
        if self._shuffled:
            positions = self._permuted(positions, self._window[at])
            at = np.searchsorted(self._ends, positions, "right")
        shards = self._shards[at]
        return Places(np.zeros_like(shards), shards, positions - self._starts[at])

    def _permuted(self, positions: Numbers, windows: Numbers) -> Numbers:
        moved = np.empty_like(positions)
        for window in np.unique(windows).tolist():
            inside = windows == window
            start = self._starts[self._bounds[window]]
            moved[inside] = start + self._permutation_of(window)[positions[inside] - start]
        return moved

    def shards_after(self, position: int) -> list[Numbers]:
        """(n,) shards of the window that follows the one of a position, if any, in a list."""
        at = int(np.searchsorted(self._ends, position, "right"))
        following = int(self._window[at]) + 1 if at < len(self._window) else self.num_windows
        if following >= self.num_windows:
            return [self._shards[:0]]
        return [self._shards[self._bounds[following] : self._bounds[following + 1]]]

    def _permutation_of(self, window: int) -> Numbers:
        if window not in self._permutations:
            first, last = self._bounds[window], self._bounds[window + 1] - 1
            size = int(self._ends[last] - self._starts[first])
            self._permutations[window] = self._permutation(1 + window, size)
            if len(self._permutations) > WINDOWS_KEPT:
                self._permutations.popitem(last=False)
        self._permutations.move_to_end(window)
        return self._permutations[window]

    def _permutation(self, number: int, size: int) -> Numbers:
        if not self._shuffled:
            return np.arange(size)
        return permutation((*self._key, number), size)


def permutation(key: tuple[int, ...], size: int) -> Numbers:
    """(size,) a uniform permutation of 0..size-1 that follows from some numbers."""
    bits = np.random.PCG64(np.random.SeedSequence(key))
    return np.argsort(bits.random_raw(size), kind="stable")


def _windows(num_samples: Numbers, num_bytes: Numbers, mix: Mix) -> Numbers:
    """(S,) the window of each shard, from 0, so that all are of about the same size."""
    share = np.maximum(num_samples / mix.num_samples, num_bytes / mix.num_bytes)
    middle = np.cumsum(share) - share / 2
    total = float(share.sum())
    if not total:
        return np.zeros(len(share), np.int64)
    windows = np.floor(middle / total * np.ceil(total)).astype(np.int64)
    return np.unique(windows, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Turn:
    """Which samples of an epoch one process reads.

    Of the positions from `start` on, rank r of R takes r, r + R, r + 2R and so on. Its worker w of
    W takes every W-th block of `batch_size` of these, from the w-th on, as a DataLoader asks its
    workers in turn for a batch; so the order of a rank is the same with any number of workers.
    """

    rank: int = 0
    num_ranks: int = 1
    worker: int = 0
    num_workers: int = 1
    batch_size: int = 1
    ends: Ends = "pad"
    start: int = 0
    """samples of the epoch that all ranks together have read before"""
    done: int = 0
    """samples that this worker has had of its turn since then"""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.num_ranks:
            raise ValueError(f"rank {self.rank} of {self.num_ranks} ranks does not exist")
        if not 0 <= self.worker < self.num_workers:
            raise ValueError(f"worker {self.worker} of {self.num_workers} workers does not exist")
        if min(self.batch_size - 1, self.start, self.done) < 0:
            raise ValueError(f"batch_size is at least 1, start and done at least 0; found {self}")
        if self.ends not in get_args(Ends):
            raise ValueError(f"ends is one of {', '.join(get_args(Ends))}; found {self.ends!r}")

    def num_samples(self, total: int) -> int:
        """How many samples the rank reads of an epoch of `total` samples, with all its workers."""
        left = max(0, total - self.start)
        if self.ends == "uneven":
            return max(0, -(-(left - self.rank) // self.num_ranks))
        return left // self.num_ranks if self.ends == "drop" else -(-left // self.num_ranks)

    def batches(self, total: int) -> Iterator[tuple[int, Numbers]]:
        """(samples of the rank up to this batch's end, its positions) of every batch of the worker.

        With `pad`, the last batch of some ranks ends with the first positions of the epoch.

        Args:
            total: samples of the epoch.
        """
        length = self.num_samples(total)
        step = self.batch_size * self.num_workers
        num_done, within = divmod(self.done, self.batch_size)
        for begin in range(self.batch_size * self.worker + num_done * step, length, step):
            end = min(begin + self.batch_size, length)
            numbers = np.arange(begin + within, end)
            within = 0
            if len(numbers):
                yield end, (self.start + numbers * self.num_ranks + self.rank) % total

    def of_worker(self, worker: int, num_workers: int) -> "Turn":
        """The turn of one of the rank's workers."""
        return replace(self, worker=worker, num_workers=num_workers)
