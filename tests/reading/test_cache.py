"""The local cache of tars from an object store."""

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from factory.dataset.tar import sha256
from factory.reading.cache import TarCache, WrongContentError
from factory.store.local import LocalStore


class Counting(LocalStore):
    """A store that notes which objects were asked for."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.asked: list[str] = []

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.asked.append(name)
        return super().read_range(name, offset, length)


CONTENTS = {name: name.encode() * 1000 for name in "abcd"}


def fetch(cache: TarCache, store, name: str, *, check: bool = True) -> bytes | None:
    content = CONTENTS[name]
    descriptor = cache.fetched(store, name, sha256(content), len(content), check=check)
    if descriptor is None:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open
        return file.read()


def held(cache: TarCache) -> set[str]:
    digests = {sha256(content): name for name, content in CONTENTS.items()}
    return {digests[path.stem] for path in cache.folder.iterdir()}


@pytest.fixture
def store(tmp_path_factory) -> Counting:
    return filled(tmp_path_factory.mktemp("store"))


def filled(folder: Path) -> Counting:
    """A store of all contents."""
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return Counting(folder)


def test_a_file_is_fetched_once(store, tmp_path) -> None:
    cache = TarCache(tmp_path / "cache", 10_000)
    assert [fetch(cache, store, "a") for _ in range(3)] == [CONTENTS["a"]] * 3
    assert store.asked == ["a"]
    other = TarCache(tmp_path / "cache", 10_000)
    assert fetch(other, store, "a") == CONTENTS["a"] and store.asked == ["a"]
    assert {path.suffix for path in cache.folder.iterdir()} == {".tar"}, "no lock is left"


def test_what_was_used_least_recently_gives_way(store, tmp_path) -> None:
    cache = TarCache(tmp_path, 3000)
    for name in "abc":
        fetch(cache, store, name)
        os.utime(tmp_path / f"{sha256(CONTENTS[name])}.tar", (ord(name), ord(name)))
    fetch(cache, store, "a")
    fetch(cache, store, "d")
    assert held(cache) == {"a", "c", "d"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 3000


def test_a_reader_keeps_what_is_removed(store, tmp_path) -> None:
    cache = TarCache(tmp_path, 1000)
    content = CONTENTS["a"]
    descriptor = cache.fetched(store, "a", sha256(content), len(content), check=True)
    assert descriptor is not None
    fetch(cache, store, "b")
    assert held(cache) == {"b"}
    assert os.pread(descriptor, 1000, 0) == content
    os.close(descriptor)


def test_what_has_no_room_is_not_fetched(store, tmp_path) -> None:
    cache = TarCache(tmp_path, 999)
    assert fetch(cache, store, "a") is None and store.asked == []


def test_wrong_content_is_refused_and_not_kept(store, tmp_path) -> None:
    cache = TarCache(tmp_path, 10_000)
    store.put("a", b"x" * 1000)
    store.put("b", b"b" * 999)
    for name, said in (("a", "has sha256"), ("b", "has 999 bytes, released 1000")):
        with pytest.raises(WrongContentError, match=said):
            fetch(cache, store, name)
    store.delete("c")
    with pytest.raises(FileNotFoundError):
        fetch(cache, store, "c")
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def test_what_was_not_checked_is_not_taken_for_checked(store, tmp_path) -> None:
    cache = TarCache(tmp_path, 10_000)
    store.put("a", b"x" * 1000)
    assert fetch(cache, store, "a", check=False) == b"x" * 1000
    with pytest.raises(WrongContentError):
        fetch(cache, store, "a")
    store.put("a", CONTENTS["a"])
    assert fetch(cache, store, "a") == fetch(cache, store, "a", check=False) == CONTENTS["a"]


def test_a_part_that_a_dead_process_left_makes_room(store, tmp_path) -> None:
    (tmp_path / f"{sha256(CONTENTS['b'])}.part").write_bytes(bytes(900))
    (tmp_path / f"{sha256(CONTENTS['b'])}.lock").touch()
    cache = TarCache(tmp_path, 1000)
    assert fetch(cache, store, "a") == CONTENTS["a"]
    assert fetch(cache, store, "b") == CONTENTS["b"]


def test_a_part_that_is_being_fetched_keeps_its_room(store, tmp_path, monkeypatch) -> None:
    cache = TarCache(tmp_path, 1500)
    begun, go_on = threading.Event(), threading.Event()
    read = store.read_range

    def slowly(name, offset, length):
        if name == "a":
            begun.set()
            assert go_on.wait(30)
        return read(name, offset, length)

    monkeypatch.setattr(store, "read_range", slowly)
    fetched: list[bytes | None] = []
    thread = threading.Thread(target=lambda: fetched.append(fetch(cache, store, "a")))
    thread.start()
    assert begun.wait(30)
    assert fetch(cache, store, "b") is None
    go_on.set()
    thread.join()
    assert fetched == [CONTENTS["a"]] and held(cache) == {"a"}


def fetch_all(store: Counting, folder: Path, results) -> None:
    """In a process of its own: every file, several times."""
    cache = TarCache(folder, 3000)
    good = all(
        fetch(cache, store, name) in (CONTENTS[name], None) for _ in range(15) for name in "abcd"
    )
    with cache._locked("folder.lock"):  # nothing comes or goes while the files are counted
        held_bytes = sum(path.stat().st_size for path in folder.glob("*.tar"))
    results.put((good, held_bytes <= 3000))


@pytest.mark.slow
def test_several_processes_share_it(store, tmp_path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    workers = [context.Process(target=fetch_all, args=(store, tmp_path, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [results.get() for _ in workers] == [(True, True)] * 4
    assert not list(tmp_path.glob("*.part"))
