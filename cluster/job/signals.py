"""A job that is asked to end, by a scheduler or a closed terminal, ends as after Ctrl-C."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGTERM, signal.SIGHUP)
UNDISTURBED_S = 10.0
"""seconds after a signal in which further ones are ignored"""
_asked_at_s: list[float] = []
"""when a signal last raised; empty before the first"""


class StopRequest(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def raise_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise a `StopRequest` in the main thread, which has to call this.

    A signal that is ignored, as SIGHUP is after `nohup`, stays so.
    """
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def holding_signals_back() -> Iterator[None]:
    """Answer signals at the end of a section that must not be left half done, as they were answered
    before it, whatever the section made of them.

    Ray's start is one: left half done, it waits a minute for its own processes; and from then on it
    prints a trace and aborts on SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_NUMBERS)}
    for number, answer in before.items():
        if answer is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, answer in before.items():
            if answer is not None:  # one that is not Python's cannot be put back
                signal.signal(number, answer)
    for number in came[:1]:
        signal.raise_signal(number)


def _stop(number: int, _: FrameType | None) -> None:
    """Raise once, so that nothing disturbs the end; and once more where it does not come.

    An exception is lost if the signal arrives while Python calls back from a weak reference.
    """
    now_s = time.monotonic()
    if not _asked_at_s or now_s - _asked_at_s[0] > UNDISTURBED_S:
        _asked_at_s[:] = [now_s]
        raise StopRequest(number)
