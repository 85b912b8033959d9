"""Work shard by shard: the unit that is handed to workers, done twice without harm."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from pydantic import Field

from schemas.base import Model

log = logging.getLogger(__name__)


class Outcome(Model):
    """What became of one shard."""

    shard: int
    num_samples: int = 0
    num_rejected: int = 0
    num_filtered: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    """why inputs were rejected or filtered, with counts"""
    seconds: float = 0.0
    """of work in the worker"""
    error: str | None = None
    """why the shard was not made; None if it was"""


class ShardTask(Protocol):
    """Something that makes one shard at a time. Lives in a worker."""

    def __call__(self, shard: int, /) -> Outcome:
        """Make and commit the shard."""


MakeTask = Callable[[], ShardTask]
"""Builds the task inside the worker, so that files and networks are opened there."""


class ShardsFailedError(RuntimeError):
    """Some shards could not be made; the others were."""


def run_here(make_task: MakeTask, shards: Sequence[int]) -> Iterator[Outcome]:
    """One shard after the other, in this process: for debuggers and tests."""
    task = make_task()
    for shard in shards:
        yield task(shard)


def collect(
    outcomes: Iterable[Outcome], on_outcome: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """All outcomes, in order of shard.

    Raises:
        ShardsFailedError: names every shard that failed, and why.
    """
    done = []
    for outcome in outcomes:
        done.append(outcome)
        if outcome.error is not None:
            log.error("shard %d failed: %s", outcome.shard, outcome.error)
        if on_outcome is not None:
            on_outcome(outcome)
    failed = sorted((o for o in done if o.error is not None), key=lambda o: o.shard)
    if failed:
        lines = "\n  ".join(f"shard {o.shard}: {o.error}" for o in failed)
        raise ShardsFailedError(f"{len(failed)} of {len(done)} shards failed:\n  {lines}")
    return sorted(done, key=lambda o: o.shard)


def reasons_of(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Reject reasons over all shards."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.reasons)
    return total
