"""Fill a folder with built-in renders, a batch of pictures at a time."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from factory.dataset import CardMismatchError
from factory.domain import Renderer
from factory.store import LocalStore
from factory.work import MakeTask, Outcome
from schemas.base import FormatError, differences_of

BATCH = 64
"""pictures in one unit of work"""
RECORD = ".simulate.json"
"""hidden, so that no source takes it for a label"""


def enter_folder(folder: Path, renderer: Renderer) -> None:
    """Claim a folder for the pictures of one renderer, or see that it is theirs.

    Raises:
        CardMismatchError: it holds pictures of another renderer (says what differs), or files of
            unknown origin, which would pass for renders.
    """
    store = LocalStore(folder)
    asked = renderer.model_dump(mode="json")
    try:
        store.put_new(RECORD, orjson.dumps(asked, option=orjson.OPT_INDENT_2))
    except FileExistsError:
        try:
            there = orjson.loads(store.read(RECORD))
        except orjson.JSONDecodeError as error:
            raise FormatError(f"{folder / RECORD}: {error}") from error
        if there != asked:
            differences = "; ".join(differences_of(there, asked))
            raise CardMismatchError(
                f"{folder} holds pictures of another renderer ({differences}); "
                "choose another output"
            ) from None
    else:
        strange = sorted(path.name for path in folder.glob("[!.]*") if path.is_file())
        if strange:
            store.delete(RECORD)
            raise CardMismatchError(
                f"{folder} holds files that were not made here ({', '.join(strange[:3])}); "
                "choose another output"
            )


@dataclass(frozen=True)
class BatchRenderer:
    """Renders one batch of pictures at a time; what is there already stays."""

    renderer: Renderer
    folder: Path
    count: int

    def __call__(self, batch: int) -> Outcome:
        """Pictures `batch * BATCH` onwards."""
        started = time.perf_counter()
        indices = range(batch * BATCH, min(self.count, (batch + 1) * BATCH))
        todo = self.renderer.missing(self.folder, indices)
        self.renderer.write(self.folder, todo)
        return Outcome(shard=batch, num_samples=len(todo), seconds=time.perf_counter() - started)


def missing_batches(folder: Path, renderer: Renderer, count: int) -> tuple[list[int], int]:
    """Batches with pictures that are not there yet, and how many pictures that is."""
    left = renderer.missing(folder, range(count))
    return sorted({index // BATCH for index in left}), len(left)


def simulate_task(renderer: Renderer, folder: Path, count: int) -> MakeTask:
    """What a worker needs to render."""
    return partial(BatchRenderer, renderer, folder, count)
