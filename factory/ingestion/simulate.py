"""Fill a folder or an object store with built-in renders, a batch of pictures at a time."""

import time
from dataclasses import dataclass
from functools import partial

import orjson

from factory.dataset.dataset import CardMismatchError
from factory.dataset.shard_tasks import MakeTask
from factory.sources.renderer import Renderer
from factory.store.open import open_store
from schemas.base import FormatError, differences_of
from schemas.outcome import Outcome

BATCH = 64
"""pictures in one unit of work"""
RECORD = ".simulate.json"
"""hidden, so that no source takes it for a label"""


def enter_location(location: str, renderer: Renderer) -> None:
    """Claim a place for the pictures of one renderer, or see that it is theirs.

    Raises:
        CardMismatchError: it holds pictures of another renderer (says what differs), or files of
            unknown origin, which would pass for renders.
    """
    store = open_store(location)
    asked = renderer.model_dump(mode="json")
    try:
        store.put_new(RECORD, orjson.dumps(asked, option=orjson.OPT_INDENT_2))
    except FileExistsError:
        try:
            there = orjson.loads(store.read(RECORD))
        except orjson.JSONDecodeError as error:
            raise FormatError(f"{location}/{RECORD}: {error}") from error
        if there != asked:
            differences = "; ".join(differences_of(there, asked))
            raise CardMismatchError(
                f"{location} holds pictures of another renderer ({differences}); "
                "choose another output"
            ) from None
    else:
        names = (entry.name for entry in store.walk())
        strange = sorted(name for name in names if "/" not in name and not name.startswith("."))
        if strange:
            store.delete(RECORD)
            raise CardMismatchError(
                f"{location} holds files that were not made here ({', '.join(strange[:3])}); "
                "choose another output"
            )


@dataclass(frozen=True)
class BatchRenderer:
    """Renders one batch of pictures at a time; what is there already stays."""

    renderer: Renderer
    location: str
    count: int

    def __call__(self, batch: int) -> Outcome:
        """Pictures `batch * BATCH` onwards."""
        started = time.perf_counter()
        store = open_store(self.location)
        indices = range(batch * BATCH, min(self.count, (batch + 1) * BATCH))
        todo = [k for k in indices if store.size(self.renderer.last_file(k)) is None]
        self.renderer.write(self.location, todo)
        return Outcome(shard=batch, num_samples=len(todo), seconds=time.perf_counter() - started)


def missing_batches(location: str, renderer: Renderer, count: int) -> tuple[list[int], int]:
    """Batches with pictures that are not there yet, and how many pictures that is."""
    names = {entry.name for entry in open_store(location).walk()}
    left = [index for index in range(count) if renderer.last_file(index) not in names]
    return sorted({index // BATCH for index in left}), len(left)


def simulate_task(renderer: Renderer, location: str, count: int) -> MakeTask:
    """What a worker needs to render."""
    return partial(BatchRenderer, renderer, location, count)
