"""All interleavings of two or three who work on a dataset, with up to three preemptions, one death.

`tests/dataset/test_exploration.py` has the same with a smaller bound, and shows that it finds the
faults that it is for.
"""

import pytest

from support.exploration import explore

pytestmark = pytest.mark.long

PREEMPTIONS = {
    "two writers": 3,
    "writer, removal": 3,
    "writer, removal of a dead one's": 3,
    "two repairs": 2,
    "repair, removal": 3,
    "withdrawal, writer": 3,
    "publish, removal": 3,
    "publish, withdrawal, removal": 2,
    "two writers, removal": 2,
    "two refinings": 3,
    "refining, repair, removal": 2,
}
"""at most, beside one death; fewer for three actors, and for repairs, which look at everything"""


@pytest.mark.parametrize("name", PREEMPTIONS)
def test_no_interleaving_loses_anything(scenes, name) -> None:
    dataset, actors, invariants = scenes[name]
    explored = explore(dataset, actors, invariants, preemptions=PREEMPTIONS[name], deaths=1)
    print(f"{name}: {explored}")
    assert {f"{number} done" for number in range(len(actors))} <= explored.outcomes
