"""Fill a folder or an object store with built-in renders, a batch of pictures at a time."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from factory.dataset.dataset import CardMismatchError
from factory.dataset.shard_tasks import MakeShards, MakeTask
from factory.domains.base import given_names
from factory.sources.renderer import Renderer
from factory.store.open import absolute, open_store
from schemas.base import FormatError, Model, differences_of
from schemas.outcome import Outcome

log = logging.getLogger(__name__)
BATCH = 64
"""pictures in one unit of work"""
RECORD = ".simulate.json"
"""name of the file that says which renderer a folder belongs to; hidden, so that no source takes it
for a label"""


def check_options(domain: str, given: Mapping[str, Model]) -> None:
    """Refuse options that are for another domain than the one that is rendered.

    Args:
        domain: name of the domain that is rendered.
        given: by domain, the options that the domains add to jobs/simulate.py.

    Raises:
        ValueError: names the options, and the domain that they are for.
    """
    for other, options in given.items():
        names = given_names(options) if other != domain else ()
        if names:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
            raise ValueError(
                f"leave out {flags}, or give --domain {other}: {domain} has no such option"
            )


def simulate(renderer: Renderer, output: str, count: int, *, make_shards: MakeShards) -> None:
    """Draw the first `count` pictures of a renderer, except those that exist already.

    Args:
        output: a folder, or s3://bucket/prefix.

    Raises:
        CardMismatchError: the output holds other pictures.
        ShardsFailedError: some pictures could not be drawn; all others were.
        ValueError: the renderer cannot draw so many pictures.
    """
    location = absolute(output)
    enter_location(location, renderer)
    batches, num_missing = missing_batches(location, renderer, count)
    log.info("%d of %d pictures to render", num_missing, count)
    renderer.prepare(location, count)
    make_shards("simulate", simulate_task(renderer, location, count), batches, num_missing)
    log.info("%s: %d pictures", location, count)


def enter_location(location: str, renderer: Renderer) -> None:
    """Reserve a location for the pictures of one renderer, or check that it is reserved for them.

    Raises:
        CardMismatchError: the location holds pictures of another renderer (the message says what
            differs), or files of unknown origin, which would be taken for renders.
    """
    store = open_store(location)
    asked = renderer.model_dump(mode="json")
    try:
        store.put_new(RECORD, orjson.dumps(asked, option=orjson.OPT_INDENT_2))
    except FileExistsError:
        try:
            recorded = orjson.loads(store.read(RECORD))
        except orjson.JSONDecodeError as error:
            raise FormatError(f"{location}/{RECORD}: {error}") from error
        if recorded != asked:
            differences = "; ".join(differences_of(recorded, asked))
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
    """Renders one batch of pictures at a time; pictures that exist are left as they are."""

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
    """Batches with pictures that do not exist yet, and the number of these pictures."""
    names = {entry.name for entry in open_store(location).walk()}
    left = [index for index in range(count) if renderer.last_file(index) not in names]
    return sorted({index // BATCH for index in left}), len(left)


def simulate_task(renderer: Renderer, location: str, count: int) -> MakeTask:
    """What a worker needs to render."""
    return partial(BatchRenderer, renderer, location, count)
