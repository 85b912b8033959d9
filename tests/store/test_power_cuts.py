"""What a power cut leaves of a local store, at every step of one writer with another beside it.

The steps are the calls that change names or make something durable. A name is durable once its
folder was synced after it was given, and the folder's own name is; content once its file was. The
store works on a real folder, whose calls are watched.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from factory.store import atomic
from factory.store.local import LocalStore

pytestmark = pytest.mark.slow

Put = Callable[[LocalStore, str, bytes], None]
STEPS = ("mkdir", "link", "replace", "unlink", "fsync")


class Disk:
    """What of a folder would survive a power cut, if as little as possible of it does."""

    def __init__(self, base: Path, patch: pytest.MonkeyPatch):
        self.base = base
        self.names: dict[Path, set[str]] = {base.parent: {base.name}, base: set()}
        """durable names by folder"""
        self.durable: set[int] = set()
        """inodes of files with durable content"""
        self.on_step: Callable[[], None] = lambda: None
        for name in STEPS:
            self._watch(patch, name)

    def _watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        plain = getattr(os, name)

        def watched(*given: Any, **more: Any) -> Any:
            result = plain(*given, **more)
            if name == "fsync":
                self._synced(given[0])
            self.check_content()
            self.on_step()
            return result

        patch.setattr(os, name, watched)

    def _synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            folder = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.names[folder] = {path.name for path in folder.iterdir()}
        else:
            self.durable.add(status.st_ino)

    def check_content(self) -> None:
        """Whatever is there under the name of an object would have all of its content."""
        for folder, _, files in os.walk(self.base):
            for name in files:
                path = Path(folder, name)
                if path.relative_to(self.base).parts[1] != "tmp":
                    assert path.stat().st_ino in self.durable, f"{path} could be cut off"

    def check_survives(self, path: Path) -> None:
        """A file that was published would be there."""
        assert path.stat().st_ino in self.durable
        while path != self.base:
            assert path.name in self.names.get(path.parent, ()), f"the name {path} could be lost"
            path = path.parent


@pytest.fixture
def base(tmp_path) -> Path:
    """Below which nothing is yet."""
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


@contextmanager
def own_process(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if in a process that knows nothing of what others have done."""
    with patch.context() as patched:
        patched.setattr(atomic, "_durable", set(), raising=False)
        yield


def put_new(store: LocalStore, name: str, content: bytes) -> None:
    store.put_new(name, content)


def put(store: LocalStore, name: str, content: bytes) -> None:
    store.put(name, content)


def run(base: Path, patch: pytest.MonkeyPatch, first: Put, second: Put, at: int, name: str) -> int:
    """One writer, beside which another one does all of its work after step `at`.

    Returns:
        The number of steps of the first writer.
    """
    disk, num_steps = Disk(base, patch), 0

    def beside() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps - 1 == at:
            disk.on_step = lambda: None
            with own_process(patch):
                second(LocalStore(base / "set"), name, b"second")
            disk.check_survives(base / "set" / name)
            disk.on_step = beside

    disk.on_step = beside
    with own_process(patch):
        first(LocalStore(base / "set"), "shards/a.tar", b"first")
    disk.check_survives(base / "set" / "shards" / "a.tar")
    return num_steps


@pytest.mark.parametrize("name", ["shards/b.tar", "index/b.parquet"])
@pytest.mark.parametrize("second", [put_new, put])
@pytest.mark.parametrize("first", [put_new, put])
def test_what_was_published_survives_whoever_was_at_work_beside(
    base, tmp_path, monkeypatch, first, second, name
) -> None:
    with monkeypatch.context() as patch:
        num_steps = run(base, patch, first, second, -1, name)
    assert num_steps > 8
    for at in range(num_steps):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            run(folder, patch, first, second, at, name)


@pytest.mark.parametrize("taken_out", ["factory.store.local", "factory.store.atomic"])
def test_a_folder_that_is_not_synced_is_found(base, monkeypatch, taken_out) -> None:
    monkeypatch.setattr(f"{taken_out}.sync_folder", lambda folder: None)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="could be lost"):
        run(base, patch, put_new, put_new, -1, "index/b.parquet")


def test_content_that_is_not_synced_before_its_name_is_given_is_found(base, monkeypatch) -> None:
    def unsynced(store: LocalStore, content: bytes) -> Path:
        path = store.root / "tmp" / "x"
        atomic.make_folder(path.parent)
        path.write_bytes(content)
        return path

    monkeypatch.setattr(LocalStore, "_write_temporary", unsynced)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="could be cut off"):
        run(base, patch, put_new, put_new, -1, "index/b.parquet")
