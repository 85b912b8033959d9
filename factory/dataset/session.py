"""Where the work of one call is done, and what is kept of it.

A function that makes shards is given what begins its session, and begins it once its arguments are
checked, so that a mistake leaves no trace. `here` begins one in this process.
`cluster.on_ray.session` has those of jobs, which keep a log, and those that let Ray's workers do
the work.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from factory.dataset.shard_tasks import (
    MakeTask,
    Progress,
    ShardsFailedError,
    Stage,
    collect,
    failed_outcome,
    made_by,
    no_progress,
    stages_of,
)
from schemas.outcome import Outcome


class Session(Protocol):
    """What does the work of one call."""

    def make_shards(
        self, what: str, task: MakeTask | Sequence[Stage], shards: Sequence[int], num_samples: int
    ) -> list[Outcome]:
        """`factory.dataset.shard_tasks.MakeShards`."""

    def side_by_side(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """`factory.dataset.shard_tasks.SideBySide`."""

    def progress(self, what: str, unit: str) -> Progress:
        """Shows how far a part of the work is that is done in this process.

        Args:
            what: what is done, in one word, e.g. `publish`.
            unit: what is counted, e.g. `shards`.
        """

    def keep(self, name: str, content: bytes) -> None:
        """Put a file, for example a summary, beside the log of the session, if it keeps one."""


class BeginSession(Protocol):
    """Begins a session, which ends with the block that it is used in."""

    def __call__(self, *, use_gpu: bool = False) -> AbstractContextManager[Session]:
        """
        Args:
            use_gpu: make shards on GPUs.
        """


class SessionHere:
    """A session in this process: one shard, or one call, is done after the other. It keeps no
    files, and shows nothing but the lines of its log."""

    def make_shards(
        self, what: str, task: MakeTask | Sequence[Stage], shards: Sequence[int], num_samples: int
    ) -> list[Outcome]:
        """As `Session.make_shards`.

        Raises:
            ShardsFailedError: some shards could not be made; all others were. Its cause is the
                error of the first of them.
        """
        if not shards:
            return []
        steps = [stage.make() for stage in stages_of(task)]
        first: Exception | None = None  # of all, each would keep the images of its shard

        def outcomes() -> Iterator[Outcome]:
            nonlocal first
            for shard in shards:
                try:
                    outcome = made_by(steps, shard)
                except Exception as error:  # noqa: BLE001 - one poison shard must not end the others
                    first = first or error
                    outcome = failed_outcome(shard, error)
                yield outcome

        try:
            return collect(outcomes())
        except ShardsFailedError as failed:
            raise failed from first

    def side_by_side(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """As `Session.side_by_side`; the calls find the GPUs of this process."""
        return [call() for call in calls]

    def progress(self, what: str, unit: str) -> Progress:
        """As `Session.progress`."""
        return no_progress

    def keep(self, name: str, content: bytes) -> None:
        """As `Session.keep`: there is no folder to keep it in."""


@contextmanager
def here(*, use_gpu: bool = False) -> Iterator[Session]:
    """Begin a session in this process.

    Args:
        use_gpu: what is made is made on a GPU of this machine, which the work itself takes.
    """
    yield SessionHere()
