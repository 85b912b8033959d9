"""Datasets that were made from a dataset, as they registered themselves in it.

A child registers before it reads a shard of its parent, so whoever removes or replaces shards of
the parent can ask which children there are.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator

from factory.dataset.dataset import Dataset
from schemas.base import FormatError
from schemas.dataset import ChildRef

log = logging.getLogger(__name__)


class UnreachableChildError(ValueError):
    """A registered child could not be opened."""


def register_child(parent: Dataset, child: Dataset) -> None:
    """Note in a parent where a child of it is.

    A parent that cannot be written to stays as it is, and a warning says so.
    """
    name = _child_name(child)
    if parent.store.size(name) is not None:
        return
    ref = ChildRef(location=child.location, card=child.card.digest())
    try:
        parent.store.put(name, ref.to_json())
    except OSError as error:
        log.warning(
            "%s does not know of its child %s (%s): give --children when you repair it or remove "
            "leftovers from it",
            parent.location,
            child.location,
            error,
        )


def forget_child(parent: Dataset, child: Dataset) -> None:
    """Remove the note of a child that holds no shard any more, so that nothing looks for it."""
    parent.store.delete(_child_name(child))


def _child_name(child: Dataset) -> str:
    return f"children/{hashlib.sha256(child.location.encode()).hexdigest()[:16]}.json"


def registered_children(dataset: Dataset) -> Iterator[str]:
    """Locations of the children that registered themselves.

    Raises:
        FormatError: an entry cannot be read.
    """
    for entry in dataset.store.entries("children"):
        where = f"{dataset.location}/{entry.name}"
        yield ChildRef.from_json(dataset.store.read(entry.name), where=where).location


def open_children(
    dataset: Dataset, locations: Iterable[str], *, may_be_out_of_reach: bool
) -> list[Dataset]:
    """The registered children of a dataset, and those at other locations.

    Args:
        locations: of children that are not registered, or were moved.
        may_be_out_of_reach: leave out registered children that cannot be opened, with a warning.

    Raises:
        UnreachableChildError: a registered child cannot be opened, or is another dataset now.
        FileNotFoundError: there is no dataset at one of `locations`.
    """
    children = {child.location: child for child in map(Dataset.open, locations)}
    for location in registered_children(dataset):
        if location in children:
            continue
        try:
            child = Dataset.open(location)
            if child.card.parent is None or child.card.parent.card != dataset.card.digest():
                raise FormatError(f"{location} is another dataset now")
        except (OSError, FormatError) as error:
            message = (
                f"{location}, which was made from {dataset.location}, is out of reach: {error}"
            )
            if not may_be_out_of_reach:
                raise UnreachableChildError(
                    f"{message}. If it was moved, give its place with --children; if it is gone "
                    "for good, or does not matter, add --ignore-unreachable"
                ) from error
            log.warning("%s", message)
            continue
        children[child.location] = child
    return list(children.values())
