"""The history of refined images that all workers share: buffers in one or more actors.

An actor that was restarted is empty and raises an error at the next exchange. Then the workers
stop, Ray Train starts them again, and worker 0 restores the history with the checkpoint that all
resume from: weights and history are always of one moment.
"""

import re
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
"""times that a call which may be repeated is tried while an actor is restarted"""
Shape = tuple[int, int, int]


class HistoryLostError(RuntimeError):
    """The history is empty because its actor was restarted."""


class HistoryKeeper:
    """A buffer in an actor. It takes two calls at once, of which one may be writing a file."""

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
        """Copy the state that `finish_saving` will write."""
        with self._lock:
            self._written = self._restored.start_saving(location, stem)

    def finish_saving(self) -> dict[str, str]:
        """Write the copy while exchanges go on. Raises `HistoryLostError` after a restart."""
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
    """The history as workers use it; it can be sent to any process of the cluster.

    Worker k always asks actor k modulo the number of actors, so each actor holds the images of some
    workers. One actor answers in 8 ms for half a batch of 512 eyes (benchmarks/results.md): more
    are needed only where a step is shorter.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = tuple(actors)

    @classmethod
    def start(cls, capacity: int, shape: Shape, seed: int, *, actors: int = 1) -> "SharedHistory":
        """New actors, which live as long as the job.

        Args:
            capacity: images in all actors together; each holds an equal part.
            shape: (C, H, W) of one image.
            actors: at most as many as there are workers, for a worker asks one actor alone.
        """
        keeper = ray.remote(HistoryKeeper).options(
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=2,
            scheduling_strategy="SPREAD" if actors > 1 else "DEFAULT",
        )
        return cls(
            [
                keeper.remote(capacity // actors, shape, seed + 1_000_003 * number)
                for number in range(actors)
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
        ages = np.mean([[one.mean_age, *one.age_given] for one in every], axis=0).tolist()
        return HistoryStatistics(*sums, ages[0], (ages[1], ages[2], ages[3]))

    def start_saving(self, location: str, stem: str) -> Written:
        many = len(self._actors) > 1
        stems = [f"{stem}-{i}" if many else stem for i in range(len(self._actors))]
        pairs = list(zip(self._actors, stems, strict=True))
        ray.get([actor.start_saving.remote(location, name) for actor, name in pairs])

        def write() -> dict[str, str]:
            parts = ray.get([actor.finish_saving.remote() for actor in self._actors])
            return {name: digest for part in parts for name, digest in part.items()}

        return write

    def restore(self, location: str, digests: Mapping[str, str]) -> None:
        names = sorted(digests, key=_part_number)
        if names and len(names) != len(self._actors):
            raise ValueError(
                f"the checkpoint's history lies in {len(names)} parts, and this run has "
                f"{len(self._actors)} history actors; give --history-actors {len(names)}, and at "
                "least as many --workers"
            )
        parts = [{name: digests[name]} for name in names] or [{} for _ in self._actors]
        pairs = zip(self._actors, parts, strict=True)
        ray.get([actor.restore.remote(location, part) for actor, part in pairs])

    def _of(self, worker: int) -> Any:
        return self._actors[worker % len(self._actors)]


def _part_number(name: str) -> int:
    """Of an actor's file: `…-10.safetensors` is part 10; that of a single actor has no number."""
    number = re.search(r"-(\d+)\.safetensors$", name)
    return int(number[1]) if number is not None else 0
