"""Stores and sources that fail, forget or count what they are asked for."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from factory.dataset.dataset import Dataset
from factory.sources.base import BadRender
from factory.sources.scan import Container, FileFacts, ScanItem, Seen, batch_of
from factory.store.base import Entry, Store
from factory.store.local import LocalStore


class HookedStore:
    """Any store, with a hook called before and after everything it publishes."""

    def __init__(self, store: Store, hook: Callable[[str, str], None]):
        self.store, self.hook = store, hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put_new(self, name: str, content: bytes) -> None:
        self.hook("before", name)
        self.store.put_new(name, content)
        self.hook("after", name)

    def put(self, name: str, content: bytes, **options: Any) -> None:
        self.hook("before", name)
        self.store.put(name, content, **options)
        self.hook("after", name)


def kill_at(when: str, prefix: str) -> Callable[[str, str], None]:
    """A hook that kills this process with SIGKILL at one moment."""

    def hook(moment: str, name: str) -> None:
        if moment == when and name.startswith(prefix):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def hooked(dataset: Dataset, hook: Callable[[str, str], None]) -> Dataset:
    """The same dataset through a hooked store."""
    return Dataset(HookedStore(dataset.store, hook), dataset.card)


class ForgetfulStore(LocalStore):
    """A folder listing that misses names, as one may that is read while files appear."""

    def __init__(self, root: Path, missed: Iterable[str]):
        super().__init__(root)
        self.missed = set(missed)

    def entries(self, prefix: str) -> Iterator[Entry]:
        return (entry for entry in super().entries(prefix) if entry.name not in self.missed)


@dataclass
class FakeSource:
    """A source of inputs that exist by name only; `content` is what they hold."""

    content: dict[str, str] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    mtimes_ns: dict[str, int] = field(default_factory=dict)
    name = "unityeyes"
    labelled = True
    location = "fake"

    etags: dict[str, str] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    """by the part of an id before its first slash"""
    opened: list[str] = field(default_factory=list)
    """containers that scans opened"""
    hashed: list[str] = field(default_factory=list)
    """ids whose content was asked for"""

    def scan(self, seen: Seen) -> Iterator[ScanItem]:
        for container in self.containers.values():
            known = seen.get(container.name)
            if known is not None and container.is_unchanged(known):
                yield replace(container, num_inputs=known.num_inputs)
                continue
            self.opened.append(container.name)
            yield container
        opened = set(self.opened)
        for id, content in self.content.items():
            name = id.split("/")[0]
            container = name if name in self.containers else None
            if container is None or container in opened:
                facts = self.mtimes_ns.get(id, 0), self.etags.get(id)
                yield batch_of([id], FileFacts(id, len(content), *facts), container)

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        assert set(suffixes) <= set(self.content)

    def identity(self, source_id: str) -> str | None:
        if self.identities.get(source_id) == "unreadable":
            raise BadRender(source_id, "unreadable")
        return self.identities.get(source_id)

    def digests(self, source_id: str) -> tuple[str, str | None]:
        self.hashed.append(source_id)
        return self.content[source_id], None
