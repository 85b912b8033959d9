"""The history that several workers share, held in actors of a cluster."""

import time

import numpy as np
import pytest
import ray

from cluster.on_ray.history import HistoryLostError, SharedHistory
from factory.training.history import HistoryBuffer
from support.cluster_training import kill_history, living_actors

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_ray")]
SHAPE = (1, 4, 5)


def numbered(*numbers: int) -> np.ndarray:
    return np.broadcast_to(
        np.array(numbers, np.float16)[:, None, None, None], (len(numbers), *SHAPE)
    ).copy()


def test_one_actor_is_the_buffer(tmp_path) -> None:
    shared, plain = SharedHistory.start(16, SHAPE, seed=3), HistoryBuffer(16, SHAPE, seed=3)
    shared.restore(str(tmp_path), {})
    for step in range(12):
        fresh = numbered(step, step + 100)
        worker = step % 2
        assert np.array_equal(shared.exchange(fresh, worker), plain.exchange(fresh, worker))
    assert np.array_equal(shared.last(1), plain.last(1)) and shared.last(7) is None
    assert shared.statistics() == plain.statistics()
    digests = shared.start_saving(str(tmp_path), "there")()
    assert digests == plain.start_saving(str(tmp_path), "there")()
    other = SharedHistory.start(16, SHAPE, seed=99)
    other.restore(str(tmp_path), digests)
    assert np.array_equal(other.exchange(numbered(7, 8)), plain.exchange(numbered(7, 8)))


def test_several_actors_share_it(tmp_path) -> None:
    shared = SharedHistory.start(16, SHAPE, seed=3, actors=2)
    shared.restore(str(tmp_path), {})
    for step in range(8):
        for worker in range(2):
            past = shared.exchange(numbered(step * 10 + worker, step * 10 + worker), worker)
            assert (past % 10 == worker).all()
    assert shared.statistics()[:4] == (16, 16, 16, 32)
    digests = shared.start_saving(str(tmp_path), "there")()
    assert sorted(digests) == ["there-0.safetensors", "there-1.safetensors"]
    again = SharedHistory.start(16, SHAPE, seed=3, actors=2)
    again.restore(str(tmp_path), digests)
    for worker in range(2):
        assert np.array_equal(again.last(worker), shared.last(worker))
    with pytest.raises(ValueError, match="--history-actors 2"):
        SharedHistory.start(16, SHAPE, seed=3).restore(str(tmp_path), digests)


def test_a_restarted_actor_says_that_it_holds_nothing(tmp_path) -> None:
    shared = SharedHistory.start(16, SHAPE, seed=3)
    shared.restore(str(tmp_path), {})
    shared.exchange(numbered(1, 2))
    digests = shared.start_saving(str(tmp_path), "there")()
    assert living_actors("HistoryKeeper")
    kill_history()
    with pytest.raises((HistoryLostError, ray.exceptions.RayError)):
        for _ in range(100):
            shared.exchange(numbered(3, 4))
            time.sleep(0.1)
    shared.restore(str(tmp_path), digests)
    assert (shared.last(0) == numbered(1, 2)).all()
    assert shared.statistics().num_exchanges == 1
