"""The history of refined images that all workers share: a buffer in an actor, or several.

An actor that was restarted is empty and says so at the next exchange. Then the workers stop, Ray
Train starts them again, and the first one restores the history with the checkpoint that all go on
from: weights and history are always of one moment.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from factory.training.history import (
    History,
    HistoryBuffer,
    HistoryStatistics,
    Written,
)

RETRIES = 20
"""of a call that may be repeated, while an actor is restarted"""
Shape = tuple[int, int, int]


class HistoryLostError(RuntimeError):
    """The history is empty because its actor was restarted."""


class HistoryKeeper:
    """A buffer that other processes ask; two calls at once, of which one may be writing a file."""

    def __init__(self, capacity: int, shape: Shape, seed: int) -> None:
        self._buffer = HistoryBuffer(capacity, shape, seed)
        self._lock = threading.Lock()
        self._is_restored = False
        self._written: Written | None = None

    def exchange(self, fresh: np.ndarray, worker: int) -> np.ndarray:
        """Raises `HistoryLostError` before the first `restore`."""
        with self._lock:
            return self._restored.exchange(fresh, worker)

    @ray.method(max_task_retries=RETRIES)
    def last(self, worker: int) -> np.ndarray | None:
        with self._lock:
            return self._buffer.last(worker)

    @ray.method(max_task_retries=RETRIES)
    def statistics(self) -> HistoryStatistics:
        with self._lock:
            return self._buffer.statistics()

    def start_saving(self, location: str, stem: str) -> None:
        """What `finish_saving` will write."""
        with self._lock:
            self._written = self._restored.start_saving(location, stem)

    def finish_saving(self) -> dict[str, str]:
        """Write it, without holding up exchanges. Raises `HistoryLostError` after a restart."""
        written, self._written = self._written, None
        if written is None:
            raise HistoryLostError("the history's actor was restarted before it was saved")
        return written()

    @ray.method(max_task_retries=RETRIES)
    def restore(self, location: str, digests: Mapping[str, str]) -> None:
        with self._lock:
            self._buffer.restore(location, digests)
            self._is_restored = True

    @property
    def _restored(self) -> HistoryBuffer:
        if not self._is_restored:
            raise HistoryLostError("the history's actor was restarted and holds nothing")
        return self._buffer


class SharedHistory(History):
    """The history as its users see it; travels to any process of the cluster.

    Worker k always asks actor k modulo their number, so with several actors each holds the images
    of some workers. One answers in 8 ms for half a batch of 512 eyes (benchmarks/results.md): more
    are needed only where a step is shorter.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = tuple(actors)

    @classmethod
    def start(cls, capacity: int, shape: Shape, seed: int, *, actors: int = 1) -> "SharedHistory":
        """New actors, which live as long as the job.

        Args:
            capacity: images in all of them together.
            shape: (C, H, W).
        """
        keeper = ray.remote(HistoryKeeper).options(
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=2,
            scheduling_strategy="SPREAD" if actors > 1 else "DEFAULT",
        )
        return cls(
            [
                keeper.remote(capacity // actors, shape, seed + 1_000_003 * place)
                for place in range(actors)
            ]
        )

    def exchange(self, fresh: np.ndarray, worker: int = 0) -> np.ndarray:
        return np.asarray(ray.get(self._of(worker).exchange.remote(fresh, worker)))

    def last(self, worker: int) -> np.ndarray | None:
        past: np.ndarray | None = ray.get(self._of(worker).last.remote(worker))
        return past

    def statistics(self) -> HistoryStatistics:
        """Sums of counts, means of ages."""
        every = ray.get([actor.statistics.remote() for actor in self._actors])
        sums = (sum(column) for column in list(zip(*every, strict=True))[:4])
        ages = np.mean([[found.mean_age, *found.age_given] for found in every], axis=0).tolist()
        return HistoryStatistics(*sums, ages[0], (ages[1], ages[2], ages[3]))

    def start_saving(self, location: str, stem: str) -> Written:
        stems = [stem] if len(self._actors) == 1 else [f"{stem}-{i}" for i in self._places]
        pairs = list(zip(self._actors, stems, strict=True))
        ray.get([actor.start_saving.remote(location, name) for actor, name in pairs])

        def write() -> dict[str, str]:
            parts = ray.get([actor.finish_saving.remote() for actor in self._actors])
            return {name: digest for part in parts for name, digest in part.items()}

        return write

    def restore(self, location: str, digests: Mapping[str, str]) -> None:
        names = sorted(digests)
        if names and len(names) != len(self._actors):
            raise ValueError(
                f"the checkpoint's history lies in {len(names)} parts, this run has "
                f"{len(self._actors)} actors for it; give --history-actors {len(names)}"
            )
        parts = [{name: digests[name]} for name in names] or [{} for _ in self._actors]
        pairs = zip(self._actors, parts, strict=True)
        ray.get([actor.restore.remote(location, part) for actor, part in pairs])

    @property
    def _places(self) -> range:
        return range(len(self._actors))

    def _of(self, worker: int) -> Any:
        return self._actors[worker % len(self._actors)]
