"""Which epoch a training reads, how far it has come, and how that is saved."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from factory.reading.order import Turn
from factory.reading.sample import Sample
from factory.reading.source import Batch, Source
from schemas.base import Model


class ReaderState(Model):
    """How far the ranks of a training have read. Ranks that have made as many steps agree on it."""

    format_version: Literal[1] = 1
    source: str
    """digest of what is read"""
    seed: int
    shuffle: bool
    epoch: int
    position: int
    """samples of the epoch that all ranks together have had"""
    done: int = 0
    """samples that one worker of a DataLoader has made of its own turn since then; 0 in a state of
    all workers together"""


class Epochs:
    """The epochs of one rank, one after the other, of which the first may have begun before."""

    def __init__(self, source: Source, turn: Turn, *, seed: int, shuffle: bool):
        """
        Args:
            turn: of the rank in an epoch that is read from its beginning.
        """
        self.source, self.turn, self.seed, self.shuffle = source, turn, seed, shuffle
        self._next = (0, 0, 0)
        self._now = (0, 0, 0)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration reads, or goes on with."""
        return self._next[0]

    def begin(self) -> tuple[int, Turn]:
        """The epoch that begins or goes on, and the rank's turn in what is left of it."""
        epoch, position, done = self._now = self._next
        self._next = (epoch + 1, 0, 0)
        return epoch, replace(self.turn, start=position, done=done)

    def batches(
        self, epoch: int, turn: Turn, transform: Callable[[Sample], Any]
    ) -> Iterator[Batch]:
        """As `Source.batches`, in the order of these epochs."""
        return self.source.batches(
            epoch, turn, seed=self.seed, shuffle=self.shuffle, transform=transform
        )

    def had(self, epoch: int, turn: Turn, num_samples: int) -> None:
        """Note how many samples of its turn this rank has had."""
        self._now = (epoch, turn.start + num_samples * turn.num_ranks, 0)

    def made(self, epoch: int, turn: Turn, num_samples: int) -> None:
        """Note how many samples of its own turn a worker of this rank has made."""
        self._now = (epoch, turn.start, num_samples)

    def end(self) -> None:
        """Note that an epoch is over."""
        self._now = self._next

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch the next time."""
        self._next = self._now = (epoch, 0, 0)

    def left(self) -> int:
        """Samples of this rank in the next iteration."""
        return replace(self.turn, start=self._next[1]).num_samples(len(self.source))

    def state(self) -> dict[str, Any]:
        """How far the rank, or one of its workers, has come."""
        epoch, position, done = self._now
        return ReaderState(
            source=self.source.digest(),
            seed=self.seed,
            shuffle=self.shuffle,
            epoch=epoch,
            position=position,
            done=done,
        ).model_dump()

    def load(self, given: dict[str, Any], *, in_worker: bool = False) -> None:
        """Go on where a state was taken.

        Raises:
            ValueError: it is the state of other samples or of another order; or of a single worker
                while this is none.
        """
        state, source = ReaderState.model_validate(given), self.source.digest()
        if (state.source, state.seed, state.shuffle) != (source, self.seed, self.shuffle):
            raise ValueError(
                "the state is of other samples, or of another order of them: it was saved with "
                f"seed {state.seed}, shuffle {state.shuffle} and the digest {state.source[:12]}…, "
                f"this reader has {self.seed}, {self.shuffle} and {source[:12]}…. The digest "
                "changes with the release, split, where, mix, weights and the length of epochs"
            )
        if state.done and not in_worker:
            raise ValueError("the state is that of one worker of a DataLoader, not of a training")
        left = len(self.source) - state.position
        is_over = left <= 0 or (self.turn.ends == "drop" and left < self.turn.num_ranks)
        self._next = (state.epoch, state.position, state.done)
        if is_over:
            self._next = (state.epoch + 1, 0, 0)
        self._now = self._next
