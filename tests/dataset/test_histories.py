"""Long histories of many who work on one dataset, paused and killed at random.

`tests/dataset/test_exploration.py` goes through every order of two or three within a bound. Here
more of them come and go, with any number of pauses and deaths, as hypothesis chooses.
"""

from contextlib import nullcontext, suppress
from functools import cached_property
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.lineage import StaleShardsError
from factory.refinement.card import refined_card
from factory.upkeep import garbage
from support import explored_faults as faults
from support import explored_scenes, fakes
from support.exploration import Actor, Moment, Running, working
from support.explored_scenes import Invariants, Refining, with_tar
from support.memory_store import Memory, MemoryStore

pytestmark = pytest.mark.slow
STEPS = st.sampled_from([1, 2, 3, 4, 6, 9, 14, 30])
AT_ONCE = 4
"""who is at work at the same time, at most"""


class World(NamedTuple):
    """What a history begins with, who may take part, what must hold, and who comes last."""

    begins: Dataset
    actors: dict[str, Actor]
    check: Invariants
    at_last: list[Actor]
    """who work one after another when all others are over, and must succeed"""

    def machine(self) -> type[RuleBasedStateMachine]:
        return type("Histories", (_Histories,), {"world": self})


class _Histories(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        store = self.world.begins.store
        self.memory = Memory({entry.name: store.read(entry.name) for entry in store.walk()})
        self.known: Any = None
        self.all: list[Running] = []

    def at_work(self) -> list[Running]:
        return [one for one in self.all if not one.is_over and not one.is_dead]

    def step(self, one: Running) -> None:
        one.go_on()
        assert not isinstance(one.result, AssertionError | TypeError | KeyError), one.result
        results = tuple(other.result if other.is_over else None for other in self.all)
        dataset = Dataset(MemoryStore(self.memory), self.world.begins.card)
        self.known = self.world.check(Moment(dataset, results, self.known))

    def begin(self, actor: Actor) -> Running:
        work = working(actor, self.memory, self.world.begins.card)
        self.all.append(Running(len(self.all), work))
        return self.all[-1]

    def finish(self, one: Running) -> None:
        while not one.is_over:
            self.step(one)

    @precondition(lambda self: len(self.at_work()) < AT_ONCE)
    @rule(choice=st.integers(0, 99))
    def comes(self, choice: int) -> None:
        names = sorted(self.world.actors)
        self.begin(self.world.actors[names[choice % len(names)]])

    @precondition(lambda self: self.at_work())
    @rule(
        which=st.integers(0, AT_ONCE - 1), steps=STEPS, dies=st.sampled_from([False] * 9 + [True])
    )
    def works(self, which: int, steps: int, dies: bool) -> None:
        one = self.at_work()[which % len(self.at_work())]
        for _ in range(steps):
            if not one.is_over:
                self.step(one)
        one.is_dead = dies

    def teardown(self) -> None:
        """Those who are alive come to their end; then a night without trouble sets all right."""
        try:
            for one in self.at_work():
                self.finish(one)
            for actor in self.world.at_last:
                last = self.begin(actor)
                self.finish(last)
                assert not isinstance(last.result, Exception), last.result
        finally:
            for one in self.all:
                one.end()


@pytest.fixture
def worlds(scene, committed_scene, refiner, tmp_path, monkeypatch, repeatable) -> dict[str, World]:
    """By what they begin with."""
    for attribute in vars(garbage._Finder).values():
        if isinstance(attribute, cached_property):  # Python 3.11 has one lock for all objects,
            # which an actor that is paused would keep; actors are processes, which share none
            monkeypatch.setattr(attribute, "lock", nullcontext(), raising=False)
    other = scene.others()
    refining = Refining(refined_card(committed_scene, refiner, "refined"))
    damaged = with_tar(committed_scene, tmp_path / "damaged", lambda tar: tar[:3000])
    tar = fakes.tar_of(committed_scene, 0)

    def replacing(dataset: Dataset) -> str:
        """Put another version in the place of the shard, as a repair does."""
        return other.writer(dataset.replacing({0: Replaced(1, tar)}))

    def refiner_of_what_is_there(dataset: Dataset) -> str:
        is_there = dataset.committed()
        return refining.refiner(dataset) if is_there else "nothing to refine"

    def refining_or_stale(dataset: Dataset) -> str:
        with suppress(StaleShardsError):  # its parent was replaced: a person decides
            return refining.refiner(dataset)
        return "stale"

    def looking(dataset: Dataset) -> str:
        collected = refining.collector(dataset)
        assert "removed" not in collected, f"leftovers were left: {collected}"
        return "looked"

    actors: dict[str, Actor] = {
        "writer": scene.writer,
        "another writer": other.writer,
        "refining": refiner_of_what_is_there,
        "removal": refining.collector,
        "repair": scene.repairer,
        "another repair": other.repairer,
        "publish": explored_scenes.publisher,
        "abandoning": explored_scenes.abandoner,
    }
    asked = actors | {"withdrawal": explored_scenes.withdrawer, "replacing": replacing}
    # What only an unfinished release pins goes with the pass after the one that drops the release.
    removals = [refining.collector, refining.collector, looking]
    night = [scene.repairer, scene.writer, refining_or_stale, *removals]
    sound = Invariants(scene, refining=refining)
    broken = Invariants(scene, damaged=tar, refining=refining)
    withdrawn = Invariants(scene, withdrawal=True, refining=refining)
    return {
        "plans": World(scene.planned, actors, sound, night),
        "a shard": World(committed_scene, actors | {"replacing": replacing}, sound, night),
        "a damaged shard": World(damaged, actors, broken, night),
        "a shard that may be withdrawn": World(committed_scene, asked, withdrawn, night),
    }


def some(examples: int) -> settings:
    """The same histories each time; how long one takes depends on the machine."""
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    return settings(
        max_examples=examples, stateful_step_count=40, deadline=None, derandomize=True,
        database=None, suppress_health_check=checks, phases=PHASES,
    )  # fmt: skip


PHASES = (Phase.generate,)
"""add `Phase.shrink` to have a history shortened in which something is lost, which takes minutes"""
FAULTS = [
    ("plans", faults.replaces_records),
    ("plans", faults.uses_names_twice),
    ("a shard that may be withdrawn", faults.keeps_nothing),
    ("a shard", faults.drops_without_a_trace),
]
WORLDS = ["plans", "a shard", "a damaged shard", "a shard that may be withdrawn"]


@pytest.mark.parametrize("name", WORLDS)
def test_no_history_loses_anything(worlds, name) -> None:
    run_state_machine_as_test(worlds[name].machine(), settings=some(10))


@pytest.mark.long
@pytest.mark.parametrize("name", WORLDS)
def test_none_of_many_histories_loses_anything(worlds, name) -> None:
    run_state_machine_as_test(worlds[name].machine(), settings=some(80))


@pytest.mark.long
@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_fault_is_found_when_its_mend_is_taken_out(worlds, monkeypatch, name, fault) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(worlds[name].machine(), settings=some(100))
