"""What a training run is told to, beside its own files: programs that plot numbers and show
pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Tracker(Protocol):
    """Is told of one run by worker 0, beside the files of the run, which hold the same."""

    def add(self, line: Mapping[str, object]) -> None:
        """A line of metrics."""

    def add_score(self, clock: int, metrics: Mapping[str, float]) -> None:
        """The numbers of a score on held-out images, by name."""

    def add_strip(self, clock: int, name: str, png: bytes) -> None:
        """A sample strip.

        Args:
            name: of its file in the store of the run.
            png: its content.
        """

    def add_text(self, clock: int, name: str, text: str) -> None:
        """Something to be read, such as an alarm."""

    def add_result(self) -> None:
        """The refiner of the finished run and its pictures, which are in the store of the run."""

    def flush(self) -> None:
        """Let readers see everything so far."""

    def close(self) -> None:
        """Flush, and end."""


OpenTracker = Callable[[int, Sequence[Mapping[str, object]]], Tracker | None]
"""Opens a tracker, given the clock that the run goes on after and the lines of metrics until then;
gives None where it cannot."""
