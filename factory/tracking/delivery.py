"""What is told to a server, in a thread of its own, so that no work waits for the server."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
"""seconds before what a server did not take is tried again; each pause is twice the one before"""
CLOSE_S = 60.0
"""seconds that the end of a job waits for what is still to be delivered"""


class Delivery:
    """Does one action after the other, in the order in which they were given.

    An action that fails because the server is out of reach is tried again until it succeeds or the
    delivery is closed; the others wait behind it. One that the server refuses is left out. Neither
    reaches the caller: the first of either kind is a warning in the log, and `close` says how much
    was not delivered.
    """

    def __init__(self, what: str, kept: str, is_passing: Callable[[Exception], bool]) -> None:
        """
        Args:
            what: the receiver, for the log, e.g. `MLflow at http://…`.
            kept: where the same is kept anyway, for the log, in words.
            is_passing: whether an error comes from a server out of reach, so that another try may
                succeed.
        """
        self.what, self.kept, self.is_passing = what, kept, is_passing
        self._actions: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._is_away = False
        self._warned = False
        self._num_refused = 0
        # A daemon, because a server that does not answer must not keep the process from its end.
        self._thread = threading.Thread(target=self._deliver, name="delivery", daemon=True)
        self._thread.start()

    def give(self, action: Callable[[], None]) -> None:
        """Have an action done soon. It never waits, and never raises."""
        with self._changed:
            self._actions.append(action)
            self._changed.notify_all()

    def close(self, patience_s: float | None = None) -> int:
        """Deliver the rest, and end.

        Args:
            patience_s: how long to wait for that; None for `CLOSE_S`.

        Returns:
            The number of actions that were not delivered.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S if patience_s is None else patience_s)
        with self._changed:
            missing = self._num_refused + len(self._actions)
            self._actions.clear()  # a thread that is still waiting for the server begins no other
        if missing:
            log.warning("%s lacks %d entries of this run; %s", self.what, missing, self.kept)
        return missing

    def _deliver(self) -> None:
        pause_s = FIRST_PAUSE_S
        while (action := self._next()) is not None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - the work is worth more than its log
                if self.is_passing(error):
                    self._say_away(error)
                    if self._closing:
                        return
                    self._wait(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                self._say_refused(error)
            else:
                pause_s = FIRST_PAUSE_S
                if self._is_away:
                    log.info("%s is reached again", self.what)
                    self._is_away = False
            with self._changed:
                if self._actions:
                    self._actions.popleft()

    def _next(self) -> Callable[[], None] | None:
        """The oldest action, which stays where it is; None at the end."""
        with self._changed:
            while not self._actions:
                if self._closing:
                    return None
                self._changed.wait()
            return self._actions[0]

    def _wait(self, pause_s: float) -> None:
        """Wait before the next try; `close` ends the pause, and a last try follows."""
        until = time.monotonic() + pause_s
        with self._changed:
            while not self._closing and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def _say_away(self, error: Exception) -> None:
        if not self._is_away and not self._warned:
            log.warning(
                "%s cannot be reached, and is tried again meanwhile; %s: %s",
                self.what,
                self.kept,
                error,
            )
        self._is_away = self._warned = True

    def _say_refused(self, error: Exception) -> None:
        self._num_refused += 1
        if self._num_refused == 1:
            log.warning(
                "%s refused an entry, which is left out; %s: %s: %s",
                self.what,
                self.kept,
                type(error).__name__,
                error,
            )
