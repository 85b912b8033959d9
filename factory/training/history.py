"""A pool of refined images of the past, so that D does not forget what R once did."""

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from safetensors.numpy import load, save

from factory.store.open import open_store
from schemas.base import FormatError

Written = Callable[[], dict[str, str]]
"""writes the files of a saved state; gives their sha256 by name"""


class History(Protocol):
    """What the workers of a training share: a `HistoryBuffer`, or a proxy of buffers in other
    processes."""

    def exchange(self, fresh: np.ndarray, worker: int = 0) -> np.ndarray:
        """Swap fresh refined images for past ones, as `HistoryBuffer.exchange`."""

    def last(self, worker: int) -> np.ndarray | None:
        """What the last exchange of a worker gave it; None before its first."""

    def statistics(self) -> "HistoryStatistics":
        """How full and how old it is."""

    def start_saving(self, location: str, stem: str) -> Written:
        """Copy its state now. What is returned writes the copy to files `<stem>….safetensors` of a
        store, while exchanges go on."""

    def restore(self, location: str, digests: Mapping[str, str]) -> None:
        """Load the state that those files hold; without files, become empty.

        Raises:
            FormatError: a file has changed since it was written.
            ValueError: it holds a pool of another capacity or image shape.
        """


_LAST = "last."


class HistoryStatistics(NamedTuple):
    """How full and how old a pool is."""

    size: int
    """images in the pool"""
    capacity: int
    num_exchanges: int
    num_stored: int
    """images ever put in"""
    mean_age: float
    """exchanges since the images in the pool were put in; NaN while it is empty"""
    age_given: tuple[float, float, float] = (float("nan"),) * 3
    """exchanges since the images that were last handed out were put in: 10th, 50th and 90th
    percentile; NaN before the first"""


class HistoryBuffer:
    """At most `capacity` float16 images of one shape.

    What it draws depends on the seed, the number of exchanges so far and nothing else.
    """

    def __init__(self, capacity: int, shape: tuple[int, int, int], seed: int) -> None:
        """
        Args:
            capacity: B of the paper, in images.
            shape: (C, H, W) of one image.
            seed: of what is drawn and replaced.
        """
        if capacity < 1:
            raise ValueError(f"a history of {capacity} images")
        self._images = np.zeros((capacity, *shape), np.float16)
        self._born = np.zeros(capacity, np.int64)
        self._size = 0
        self._seed = seed
        self._num_exchanges = 0
        self._num_stored = 0
        self._last: dict[int, np.ndarray] = {}
        self._ages_given = np.zeros(0, np.int64)

    def exchange(self, fresh: np.ndarray, worker: int = 0) -> np.ndarray:
        """Swap fresh refined images for as many past ones.

        Shrivastava et al. 2017 (arXiv:1612.07828), section 2.3. Unlike the paper,
        nothing is overwritten until the pool is full.

        Args:
            fresh: (n, C, H, W) float16 in [-1, 1], where n is a worker's share of half a batch.
            worker: who asks; the answer is kept for it until its next, as part of the state.

        Returns:
            (n, C, H, W) float16 in [-1, 1], drawn without replacement before
            `fresh` is stored; `fresh` itself while the pool holds fewer than n.

        Raises:
            ValueError: the image shape is not the pool's, the images are not float16,
                or n exceeds its capacity.
        """
        capacity, *shape = self._images.shape
        if fresh.ndim != 4 or fresh.shape[1:] != tuple(shape) or fresh.dtype != np.float16:
            raise ValueError(
                f"expected (n, {', '.join(map(str, shape))}) float16, "
                f"got {fresh.shape} {fresh.dtype}"
            )
        n = len(fresh)
        if n > capacity:
            raise ValueError(f"{n} images do not fit a history of {capacity}")
        rng = np.random.default_rng([self._seed, self._num_exchanges])
        past = fresh
        if self._size >= n:
            drawn = rng.choice(self._size, n, replace=False)
            past = self._images[drawn]
            self._ages_given = self._num_exchanges - self._born[drawn]
        num_appended = min(n, capacity - self._size)
        slots = np.concatenate(
            [
                np.arange(self._size, self._size + num_appended),
                rng.choice(self._size, n - num_appended, replace=False),
            ]
        )
        self._images[slots] = fresh
        self._born[slots] = self._num_exchanges
        self._size += num_appended
        self._num_exchanges += 1
        self._num_stored += n
        self._last[worker] = past
        return past

    def last(self, worker: int) -> np.ndarray | None:
        """(n, C, H, W) float16 that the last exchange of a worker gave it."""
        return self._last.get(worker)

    def statistics(self) -> HistoryStatistics:
        """How full and how old the pool is."""
        ages = self._num_exchanges - self._born[: self._size]
        return HistoryStatistics(
            self._size,
            len(self._images),
            self._num_exchanges,
            self._num_stored,
            float(ages.mean()) if self._size else float("nan"),
            _percentiles(self._ages_given),
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """All of it, as copies: images (size, C, H, W) float16, born and counters int64, and
        `last.<worker>` (n, C, H, W) float16 for each worker."""
        counters = [self._seed, self._num_exchanges, self._num_stored, len(self._images)]
        return {
            "images": self._images[: self._size].copy(),
            "born": self._born[: self._size].copy(),
            "counters": np.array(counters, np.int64),
            **{f"{_LAST}{worker}": past.copy() for worker, past in self._last.items()},
        }

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Load a state of `state_dict`.

        Raises:
            ValueError: it describes a pool of another capacity or image shape.
        """
        images, counters = state["images"], state["counters"]
        seed, num_exchanges, num_stored, capacity = (int(value) for value in counters)
        if capacity != len(self._images) or images.shape[1:] != self._images.shape[1:]:
            raise ValueError(
                f"a snapshot of {capacity} images of {images.shape[1:]} does not fit "
                f"a history of {len(self._images)} of {self._images.shape[1:]}"
            )
        self._size = len(images)
        self._images[: self._size] = images
        self._born[: self._size] = state["born"]
        self._seed, self._num_exchanges, self._num_stored = seed, num_exchanges, num_stored
        self._last = {
            int(name.removeprefix(_LAST)): past.copy()
            for name, past in state.items()
            if name.startswith(_LAST)
        }

    def start_saving(self, location: str, stem: str) -> Written:
        """See `History`: one file, `<stem>.safetensors`."""
        state, name = self.state_dict(), f"{stem}.safetensors"

        def write() -> dict[str, str]:
            content = save(state)
            open_store(location).put(name, content)
            return {name: hashlib.sha256(content).hexdigest()}

        return write

    def restore(self, location: str, digests: Mapping[str, str]) -> None:
        """See `History`."""
        if len(digests) > 1:
            raise ValueError(
                f"the checkpoint's history lies in the {len(digests)} parts of as many history "
                "actors; resume with --workers and --history-actors as when it was saved"
            )
        for name, digest in digests.items():
            content = open_store(location).read(name)
            if hashlib.sha256(content).hexdigest() != digest:
                raise FormatError(f"{location}/{name} has changed since it was written")
            self.load_state_dict(load(content))
        if not digests:
            self._size = self._num_exchanges = self._num_stored = 0
            self._last.clear()
            self._ages_given = np.zeros(0, np.int64)


def _percentiles(ages: np.ndarray) -> tuple[float, float, float]:
    if not len(ages):
        return (float("nan"),) * 3
    low, middle, high = np.percentile(ages, (10, 50, 90)).tolist()
    return low, middle, high
