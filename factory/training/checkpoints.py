"""Checkpoints of a training run, in a folder or an object store.

A checkpoint is `checkpoints/step-<clock>.json` and the files that it names with their sha256. That
file is written last, so a checkpoint that is listed is complete. Nothing is read with pickle. Files
are written while the training goes on.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.store.open import open_store
from factory.training.history import History
from schemas.base import FormatError

log = logging.getLogger(__name__)

FOLDER = "checkpoints"


class Checkpoint(NamedTuple):
    """All that a training needs to resume as if it had never stopped."""

    clock: int
    """passes of the schedule that were done"""
    tensors: dict[str, Tensor]
    counters: dict[str, JsonValue]
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
        counters: Mapping[str, JsonValue],
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
            state = {
                "counters": dict(counters),
                "networks": hashlib.sha256(networks).hexdigest(),
                "history": written() if written else {},
            }
            self.store.put(f"{stem}.json", json.dumps(state, indent=2).encode() + b"\n")
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
        names = [entry.name for entry in self.store.entries(FOLDER)]
        return sorted((_clock(name) for name in names if name.endswith(".json")), reverse=True)

    def read(self, clock: int) -> Checkpoint:
        """Read one checkpoint, and compare its networks with their digest.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            FormatError: it is damaged.
        """
        stem = _stem(clock)
        try:
            state = json.loads(self.store.read(f"{stem}.json"))
            networks = self.store.read(f"{stem}.networks.safetensors")
            if hashlib.sha256(networks).hexdigest() != state["networks"]:
                raise FormatError("its networks have changed since they were written")
            return Checkpoint(clock, load(networks), state["counters"], state["history"])
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise FormatError(f"{self.store.location}/{stem} is damaged: {error}") from error

    def _delete_before(self, clock: int) -> None:
        """Delete older checkpoints, and of each the file that names the others first."""
        old = [entry.name for entry in self.store.entries(FOLDER) if _clock(entry.name) < clock]
        for name in sorted(old, key=lambda name: not name.endswith(".json")):
            self.store.delete(name)


def _stem(clock: int) -> str:
    return f"{FOLDER}/step-{clock:08d}"


def _clock(name: str) -> int:
    return int(name.removeprefix(f"{FOLDER}/step-").partition(".")[0])
