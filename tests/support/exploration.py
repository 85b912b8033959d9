"""All interleavings of a few actors that work on one dataset, within a bound.

An actor is a function that gets a dataset and runs the code under test, unchanged. Its store stops
it before every operation until the explorer lets it go on, so between two operations any other
actor may run, for as long as it likes. The explorer goes through all schedules depth first, with at
most so many preemptions (switches away from an actor that could go on) and deaths (an actor that is
never let go on). An actor that was preempted and is let go on after others have finished is one
that was paused and revived.

A schedule is run from the beginning each time, so actors have to be deterministic. A state is what
the store holds, and for each actor what it has read and what it does next. A state that was reached
before with as many preemptions and deaths left is not gone on with.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from factory.dataset.dataset import Dataset
from factory.store.base import Entry

Actor = Callable[[Dataset], Any]
Work = Callable[["Running"], Any]
"""what an actor does; it calls `step` before each operation, and `saw` with what that gave"""


class Killed(BaseException):
    """Ends the thread of an actor when its schedule is over; it can do nothing on its way out."""


class ViolationError(AssertionError):
    """An invariant does not hold in some state."""


class Memory:
    """The objects of a store, and a digest of all of them."""

    location = "memory"

    def __init__(self, objects: Mapping[str, bytes]):
        self.objects = dict(objects)
        self.digest = 0
        for name, content in self.objects.items():
            self.digest ^= hash((name, content))

    def set(self, name: str, content: bytes | None) -> None:
        before = self.objects.pop(name, None)
        if before is not None:
            self.digest ^= hash((name, before))
        if content is not None:
            self.objects[name] = content
            self.digest ^= hash((name, content))


class MemoryStore:
    """A store in memory. `step` is called before every operation, `saw` with what it gave."""

    def __init__(
        self,
        memory: Memory,
        step: Callable[[str], None] = lambda _: None,
        saw: Callable[[Any], None] = lambda _: None,
        root: str = "",
    ):
        self.memory, self.step, self.saw, self.root = memory, step, saw, root
        self.location = f"memory/{root}".rstrip("/")

    def within(self, folder: str) -> "MemoryStore":
        """A store in a folder of this one."""
        return MemoryStore(self.memory, self.step, self.saw, f"{self.root}{folder}/")

    def _get(self, name: str) -> bytes:
        self.step(f"read {self.root}{name}")
        content = self.memory.objects.get(self.root + name)
        self.saw(content)
        if content is None:
            raise FileNotFoundError(name)
        return content

    def read(self, name: str) -> bytes:
        return self._get(name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        return self._get(name)[offset : offset + length]

    def read_tail(self, name: str, length: int) -> bytes:
        return self._get(name)[-length:]

    def size(self, name: str) -> int | None:
        self.step(f"size {self.root}{name}")
        content = self.memory.objects.get(self.root + name)
        size = None if content is None else len(content)
        self.saw(size)
        return size

    def _below(self, prefix: str) -> list[str]:
        names = (name for name in self.memory.objects if name.startswith(self.root))
        inside = (name.removeprefix(self.root) for name in names)
        return sorted(name for name in inside if name.startswith(prefix))

    def _entries(self, names: Iterable[str]) -> Iterator[Entry]:
        entries = [Entry(name, len(self.memory.objects[self.root + name]), 0) for name in names]
        self.saw(tuple((entry.name, entry.size) for entry in entries))
        return iter(entries)

    def entries(self, prefix: str) -> Iterator[Entry]:
        self.step(f"list {self.root}{prefix}")
        below = f"{prefix}/"
        return self._entries(n for n in self._below(below) if "/" not in n.removeprefix(below))

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        self.step(f"walk {self.root}{prefix}")
        return self._entries(self._below(f"{prefix}/" if prefix else ""))

    def folders(self, prefix: str) -> list[str]:
        self.step(f"folders {self.root}{prefix}")
        below = f"{prefix}/"
        rest = (name.removeprefix(below) for name in self._below(below))
        folders = sorted({name.split("/")[0] for name in rest if "/" in name})
        self.saw(tuple(folders))
        return folders

    def put_new(self, name: str, content: bytes) -> None:
        self.step(f"put_new {self.root}{name}")
        is_taken = self.root + name in self.memory.objects
        self.saw(is_taken)
        if is_taken:
            raise FileExistsError(name)
        self.memory.set(self.root + name, content)

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self.step(f"put {self.root}{name}")
        self.memory.set(self.root + name, content)

    def delete(self, name: str) -> None:
        self.step(f"delete {self.root}{name}")
        self.memory.set(self.root + name, None)


class Running:
    """An actor in a thread of its own, which waits before each operation."""

    def __init__(self, number: int, work: Work):
        self.number, self.next, self.seen = number, "begin", 0
        self.is_over, self.is_dead = False, False
        self.result: Any = None
        self.num_names = 0
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._ends = False
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
        self._waits.release()
        self._go.acquire()
        if self._ends:
            raise Killed

    def saw(self, what: Any) -> None:
        self.seen = hash((self.seen, self.next, what))

    def go_on(self) -> None:
        """Let it do its next operation, and wait until it is before another one."""
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
        pending: list[tuple[tuple[int, bool], ...]] = [()]
        while pending:
            pending.extend(self._run(pending.pop()))
        return self.explored

    def _run(self, prefix: tuple[tuple[int, bool], ...]) -> list[tuple[tuple[int, bool], ...]]:
        """Run one schedule to its end.

        A decision is (actor to go on, whether the one before dies).

        Returns:
            The schedules that begin like it and then go another way.
        """
        self.explored.schedules += 1
        world = self.begin()
        actors = [Running(number, world.work(number)) for number in range(self.num_actors)]
        done: list[tuple[int, bool]] = []
        others = []
        left, deaths, current, known = self.preemptions, self.deaths, -1, None
        try:
            while any(not a.is_over and not a.is_dead for a in actors):
                ready = [a.number for a in actors if not a.is_over and not a.is_dead]
                if len(done) < len(prefix):
                    chosen, dies = prefix[len(done)]
                else:
                    if self._was_here(world, actors, current, left, deaths):
                        break
                    options = list(self._options(ready, current, left, deaths))
                    others += [(*done, option) for option in options[1:]]
                    chosen, dies = options[0]
                if dies:
                    actors[current].is_dead = True
                    deaths -= 1
                elif current in ready and chosen != current:
                    left -= 1
                done.append((chosen, dies))
                current = chosen
                actors[chosen].go_on()
                self.explored.steps += 1
                known = self._look(world, actors, known, done)
        finally:
            for actor in actors:
                actor.end()
        return others

    def _options(
        self, ready: list[int], current: int, left: int, deaths: int
    ) -> Iterator[tuple[int, bool]]:
        """What may come next; first what needs neither preemption nor death."""
        if current in ready:
            yield current, False
        for number in ready:
            if number != current and (current not in ready or left):
                yield number, False
            if number != current and current in ready and deaths:
                yield number, True

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
