"""What is told to a server: in order, again where it was away, and never in the way of the work."""

import threading
from collections.abc import Callable

import pytest

from factory.tracking import delivery
from factory.tracking.delivery import Delivery


class AwayError(Exception):
    """The server does not answer."""


def is_away(error: Exception) -> bool:
    return isinstance(error, AwayError)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.001)


class Server:
    """Keeps what it is told; is away for so many calls first."""

    def __init__(self, num_away: int = 0) -> None:
        self.num_away, self.numbers = num_away, list[int]()
        self.reached = threading.Event()

    def saying(self, number: int) -> Callable[[], None]:
        def say() -> None:
            if self.num_away:
                self.num_away -= 1
                raise AwayError("connection refused")
            if number < 0:
                raise ValueError(f"{number} is no entry")
            self.numbers.append(number)
            self.reached.set()

        return say


def to(server: Server, *numbers: int) -> Delivery:
    made = Delivery("the server", "the folder has it", is_away)
    for number in numbers:
        made.give(server.saying(number))
    return made


def test_entries_arrive_in_order() -> None:
    server = Server()
    assert to(server, *range(100)).close() == 0
    assert server.numbers == list(range(100))


def test_a_server_that_comes_back_gets_all_of_it_and_is_warned_of_once(caplog) -> None:
    server = Server(num_away=5)
    made = to(server, 1, 2, 3)
    assert server.reached.wait(20)
    assert made.close() == 0
    assert server.numbers == [1, 2, 3]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "the folder has it: connection refused" in warnings[0]


def test_what_is_refused_is_left_out_and_counted(caplog) -> None:
    server = Server()
    assert to(server, 1, -1, 2, -2).close() == 2
    assert server.numbers == [1, 2]
    assert caplog.messages == [
        "the server refused an entry, which is left out; the folder has it: ValueError: "
        "-1 is no entry",
        "the server lacks 2 entries of this run; the folder has it",
    ]


def test_the_end_tries_once_more_and_does_not_wait_for_a_server_that_stays_away(
    monkeypatch, caplog
) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 3600.0)
    server = Server(num_away=1)
    made = to(server, 1)
    while server.num_away:  # it is in its pause of an hour now, or about to be
        threading.Event().wait(0.001)
    assert made.close() == 0
    assert server.numbers == [1]
    assert to(Server(num_away=1000), 1, 2).close(20) == 2
    assert caplog.messages[-1] == "the server lacks 2 entries of this run; the folder has it"


def test_a_server_that_answers_nothing_keeps_nobody() -> None:
    answer = threading.Event()
    made = Delivery("the server", "the folder has it", is_away)
    server = Server()
    made.give(lambda: bool(answer.wait(60)) and None)
    made.give(server.saying(1))
    assert made.close(0.01) == 2
    answer.set()
    made._thread.join(20)
    assert server.numbers == []  # nothing is told after the end
