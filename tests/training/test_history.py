import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.training.history import HistoryBuffer

SHAPE = (1, 2, 3)


def numbered(*numbers: int) -> np.ndarray:
    """Images that carry a number in every pixel."""
    return np.broadcast_to(
        np.array(numbers, np.float16)[:, None, None, None], (len(numbers), *SHAPE)
    ).copy()


def numbers_in(images: np.ndarray) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return [int(value) for value in images[:, 0, 0, 0]]


def pool(buffer: HistoryBuffer) -> list[int]:
    return numbers_in(buffer.state_dict()["images"])


def test_it_fills():
    buffer = HistoryBuffer(6, SHAPE, seed=0)
    for start in (0, 2, 4):
        buffer.exchange(numbered(start, start + 1))
    assert sorted(pool(buffer)) == [0, 1, 2, 3, 4, 5]
    assert buffer.statistics().size == 6


def test_it_mixes_once_full():
    """Each exchange replaces exactly n images, and in time every place is replaced."""
    buffer = HistoryBuffer(20, SHAPE, seed=0)
    buffer.exchange(numbered(*range(20)))
    replaced = set()
    for step in range(1, 60):
        before = pool(buffer)
        buffer.exchange(numbered(100 + step, 200 + step))
        after = pool(buffer)
        places = [index for index in range(20) if before[index] != after[index]]
        assert len(places) == 2 and {after[index] for index in places} == {100 + step, 200 + step}
        replaced.update(places)
    assert len(replaced) == 20


def test_past_images_are_older_ones_drawn_evenly():
    buffer = HistoryBuffer(10, SHAPE, seed=3)
    assert numbers_in(buffer.exchange(numbered(1, 2))) == [1, 2]  # nothing older yet
    buffer.exchange(numbered(*range(3, 11)))
    counts = dict.fromkeys(range(1, 11), 0)
    for seed in range(400):
        again = HistoryBuffer(10, SHAPE, seed=seed)
        again.exchange(numbered(*range(1, 11)))
        past = numbers_in(again.exchange(numbered(90, 91, 92)))
        assert len(set(past)) == 3 and not {90, 91, 92} & set(past)
        for number in past:
            counts[number] += 1
    assert min(counts.values()) > 80 and max(counts.values()) < 160  # 120 expected


def test_past_images_are_copies():
    buffer = HistoryBuffer(4, SHAPE, seed=0)
    buffer.exchange(numbered(1, 2, 3, 4))
    past = buffer.exchange(numbered(5, 6))
    past[:] = 99
    assert 99 not in pool(buffer)


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 12), sizes=st.lists(st.integers(1, 12), max_size=12))
def test_invariants(capacity, sizes):
    buffer = HistoryBuffer(capacity, SHAPE, seed=1)
    number, seen = 0, set()
    for n in sizes:
        fresh = numbered(*range(number, number + n))
        if n > capacity:
            with pytest.raises(ValueError, match="do not fit"):
                buffer.exchange(fresh)
            continue
        had = set(pool(buffer))
        past = numbers_in(buffer.exchange(fresh))
        assert len(past) == n
        assert set(past) <= had or (len(had) < n and past == numbers_in(fresh))
        seen |= set(numbers_in(fresh))
        number += n
        held = pool(buffer)
        assert len(held) == len(set(held)) == min(capacity, len(seen))
        assert set(numbers_in(fresh)) <= set(held) <= seen


def test_snapshot_goes_on_identically():
    one, other = HistoryBuffer(8, SHAPE, seed=5), HistoryBuffer(8, SHAPE, seed=77)
    for step in range(3):
        one.exchange(numbered(3 * step, 3 * step + 1, 3 * step + 2))
    state = one.state_dict()
    other.load_state_dict(state)
    for step in range(5):
        fresh = numbered(50 + step, 60 + step)
        assert np.array_equal(one.exchange(fresh), other.exchange(fresh))
    assert one.statistics() == other.statistics()
    assert numbers_in(state["images"]) != pool(one)  # a snapshot is a copy


def test_statistics():
    buffer = HistoryBuffer(4, SHAPE, seed=0)
    assert np.isnan(buffer.statistics().mean_age)
    buffer.exchange(numbered(1, 2))
    buffer.exchange(numbered(3, 4))
    assert buffer.statistics() == (4, 4, 2, 4, 1.5, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "fresh",
    [
        np.zeros((2, 1, 3, 2), np.float16),
        np.zeros((2, *SHAPE), np.float32),
        np.zeros(SHAPE, np.float16),
        np.zeros((9, *SHAPE), np.float16),
    ],
)
def test_wrong_images_are_refused(fresh):
    with pytest.raises(ValueError):
        HistoryBuffer(8, SHAPE, seed=0).exchange(fresh)
    with pytest.raises(ValueError, match="history of 0"):
        HistoryBuffer(0, SHAPE, seed=0)
    with pytest.raises(ValueError, match="does not fit"):
        HistoryBuffer(8, SHAPE, seed=0).load_state_dict(HistoryBuffer(9, SHAPE, 0).state_dict())
