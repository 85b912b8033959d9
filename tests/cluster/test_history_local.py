"""The history in several actors, with the actors in this process: no Ray is started."""

from types import SimpleNamespace

import numpy as np
import pytest

from cluster.on_ray import history
from cluster.on_ray.history import HistoryKeeper, SharedHistory

SHAPE = (1, 2, 3)


class LocalActor:
    """Has the methods of a handle of an actor, and makes calls at once."""

    def __init__(self, keeper: HistoryKeeper) -> None:
        self._keeper = keeper

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self._keeper, name))


@pytest.fixture(autouse=True)
def _results_are_there(monkeypatch) -> None:
    monkeypatch.setattr(history.ray, "get", lambda results: results)


def shared_by(num_actors: int) -> SharedHistory:
    return SharedHistory([LocalActor(HistoryKeeper(4, SHAPE, k)) for k in range(num_actors)])


@pytest.mark.parametrize("num_actors", [1, 2, 10, 11, 12])
def test_every_worker_finds_its_own_images_again(tmp_path, num_actors) -> None:
    shared, again = shared_by(num_actors), shared_by(num_actors)
    shared.restore(str(tmp_path), {})
    for worker in range(num_actors):
        shared.exchange(np.full((2, *SHAPE), worker, np.float16), worker)
    again.restore(str(tmp_path), shared.start_saving(str(tmp_path), "step-7.history")())
    for worker in range(num_actors):
        last = again.last(worker)
        assert last is not None and (last == worker).all()
    assert again.statistics()[:4] == shared.statistics()[:4]
