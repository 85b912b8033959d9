"""A store in memory, which says before each operation what comes and after it what that gave."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from factory.store.base import Entry


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
