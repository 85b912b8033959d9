"""How far a job is: a bar on a terminal, plain lines in a log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tqdm import tqdm

log = logging.getLogger(__name__)
LINE_EVERY_S = 10.0
"""seconds between two progress lines where there is no terminal"""


class Progress:
    """A bar on a terminal, plain lines in a log."""

    def __init__(self, what: str, total: int, unit: str, *, done: int = 0):
        """
        Args:
            done: units of `total` that an earlier run has done.
        """
        self.what, self.total, self.unit = what, total, unit
        self.done = self._done_before = done
        self.started = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=f" {unit}",
            disable=None,
            dynamic_ncols=True,
        )

    def advance(self, count: int, note: str = "") -> None:
        """Count `count` more units as done."""
        self.done += count
        self._bar.update(count)
        if note and not self._bar.disable:
            self._bar.set_postfix_str(note)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line > LINE_EVERY_S:
            self._last_line = now
            log.info("%s: %s %s", self.what, self._so_far(now - self.started), note)

    def _so_far(self, passed_s: float) -> str:
        shown = f"{self.done} of {self.total} {self.unit}"
        done_now = self.done - self._done_before
        if not done_now:
            return shown
        each_s = passed_s / done_now
        speed = f"{1 / each_s:.1f}/s" if each_s < 1 else f"{each_s:.1f} s each"
        left = tqdm.format_interval(each_s * (self.total - self.done))
        return f"{shown}, {speed}, {left} left"

    def close(self) -> None:
        """End the bar, and leave it on the screen."""
        self._bar.close()


@contextmanager
def progress_of(what: str, unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress of something that is done one by one; gives what to call after each."""
    with closing(Progress(what, total, unit)) as progress:
        yield lambda _: progress.advance(1)
