"""Writers of a local store that are paused or killed between any two calls of the file system.

The store works on a real folder. Each call that opens a file or changes a name is a step before
which every other actor may run, or this one may die: see `support.exploration`.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.store import atomic, local
from factory.store.local import LocalStore
from support.exploration import ViolationError, Work, attempt, current, explore_world

pytestmark = pytest.mark.slow
CALLS = ("mkdir", "link", "replace", "unlink", "scandir")
NAME = "shards/a.tar"
ONE, OTHER = b"one content", b"another content"
Actor = Callable[[LocalStore], Any]


def one(store: LocalStore) -> bytes:
    store.put_new(NAME, ONE)
    return ONE


def other(store: LocalStore) -> bytes:
    store.put_new(NAME, OTHER)
    return OTHER


def replacing(store: LocalStore) -> None:
    store.put(NAME, ONE)


def replacing_too(store: LocalStore) -> None:
    store.put(NAME, OTHER)


def removing(store: LocalStore) -> None:
    """Remove temporary files, however young they are."""
    for entry in list(store.walk("tmp")):
        store.delete(entry.name)


class Folder:
    """A folder, those who work in it, and whether an object may be replaced."""

    def __init__(self, root: Path, actors: tuple[Actor, ...]):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        self.root, self.actors = root, actors
        self.may_change = replacing in actors

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.root.rglob("*")):
            yield str(path.relative_to(self.root)), b"" if path.is_dir() else path.read_bytes()

    @property
    def digest(self) -> int:
        return hash(tuple(self._files()))

    def work(self, number: int) -> Work:
        return lambda running: self.actors[number](LocalStore(self.root))

    def look(self, results: tuple[Any, ...], before: Any) -> bytes | None:
        """An object is whole, stays what it is, and is what the writer that made it says."""
        path = self.root / NAME
        content = path.read_bytes() if path.exists() else None
        assert content in (None, ONE, OTHER), f"half an object: {content!r}"
        assert content == before or before is None or self.may_change, "an object was changed"
        assert content is not None or before is None, "an object disappeared"
        for result in results:
            if isinstance(result, bytes):
                assert content == result, "a writer said that it was done"
            elif isinstance(result, Exception):
                assert isinstance(result, FileExistsError), result
                assert content is not None, "the name was said to be taken"
        return content

    def __str__(self) -> str:
        return "\n  ".join(name for name, _ in self._files())


class _Hex:
    """Stands for a random number that is the same on each run of a schedule."""

    @property
    def hex(self) -> str:
        return attempt()


@pytest.fixture
def watched(monkeypatch) -> None:
    """Calls of the file system by an actor are steps of it."""

    def watch(module: Any, name: str) -> None:
        plain = getattr(module, name)

        def call(*given: Any, **more: Any) -> Any:
            running = current()
            if running is None:
                return plain(*given, **more)
            running.step(f"{name} {given} {more}")
            try:
                result = plain(*given, **more)
            except OSError as error:
                running.saw(error.errno)
                raise
            running.saw(result if isinstance(result, int | None) else None)
            return result

        monkeypatch.setattr(module, name, call)

    for name in CALLS:
        watch(os, name)
    watch(io, "open")
    monkeypatch.setattr(local.uuid, "uuid4", _Hex)
    monkeypatch.setattr(atomic, "_durable", _Nothing())


class _Nothing(set[Path]):
    """What a process knows that has just begun: each actor stands for one."""

    def add(self, folder: Path) -> None:
        """Is forgotten at once."""


ACTORS: dict[str, tuple[Actor, ...]] = {
    "two writers": (one, other),
    "writer, removal": (one, removing),
    "two who replace": (replacing, replacing_too),
    "who replaces, removal": (replacing, removing),
}


def explored(folder: Path, name: str, preemptions: int) -> None:
    actors = ACTORS[name]
    explored = explore_world(
        lambda: Folder(folder, actors), len(actors), preemptions=preemptions, deaths=1
    )
    print(f"{name}: {explored}")
    assert {f"{number} done" for number in range(len(actors))} <= explored.outcomes


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("name", ACTORS)
def test_whoever_is_paused_or_killed_an_object_is_whole_or_not_there(name, tmp_path) -> None:
    explored(tmp_path / "set", name, preemptions=1)


@pytest.mark.long
@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("name", ACTORS)
def test_so_it_is_with_more_pauses(name, tmp_path) -> None:
    explored(tmp_path / "set", name, preemptions=2)


def _written_in_place(temporary: Path, target: Path) -> None:
    atomic.make_folder(target.parent)
    if target.exists():
        raise FileExistsError(target)
    with target.open("wb"):
        pass
    temporary.replace(target)


@pytest.mark.usefixtures("watched")
def test_a_name_that_is_given_before_its_content_is_found(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(local, "_publish", _written_in_place)
    with pytest.raises(ViolationError, match="half an object"):
        explored(tmp_path / "set", "two writers", preemptions=0)
