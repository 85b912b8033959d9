"""Work by shards. A shard is the unit of work of a worker, and making one twice does no harm."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.outcome import Outcome

log = logging.getLogger(__name__)


class ShardTask(Protocol):
    """Makes one shard at a time, inside a worker."""

    def __call__(self, shard: int, /) -> Outcome:
        """Make and commit the shard."""


MakeTask = Callable[[], ShardTask]
"""builds the task inside its worker, so that files and networks are opened there"""


@dataclass(frozen=True)
class Stage:
    """One step of the work on a shard, for workers of its own. The last step gives an `Outcome`."""

    name: str
    make: Callable[[], Callable[[Any], Any]]
    """builds the step inside its worker, so that files and networks are opened there"""
    takes: type | None = None
    """type of what the step before gives: a dataclass of numbers, strings, bytes and arrays with a
    field `shard`; None for the first step, which takes the number of a shard"""
    holds_core: bool = True
    """True for a pool of workers that each keep a core (or GPU) busy for the whole run; False for
    short work beside them, such as reading and writing"""


class MakeShards(Protocol):
    """Makes shards somewhere: on a cluster, or one after the other in this process."""

    def __call__(
        self, what: str, task: MakeTask | Sequence[Stage], shards: Sequence[int], num_samples: int
    ) -> list[Outcome]:
        """Make every shard of a list; gives the outcomes in order of shard.

        Args:
            what: what is done, in one word for logs and progress bars, e.g. `refine`.
            task: what makes one shard, in one step or in several.
            num_samples: expected in all shards together, for the progress bar.

        Raises:
            ShardsFailedError: some shards could not be made; all others were.
        """


class SideBySide(Protocol):
    """Makes calls at the same time somewhere, and gives their results in order."""

    def __call__(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """
        Args:
            what: what is done, in one word for a progress bar; there is none where it is absent.
            use_gpu: give each call a GPU.
        """


Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""shows how many of some shards were read: a context that gives what to call with each number"""


def no_progress(_: int) -> AbstractContextManager[Callable[[int], None]]:
    """A `Progress` that shows nothing."""
    return nullcontext(lambda _: None)


_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
"""errors of the operating system that come again when the call is repeated"""


def failed_outcome(shard: int, error: Exception) -> Outcome:
    """The outcome of a shard whose work raised an exception."""
    return Outcome(
        shard=shard,
        error=f"{type(error).__name__}: {error}",
        transient=isinstance(error, OSError) and not isinstance(error, _FINAL),
    )


class ShardsFailedError(RuntimeError):
    """Some shards could not be made; all others were made."""


def run_here(task: MakeTask | Sequence[Stage], shards: Sequence[int]) -> Iterator[Outcome]:
    """Make one shard after the other in this process, for debuggers and tests: what a shard raises
    ends it."""
    steps = [stage.make() for stage in stages_of(task)]
    for shard in shards:
        yield made_by(steps, shard)


def made_by(steps: Sequence[Callable[[Any], Any]], shard: int) -> Outcome:
    """Make a shard by all the steps of a task, as `Stage.make` gives them."""
    content: Any = shard
    for step in steps:
        content = step(content)
    outcome: Outcome = content
    return outcome


def stages_of(task: MakeTask | Sequence[Stage], name: str = "make") -> Sequence[Stage]:
    """The stages of a task; one that is done in one step is one stage, of the given name."""
    return (Stage(name, task),) if callable(task) else task


def collect(
    outcomes: Iterable[Outcome], on_outcome: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """All outcomes, in order of shard.

    Args:
        on_outcome: called with each outcome as it comes.

    Raises:
        ShardsFailedError: some shards failed; the message names each of them, and why.
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
        lines = "\n  ".join(
            f"shard {o.shard}: {o.error}" + (f" ({o.attempts} attempts)" if o.attempts > 1 else "")
            for o in failed
        )
        raise ShardsFailedError(
            f"{len(failed)} of {len(done)} shards were set aside, all others were made; run the "
            f"same command to try them again:\n  {lines}"
        )
    return sorted(done, key=lambda o: o.shard)


def reasons_of(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Why inputs of all shards were rejected or filtered, with counts."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.reasons)
    return total
