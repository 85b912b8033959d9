"""The chain of a dataset's parents, and which of its shards its parent no longer matches."""

from collections.abc import Iterator, Mapping
from typing import Literal

from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from schemas.base import Model
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts

Reach = Literal["this", "there", "not there", "another dataset"]


class Ancestor(Model):
    """One dataset of the chain."""

    location: str
    reach: Reach
    """`not there`: no dataset could be read at its location; it may have moved"""
    card: str
    """digest of its card, as its child recorded it"""
    name: str | None = None
    kind: str | None = None
    config_digest: str | None = None
    made_by: str | None = None
    """the refiner's sha256, the source's name, or the report whose verdicts chose its samples; None
    where the card could not be read"""


class OtherParentError(ValueError):
    """The location of the parent holds another dataset."""


def lineage_of(dataset: Dataset) -> tuple[Ancestor, ...]:
    """The dataset itself, its parent, its parent's parent, as far as they can be read."""
    return tuple(_chain(dataset))


def _chain(dataset: Dataset) -> Iterator[Ancestor]:
    card = dataset.card
    yield _known(card, dataset.location, "this")
    while card.parent is not None:
        location, expected = card.parent.location, card.parent.card
        try:
            parent = Dataset.open(location).card
        except (OSError, ValueError):
            yield Ancestor(location=location, reach="not there", card=expected)
            return
        if parent.digest() != expected:
            yield Ancestor(location=location, reach="another dataset", card=expected)
            return
        card = parent
        yield _known(card, location, "there")


def _known(card: DatasetCard, location: str, reach: Reach) -> Ancestor:
    source = card.config.get("source")
    made_by = f"source {source}" if source is not None else None
    if card.refiner is not None:
        made_by = f"refiner {card.refiner.sha256}"
    if card.kept is not None:
        made_by = f"the verdicts of report {card.kept.report}"
    return Ancestor(
        location=location,
        reach=reach,
        card=card.digest(),
        name=card.name,
        kind=card.kind,
        config_digest=card.config_digest,
        made_by=made_by,
    )


def open_parent(dataset: Dataset, location: str | None = None) -> Dataset | None:
    """The parent of a refined dataset; None for one that has none.

    Args:
        location: where the parent lies now; None for the location that the card names.

    Raises:
        OtherParentError: the dataset at the location is not the parent.
        FileNotFoundError: there is no dataset at the location.
    """
    ref = dataset.card.parent
    if ref is None:
        return None
    parent = Dataset.open(location if location is not None else ref.location)
    if parent.card.digest() != ref.card:
        raise OtherParentError(
            f"{parent.location} is not the parent of {dataset.location}; name the location of "
            "the parent with --parent"
        )
    return parent


class StaleShardsError(ValueError):
    """Shards were refined from a version of their parent shard that no longer exists."""


def stale_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Numbers of the child's shards whose parent shard has changed since, or is gone."""
    return stale_among(known_facts(parent), known_facts(child))


def stale_among(parent: Mapping[int, ShardFacts], child: Mapping[int, ShardFacts]) -> list[int]:
    """As `stale_shards`, of the facts of all shards of both."""
    current = {shard: facts.tar_sha256 for shard, facts in parent.items()}
    return [shard for shard, f in child.items() if f.parent_sha256 != current.get(shard)]
