"""Writers, repair, removal of leftovers and publishing, in every order within a bound.

The code under test is the real one, against a store in memory that stops before each operation:
see `support.exploration`. `tests/all/test_all_interleavings.py` goes further.
"""

import pytest

from support import explored_faults as faults
from support.exploration import ViolationError, explore

BOUNDS = {
    "two writers": (3, 1),
    "writer, removal": (3, 1),
    "writer, removal of a dead one's": (2, 1),
    "two repairs": (1, 0),
    "repair, removal": (1, 1),
    "withdrawal, writer": (2, 1),
    "publish, removal": (2, 1),
    "publish, abandoning": (3, 1),
    "two refinings": (1, 1),
}
"""preemptions and deaths at most; fewer where actors look at much"""


FAULTS = [
    ("writer, removal", faults.takes_nothing),
    ("publish, withdrawal, removal", faults.keeps_nothing),
    ("publish, withdrawal, removal", faults.does_not_look_again),
    ("publish, withdrawal, removal", faults.writes_no_intent),
    ("two writers", faults.replaces_records),
    ("two writers", faults.uses_names_twice),
    ("withdrawal, writer", faults.withdraws_in_place),
    ("publish, abandoning", faults.drops_without_a_trace),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_each_fault_is_found_when_its_mend_is_taken_out(scenes, monkeypatch, name, fault) -> None:
    dataset, actors, invariants = scenes[name]
    fault(monkeypatch)
    with pytest.raises(ViolationError):
        explore(dataset, actors, invariants, preemptions=2, deaths=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_no_interleaving_loses_anything(scenes, name) -> None:
    dataset, actors, invariants = scenes[name]
    preemptions, deaths = BOUNDS[name]
    explored = explore(dataset, actors, invariants, preemptions=preemptions, deaths=deaths)
    print(f"{name}: {explored}")
    assert {f"{number} done" for number in range(len(actors))} <= explored.outcomes
