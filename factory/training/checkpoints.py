"""Checkpoints of a training run, in a folder or an object store.

A checkpoint is `checkpoints/step-<clock>.json` and the files that it names with their sha256. That
file is written last, so a checkpoint that is listed is complete. Nothing is read with pickle. Files
are written while the training goes on.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.networks.weights import first_not_finite
from factory.store.open import open_store
from factory.training.history import History
from schemas.base import FormatError
from schemas.training import CheckpointState, Counters

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
_NAME = re.compile(rf"{FOLDER}/step-\d+\.(json|(networks|history[^/]*)\.safetensors)")


class Checkpoint(NamedTuple):
    """All that a training needs to resume as if it had never stopped."""

    clock: int
    """passes of the schedule that were done"""
    tensors: dict[str, Tensor]
    counters: Counters
    history: dict[str, str]
    """sha256 of the history's files by their names in the store"""


class Checkpoints:
    """The checkpoints of one run. A thread of this object writes them."""

    def __init__(self, location: str, keep: int = 2) -> None:
        """
        Args:
            location: of the run.
            keep: how many of the newest checkpoints are kept.
        """
        self.store = open_store(location)
        self.keep = keep
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(
        self,
        clock: int,
        tensors: Mapping[str, Tensor],
        counters: Counters,
        history: History | None,
    ) -> None:
        """Copy the state now, write the checkpoint in the background, then delete older ones.

        Args:
            history: None for a run without one. No exchange may be under way.

        Raises:
            OSError: the checkpoint before this one could not be written.
        """
        self.wait()
        stem = _stem(clock)
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        written = history and history.start_saving(self.store.location, f"{stem}.history")

        def write() -> None:
            networks = save({name: value.contiguous() for name, value in copies.items()})
            self.store.put(f"{stem}.networks.safetensors", networks)
            state = CheckpointState(
                counters=counters,
                networks=hashlib.sha256(networks).hexdigest(),
                history=written() if written else {},
            )
            self.store.put(f"{stem}.json", state.to_json())
            self._delete_before(self.clocks()[: self.keep][-1])

        self._pending = self._writer.submit(write)

    def wait(self) -> None:
        """Return once the last checkpoint is complete. Raises what kept it from being written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the thread, after the checkpoint that it is writing."""
        self._writer.shutdown()

    def clocks(self) -> list[int]:
        """The clocks of all complete checkpoints, newest first."""
        names = (name for name in self._clock_by_name() if name.endswith(".json"))
        return sorted(map(_clock_of, names), reverse=True)

    def read(self, clock: int) -> Checkpoint:
        """Read one checkpoint, and compare its networks with their digest.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            FormatError: it is damaged, or holds values that are not finite, from which a training
                cannot go on.
        """
        stem = _stem(clock)
        try:
            state = CheckpointState.from_json(self.store.read(f"{stem}.json"), where="its state")
            networks = self.store.read(f"{stem}.networks.safetensors")
            if hashlib.sha256(networks).hexdigest() != state.networks:
                raise FormatError("its networks have changed since they were written")
            if state.counters.clock != clock:
                raise FormatError(f"it is that of pass {state.counters.clock}")
            tensors = load(networks)
            wrong_name = first_not_finite(tensors)
            if wrong_name is not None:
                raise FormatError(f"{wrong_name} holds values that are not finite")
            return Checkpoint(clock, tensors, state.counters, state.history)
        except (FormatError, SafetensorError) as error:
            raise FormatError(f"{self.store.location}/{stem} is damaged: {error}") from error

    def _delete_before(self, clock: int) -> None:
        """Delete older checkpoints, and of each the file that names the others first."""
        old = [name for name, of in self._clock_by_name().items() if of < clock]
        for name in sorted(old, key=lambda name: not name.endswith(".json")):
            self.store.delete(name)

    def _clock_by_name(self) -> dict[str, int]:
        """The files of checkpoints, with their clocks; whatever else lies there is left alone."""
        names = (entry.name for entry in self.store.entries(FOLDER))
        return {name: _clock_of(name) for name in names if _NAME.fullmatch(name)}


def _stem(clock: int) -> str:
    return f"{FOLDER}/step-{clock:08d}"


def _clock_of(name: str) -> int:
    return int(name.removeprefix(f"{FOLDER}/step-").partition(".")[0])
