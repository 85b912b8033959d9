"""What there is to see at the places that were given: datasets and training runs, each under a name
of its own in the addresses of the page."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from factory.dataset.dataset import CARD, Dataset
from factory.dataset.lineage import open_parent
from factory.release.state import release_at
from factory.store.base import Store
from factory.store.open import is_remote, open_store, real_place
from factory.training.metrics_log import METRICS_NAME
from schemas.options import OptionError
from schemas.training import RUN_NAME

DEEPEST = 3
"""folders below a given one in which datasets and trainings are looked for"""
MOST_FOLDERS = 2000
"""folders that are looked into, so that a place which holds other things does not take minutes"""
LOOKED_AGAIN_S = 2.0
"""seconds after which a place is looked at again"""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
Kind = Literal["dataset", "training"]


@dataclass(frozen=True)
class Item:
    """A dataset or a training run."""

    name: str
    """in addresses; letters, digits and `._-`"""
    kind: Kind
    location: str
    """absolute path or S3 URL"""
    shown: str
    """what people call it: the path below the place that was given"""
    given: bool = True
    """whether it lies at a place that was given; otherwise it is a parent of one that does"""


class Places:
    """The catalogue, which is made anew every few seconds. Threads may share it."""

    def __init__(self, places: Sequence[str]):
        """
        Args:
            places: folders or S3 URLs: a dataset, a release of it, a training run, or a folder of
                these.
        """
        self.places = tuple(places)
        self._lock = threading.Lock()
        self._items: dict[str, Item] = {}
        self._problems: dict[str, str] = {}
        self._looked = float("-inf")

    def check(self) -> None:
        """Look at every place once.

        Raises:
            OptionError: there is no place, or nothing to see at one of them.
        """
        if not self.places:
            raise OptionError("name the folder of a dataset or training run, or a folder of these")
        for place in self.places:
            if not any(True for _ in _seen_at(place)):
                raise OptionError(
                    f"{place} holds no dataset, release or training run; name the folder of one, "
                    "or a folder of these"
                )

    def all(self) -> dict[str, Item]:
        """Everything by its name, in order of the given places and of their folders."""
        with self._lock:
            if time.monotonic() - self._looked > LOOKED_AGAIN_S:
                self._items, self._problems = _named(self.places)
                self._looked = time.monotonic()
            return self._items

    def problems(self) -> dict[str, str]:
        """Why a given place cannot be looked at, by the place; empty where all can."""
        self.all()
        return self._problems

    def get(self, name: str, kind: Kind) -> Item | None:
        """What has a name, if it is of a kind."""
        item = self.all().get(name)
        return item if item is not None and item.kind == kind else None

    def at(self, location: str) -> Item | None:
        """What lies at a location; None where that is nothing of the catalogue."""
        wanted = _real(location)
        return next((f for f in self.all().values() if _real(f.location) == wanted), None)


def _named(places: Sequence[str]) -> tuple[dict[str, Item], dict[str, str]]:
    """What is found by its name, and why places cannot be looked at."""
    items: dict[str, Item] = {}
    seen: set[str] = set()
    queue, problems = [], {}
    for place in places:
        try:
            queue += [(kind, at, shown, True) for kind, at, shown in _seen_at(place)]
        except OSError as error:
            problems[place] = str(error)
    while queue:
        kind, location, shown, given = queue.pop(0)
        real = _real(location)
        if real in seen:
            continue
        seen.add(real)
        name = _NOT_IN_NAMES.sub("-", shown).strip("-.") or "place"
        if name in items:
            name = f"{name}-{hashlib.sha256(real.encode()).hexdigest()[:6]}"
        items[name] = Item(name, kind, location, shown, given)
        if kind == "dataset":
            queue += [("dataset", at, at, False) for at in _parent_of(location)]
    return items, problems


def _parent_of(location: str) -> Iterator[str]:
    """Where the parent of a dataset lies, if a dataset lies there that is its parent."""
    try:
        parent = open_parent(Dataset.open(location))
        if parent is not None:
            yield parent.location
    except (OSError, ValueError):  # the page of the dataset says what cannot be reached
        return


def _seen_at(place: str) -> Iterator[tuple[Kind, str, str]]:
    """(kind, location, name for people) of everything at a place."""
    location = open_store(place).location
    released = release_at(location)
    top = released[0] if released is not None else location
    budget = [MOST_FOLDERS]
    base = top.rstrip("/").rpartition("/")[2]
    yield from _below(top, base, DEEPEST, budget)


def _below(
    location: str, shown: str, depth: int, budget: list[int]
) -> Iterator[tuple[Kind, str, str]]:
    budget[0] -= 1
    if budget[0] < 0:
        return
    store = open_store(location)
    kind = _kind_of(store)
    if kind is not None:
        yield kind, store.location, shown
        return
    if depth == 0:
        return
    for folder in _folders(store):
        if not folder.startswith("."):
            yield from _below(f"{location}/{folder}", f"{shown}/{folder}", depth - 1, budget)


def _folders(store: Store) -> list[str]:
    try:
        return store.folders("")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _kind_of(store: Store) -> Kind | None:
    try:
        if store.size(CARD) is not None:
            return "dataset"
        if store.size(RUN_NAME) is not None or store.size(METRICS_NAME) is not None:
            return "training"
    except (NotADirectoryError, PermissionError):
        return None
    return None


def _real(location: str) -> str:
    return location if is_remote(location) else real_place(location)
