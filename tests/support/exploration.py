"""All interleavings of a few actors that work on one dataset, within a bound.

An actor is a function that gets a dataset and runs the code under test, unchanged. Its store stops
it before every operation until the explorer lets it go on, so between two operations any other
actor may run, for as long as it likes. The explorer goes through all schedules depth first, with at
most so many preemptions (switches away from an actor that could go on) and deaths (an actor that is
never let go on). An actor that was preempted and is let go on after others have finished is one
that was paused and revived.

A schedule is run from the beginning each time, so actors have to be deterministic; up to where it
goes another way, nothing is looked at again. A state is what the store holds, and for each actor
what it has read and what it does next. A state that was reached before with as many preemptions and
deaths left is not gone on with.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from factory.dataset.dataset import Dataset
from support.memory_store import Memory, MemoryStore

Actor = Callable[[Dataset], Any]
Work = Callable[["Running"], Any]
"""what an actor does; it calls `step` before each operation, and `saw` with what that gave"""
Decision = tuple[int, bool]
"""the actor to go on, and whether the one before it dies"""


class Killed(BaseException):
    """Ends the thread of an actor when its schedule is over; it can do nothing on its way out."""


class ViolationError(AssertionError):
    """An invariant does not hold in some state."""


class Running:
    """An actor in a thread of its own, which waits before each operation."""

    def __init__(self, number: int, work: Work):
        self.number, self.next, self.seen = number, "begin", 0
        self.is_over, self.is_dead = False, False
        self.result: Any = None
        self.num_names = 0
        self._go, self._waits = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._waits.acquire()
        self._steps, self._ends = 0, False
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Work) -> None:
        _current.running = self
        self._go.acquire()
        try:
            if not self._ends:
                self.result = work(self)
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 - what it raised is how the actor ended
            self.result = error
        self.is_over, self.next = True, "over"
        self._waits.release()

    def step(self, operation: str) -> None:
        if self._ends:
            raise Killed
        self.next = operation
        self._steps -= 1
        if self._steps > 0:
            return
        self._waits.release()
        self._go.acquire()
        if self._ends:
            raise Killed

    def saw(self, what: Any) -> None:
        self.seen = hash((self.seen, self.next, what))

    def go_on(self, steps: int = 1) -> None:
        """Let it do its next operations, and wait until it is before another one."""
        self._steps = steps
        self._go.release()
        self._waits.acquire()

    def end(self) -> None:
        """End the thread without another operation."""
        if not self.is_over:
            self._ends = True
            self.go_on()
        self._thread.join()


_current = threading.local()


def current() -> Running | None:
    """The actor in whose thread this is."""
    return getattr(_current, "running", None)


def attempt() -> str:
    """What stands for a random number in names: actor and count. Pool threads have no actor."""
    running = current()
    assert running is not None
    running.num_names += 1
    return f"{running.number:04x}{running.num_names:04x}"


class World(Protocol):
    """What actors share, as it is when they begin."""

    @property
    def digest(self) -> int:
        """Of all that it holds."""

    def work(self, number: int) -> Work:
        """What an actor does in it."""

    def look(self, results: tuple[Any, ...], before: Any) -> Any:
        """Raise `AssertionError` where it must not be so; gives what the next look is to know."""

    def __str__(self) -> str:
        """What it holds, for messages."""


@dataclass(frozen=True)
class Moment:
    """A state, for invariants."""

    dataset: Dataset
    results: tuple[Any, ...]
    """of each actor; None for one that is not over"""
    before: Any
    """what the check gave for the state before, on this schedule"""


Check = Callable[[Moment], Any]
"""raises `AssertionError` where a state must not be; gives what the next check is to know"""


@dataclass
class Explored:
    """What was looked at."""

    schedules: int = 0
    steps: int = 0
    states: int = 0
    outcomes: set[str] = field(default_factory=set)
    """how actors ended, in words"""


class InMemory:
    """A dataset in memory, and those who work on it."""

    def __init__(
        self, objects: Mapping[str, bytes], card: Any, actors: Sequence[Actor], check: Check
    ):
        self.memory, self.card, self.actors, self.check = Memory(objects), card, actors, check

    @property
    def digest(self) -> int:
        return self.memory.digest

    def work(self, number: int) -> Work:
        return working(self.actors[number], self.memory, self.card)

    def look(self, results: tuple[Any, ...], before: Any) -> Any:
        return self.check(Moment(Dataset(MemoryStore(self.memory), self.card), results, before))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return "\n  ".join(sorted(self.memory.objects))


def working(actor: Actor, memory: Memory, card: Any) -> Work:
    """An actor that works on a dataset in memory."""
    return lambda running: actor(Dataset(MemoryStore(memory, running.step, running.saw), card))  # type: ignore[arg-type]


class _Branch(NamedTuple):
    """A schedule up to where it goes another way than one that was run."""

    done: tuple[Decision, ...]
    """what was run and looked at before"""
    choice: Decision
    """what comes now"""
    left: int
    deaths: int
    """preemptions and deaths that may come yet, before the choice"""
    known: Any
    """what the last look gave"""


@dataclass
class _Explorer:
    begin: Callable[[], World]
    num_actors: int
    preemptions: int
    deaths: int
    explored: Explored = field(default_factory=Explored)

    def __post_init__(self) -> None:
        self.visited: dict[Any, list[tuple[int, int]]] = {}

    def explore(self) -> Explored:
        pending = [
            _Branch((), (number, False), self.preemptions, self.deaths, None)
            for number in reversed(range(self.num_actors))
        ]
        while pending:
            pending.extend(self._run(pending.pop()))
        return self.explored

    def _run(self, branch: _Branch) -> list[_Branch]:
        """Run one schedule to its end. Gives those that begin like it and then go another way."""
        world = self.begin()
        actors = [Running(number, world.work(number)) for number in range(self.num_actors)]
        done, left, deaths, known = list(branch.done), branch.left, branch.deaths, branch.known
        branches = []
        choices = [branch.choice]
        try:
            current = _run_again(actors, branch.done)
            while choices:
                chosen, dies = choices[0]
                branches += [_Branch((*done,), c, left, deaths, known) for c in choices[1:]]
                if dies:
                    actors[current].is_dead = True
                    deaths -= 1
                elif chosen != current and current >= 0 and not actors[current].is_over:
                    left -= 1
                current = chosen
                done.append((chosen, dies))
                actors[chosen].go_on()
                known = self._look(world, actors, known, done)
                choices = self._choices(world, actors, current, left, deaths)
        finally:
            for actor in actors:
                actor.end()
        self.explored.schedules += 1
        self.explored.steps += len(done)
        return branches

    def _choices(
        self, world: World, actors: list[Running], current: int, left: int, deaths: int
    ) -> list[Decision]:
        """What may come next; first what needs neither preemption nor death."""
        ready = [a.number for a in actors if not a.is_over and not a.is_dead]
        if not ready or self._was_here(world, actors, current, left, deaths):
            return []
        if current not in ready:
            return [(number, False) for number in ready]
        others = [number for number in ready if number != current]
        kinds = [False] * (left > 0) + [True] * (deaths > 0)
        return [(current, False), *((number, dies) for number in others for dies in kinds)]

    def _was_here(
        self, world: World, actors: list[Running], current: int, left: int, deaths: int
    ) -> bool:
        key = (world.digest, current, *((a.seen, a.next, a.is_dead) for a in actors))
        budgets = self.visited.setdefault(key, [])
        if any(left <= a and deaths <= b for a, b in budgets):
            return True
        if not budgets:
            self.explored.states += 1
        budgets.append((left, deaths))
        return False

    def _look(
        self, world: World, actors: list[Running], known: Any, done: list[tuple[int, bool]]
    ) -> Any:
        for actor in actors:
            if actor.is_over:
                result = actor.result
                kind = type(result).__name__ if isinstance(result, Exception) else "done"
                self.explored.outcomes.add(f"{actor.number} {kind}")
        results = tuple(actor.result if actor.is_over else None for actor in actors)
        try:
            return world.look(results, known)
        except AssertionError as error:
            raise ViolationError(
                f"{error}\nafter the schedule {done}\nresults {results}\nobjects:\n  {world}"
            ) from error


def _run_again(actors: list[Running], done: Sequence[Decision]) -> int:
    """Run decisions anew. Gives the actor that was the last to go on, -1 for none."""
    for number, same in groupby(done, key=itemgetter(0)):
        actors[number].go_on(len([*same]))
    for (before, _), (_, dies) in pairwise(done):
        actors[before].is_dead |= dies
    return done[-1][0] if done else -1


def explore(
    dataset: Dataset, actors: Sequence[Actor], check: Check, *, preemptions: int, deaths: int
) -> Explored:
    """Go through all schedules of some actors, beginning with what a dataset holds.

    Raises:
        ViolationError: the check failed in some state; the message has the schedule.
    """
    objects = {entry.name: dataset.store.read(entry.name) for entry in dataset.store.walk()}
    return explore_world(
        lambda: InMemory(objects, dataset.card, actors, check),
        len(actors),
        preemptions=preemptions,
        deaths=deaths,
    )


def explore_world(
    begin: Callable[[], World], num_actors: int, *, preemptions: int, deaths: int
) -> Explored:
    """Go through all schedules of some actors, beginning with a new world each time.

    Raises:
        ViolationError: the look failed in some state; the message has the schedule.
    """
    return _Explorer(begin, num_actors, preemptions, deaths).explore()
