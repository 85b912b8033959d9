"""What earlier runs found settled: the same inputs need not be compared with the plans again.

What a planner does follows from the listing of the inputs, from the plans and the records of the
dataset, and from what the run was asked. If all of these are as they were when nothing was left to
do, nothing is left to do now. `cache/settled.json` has digests of them; without it, inputs are
compared one by one.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import orjson

from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.shard_records import Record
from factory.ingestion.planning import Planned
from factory.ingestion.rejects import vanished_inputs
from factory.sources.base import Source
from factory.store.open import real_place
from schemas.base import FormatError
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts
from schemas.settled import SettledLook, SettledLooks
from schemas.version import WRITER

log = logging.getLogger(__name__)
SETTLED_CACHE = "cache/settled.json"


class State(NamedTuple):
    """The plans and records of a dataset, as listings show them."""

    plans: Mapping[int, Sequence[Any]]
    records: Mapping[int, Record]

    def digest(self, asked: Sequence[Any]) -> str:
        """Of the state, and of what a run was asked."""
        records = [(shard, *record) for shard, record in sorted(self.records.items())]
        content = [asked, sorted(self.plans.items()), records]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()


def state_of(dataset: Dataset) -> State:
    """The state of a dataset now."""
    plans = {
        shard: (entry.size, entry.mtime_ns, entry.etag)
        for shard, entry in dataset.plan_entries().items()
    }
    return State(plans, dataset.records())


class Before(NamedTuple):
    """What a dataset held before a run looked at its inputs."""

    state: State
    vanished: Mapping[str, str]
    """inputs that had vanished when their shard was built, and have no newer version: id to key"""
    look: SettledLook | None
    """the last look at the same location, where it left nothing to do and the state is the same"""

    def planned(self, listing: str) -> Planned | None:
        """What a planner would say of a listing, where it is the one of the settled look."""
        if self.look is None or self.look.listing != listing:
            return None
        return Planned(num_listed=self.look.num_listed, num_held=self.look.num_held)


def asked_of(source: Source, card: DatasetCard, min_shard: int) -> list[Any]:
    """Everything but inputs and state that decides what is planned."""
    return [WRITER, source.name, card.digest(), min_shard]


def look_before(dataset: Dataset, source: Source, asked: Sequence[Any]) -> Before:
    """What a dataset holds, and whether the last look at a source's location still counts."""
    state = state_of(dataset)
    look = _read(dataset).get(real_place(source.location))
    if look is not None and look.state == state.digest(asked):
        return Before(state, look.vanished, look)
    try:
        return Before(state, vanished_inputs(dataset, known_facts(dataset, save=True)), None)
    except FormatError as error:  # a damaged index is no reason to hold up new inputs
        log.warning("the inputs that had vanished are not known: %s", error)
        return Before(state, {}, None)


def settle(
    dataset: Dataset,
    source: Source,
    asked: Sequence[Any],
    *,
    listing: str,
    planned: Planned,
    before: Before,
    made: Set[int],
    facts: Mapping[int, ShardFacts],
) -> None:
    """Remember a run that left nothing to do, unless another run may have changed something since.

    Args:
        listing: digest of the listing that the next run will see if nothing changes.
        planned: by this run.
        before: what the dataset held when this run began.
        made: shards that this run was to make.
        facts: of all committed shards, now.
    """
    state = state_of(dataset)
    is_ours = len(state.plans) == len(planned.shard_sizes) == len(facts)
    is_as_before = all(
        state.records[shard] == before.state.records.get(shard)
        for shard in state.records
        if shard not in made
    )
    vanished = before.vanished
    if made:
        vanished = vanished_inputs(dataset, {n: f for n, f in facts.items() if n in made})
        is_as_before &= not vanished and not before.vanished
    if not is_ours or not is_as_before or planned.num_left:
        return
    look = SettledLook(
        state=state.digest(asked),
        listing=listing,
        num_listed=planned.num_listed,
        num_held=planned.num_held,
        vanished=dict(vanished),
    )
    looks = _read(dataset) | {real_place(source.location): look}
    try:
        dataset.store.put(SETTLED_CACHE, SettledLooks(looks=looks).to_json(), durable=False)
    except OSError as error:  # everything that was asked for is done
        log.warning("%s is not saved; the next run compares all inputs: %s", SETTLED_CACHE, error)


def _read(dataset: Dataset) -> dict[str, SettledLook]:
    where = f"{dataset.location}/{SETTLED_CACHE}"
    try:
        return SettledLooks.from_json(dataset.store.read(SETTLED_CACHE), where=where).looks
    except FileNotFoundError:
        return {}
    except FormatError as error:
        log.warning("it is left aside: %s", error)
        return {}
