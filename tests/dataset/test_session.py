"""A session in this process: what it makes, and what becomes of shards that fail."""

import pytest

from factory.dataset.session import SessionHere, here
from factory.dataset.shard_tasks import ShardsFailedError, Stage
from schemas.outcome import Outcome

NUM_IN_A_SHARD = 3


def make(shard: int) -> Outcome:
    if shard == 1:
        raise KeyError("a poison shard")
    return Outcome(shard=shard, num_samples=NUM_IN_A_SHARD)


def test_shards_are_made_in_order_of_their_number_by_all_steps() -> None:
    steps = []

    def first(shard: int) -> tuple[int, str]:
        steps.append(shard)
        return shard, "read"

    def last(read: tuple[int, str]) -> Outcome:
        assert read[1] == "read"
        return Outcome(shard=read[0], num_samples=NUM_IN_A_SHARD)

    stages = (Stage("read", lambda: first), Stage("write", lambda: last))
    with here() as session:
        outcomes = session.make_shards("try", stages, [4, 0, 2], 9)
    assert steps == [4, 0, 2]
    assert [outcome.shard for outcome in outcomes] == [0, 2, 4]


def test_a_shard_that_fails_is_set_aside_and_its_error_is_the_cause() -> None:
    made = []

    def noted(shard: int) -> Outcome:
        outcome = make(shard)
        made.append(shard)
        return outcome

    with pytest.raises(ShardsFailedError, match=r"1 of 3 shards .*\n.*shard 1: KeyError") as raised:
        SessionHere().make_shards("try", lambda: noted, [0, 1, 2], 9)
    assert made == [0, 2]
    assert isinstance(raised.value.__cause__, KeyError)


def test_what_no_shard_could_be_made_with_is_raised_as_it_is() -> None:
    def broken() -> None:
        raise FileNotFoundError("no network")

    with pytest.raises(FileNotFoundError, match="no network"):
        SessionHere().make_shards("try", broken, [0], 3)
    assert SessionHere().make_shards("try", broken, [], 0) == [], "nothing is opened for no shards"


def test_an_interrupt_ends_the_work_at_once() -> None:
    made = []

    def interrupted(shard: int) -> Outcome:
        made.append(shard)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SessionHere().make_shards("try", lambda: interrupted, [0, 1], 6)
    assert made == [0]


def test_calls_give_their_results_in_order_and_errors_as_they_are() -> None:
    session = SessionHere()
    assert session.side_by_side([lambda: 3, lambda: 1], "try") == [3, 1]
    with pytest.raises(KeyError):
        session.side_by_side([lambda: make(1)])
