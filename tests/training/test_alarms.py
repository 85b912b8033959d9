"""Alarms: raised by runs that fail, silent on those that do not."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from factory.store.local import LocalStore
from factory.store.open import open_store
from factory.training.alarms import MIN_LINES, WINDOW, alarm_of
from factory.training.tensorboard import FOLDER, TensorBoardLog

HEALTHY = {
    "phase": "adversarial",
    "realism_loss": 1.1,
    "accuracy_real": 0.8,
    "accuracy_refined": 0.7,
    "mean_abs_delta": 0.15,
}


def lines(count: int, every: int = 10, **changes) -> list[dict]:
    return [HEALTHY | changes | {"clock": (number + 1) * every} for number in range(count)]


WON = {"realism_loss": 6.0, "accuracy_real": 1.0, "accuracy_refined": 0.99}


@pytest.mark.parametrize(
    ("changes", "name", "advice"),
    [
        (WON, "discriminator wins", "r1_gamma"),
        ({"mean_abs_delta": 0.004}, "refined = synthetic", "lower lambda_reg"),
        (
            {"mean_abs_delta": 0.004, "accuracy_real": 0.5, "accuracy_refined": 0.5},
            "refined = synthetic",
            "raise discriminator_lr",
        ),
    ],
)
def test_each_failure_is_named_with_advice(changes, name, advice) -> None:
    alarm = alarm_of(lines(20, **changes))
    assert alarm is not None and alarm.name == name and advice in alarm.message


@pytest.mark.parametrize(
    "name", ["mean_abs_delta", "realism_loss", "accuracy_real", "accuracy_refined"]
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_metrics_that_are_not_finite_are_no_good_sign(name, bad) -> None:
    (last,) = lines(20, **{name: bad})[-1:]
    alarm = alarm_of([*lines(19), last])
    assert alarm is not None and alarm.name == "metrics not finite" and name in alarm.message


def test_a_healthy_run_is_left_in_peace() -> None:
    assert alarm_of(lines(50)) is None
    assert alarm_of([]) is None
    # A discriminator that is sure for a moment, and one that is sure but teaches R much.
    assert alarm_of([*lines(20), *lines(3, **WON)]) is None
    assert alarm_of(lines(20, **(WON | {"realism_loss": 1.0}))) is None


def test_it_is_raised_within_the_window_and_ends_with_it() -> None:
    healthy, won = lines(40), [line | WON for line in lines(80)[40:]]
    assert alarm_of([*healthy, *won[: WINDOW // 10]]) is not None
    again = lines(80 + WINDOW // 10)[80:]
    assert alarm_of([*healthy, *won, *again[:1]]) is not None
    assert alarm_of([*healthy, *won, *again[:3]]) is None


def test_pre_training_and_a_few_lines_are_no_evidence() -> None:
    assert alarm_of(lines(20, phase="refiner_pretrain", mean_abs_delta=0.0)) is None
    assert alarm_of(lines(MIN_LINES - 1, **WON)) is None


def test_the_board_holds_scalars_and_strips(any_location) -> None:
    store = open_store(any_location)
    board = TensorBoardLog(store, 0)
    for line in lines(3):
        board.add(line)
    board.flush()
    killed = [entry.name for entry in store.walk(FOLDER)]
    assert len(killed) == 1
    board = TensorBoardLog(store, 20)  # went on from there: the third line is written again
    board.add(lines(3, mean_abs_delta=0.5)[2])
    board.close()
    if isinstance(store, LocalStore):
        events = EventAccumulator(str(store.root / FOLDER))
        events.Reload()
        scalars = events.Scalars("refiner/mean_abs_delta")
        assert [(s.step, round(s.value, 3)) for s in scalars] == [(10, 0.15), (20, 0.15), (30, 0.5)]
    else:
        assert all(entry.size > 0 for entry in store.walk(FOLDER))
