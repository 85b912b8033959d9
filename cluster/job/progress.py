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

    def __init__(self, what: str, total: int, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.done, self.started = 0, time.monotonic()
        self._last_line = self.started
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", disable=None, dynamic_ncols=True)

    def advance(self, count: int, note: str = "") -> None:
        """Count `count` more units as done."""
        self.done += count
        self._bar.update(count)
        if note and not self._bar.disable:
            self._bar.set_postfix_str(note)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line > LINE_EVERY_S:
            self._last_line = now
            rate = self.done / (now - self.started)
            shown = f"{self.done} of {self.total} {self.unit}, {rate:.1f}/s"
            log.info("%s: %s %s", self.what, shown, note)

    def close(self) -> None:
        """End the bar, and leave it on the screen."""
        self._bar.close()


@contextmanager
def progress_of(what: str, unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress of something that is done one by one; gives what to call after each."""
    with closing(Progress(what, total, unit)) as progress:
        yield lambda _: progress.advance(1)
