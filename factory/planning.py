"""What a shard will hold is decided before it is built, and never changes.

A plan is put exclusively under the next free number. A run plans only inputs that no plan names,
and after a lost race reads the plans again; so two overlapping runs never put different inputs
under one number, or one input under two.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from factory.dataset import Dataset, key_of, plan_name
from factory.sources.base import BadRender, Source
from schemas.dataset import InputFacts, PlannedInput, ShardPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """The newest planned version of an input."""

    facts: PlannedInput
    shard: int
    key: str


def plan_new_shards(dataset: Dataset, source: Source, listing: Sequence[InputFacts]) -> int:
    """Plan every input of a listing that is new, or whose content changed.

    Returns:
        How many inputs were planned now.
    """
    plans: dict[int, ShardPlan] = {}
    num_planned = 0
    while True:
        # Every number up to the newest: a listing made while plans appear may miss some.
        for shard in range(max(dataset.planned(), default=-1) + 1):
            if shard not in plans:
                plans[shard] = dataset.plan(shard)
        new = _new_inputs(dataset, source, listing, plans)
        wanted = list(_shards_of(dataset, source, new))
        lost = False
        number = max(plans, default=-1) + 1
        for split, inputs in wanted:
            plan = ShardPlan(shard=number, split=split, source=source.name, inputs=tuple(inputs))
            try:
                dataset.store.put_new(plan_name(number), plan.to_json())
            except FileExistsError:
                log.info("plan %d was taken by another run; reading the plans again", number)
                lost = True
                break
            num_planned += len(inputs)
            number += 1
        if not lost:
            return num_planned


def _new_inputs(
    dataset: Dataset,
    source: Source,
    listing: Iterable[InputFacts],
    plans: Mapping[int, ShardPlan],
) -> list[PlannedInput]:
    known: dict[str, _Known] = {}
    for shard, plan in sorted(plans.items()):
        for index, planned in enumerate(plan.inputs):
            known[planned.id] = _Known(planned, shard, key_of(shard, index))
    committed = set(dataset.committed())
    digests: dict[int, dict[str, tuple[str, str | None]]] = {}
    new = []
    for facts in listing:
        old = known.get(facts.id)
        if old is None:
            new.append(PlannedInput(**facts.model_dump()))
            continue
        same = (old.facts.size, old.facts.mtime_ns) == (facts.size, facts.mtime_ns)
        if same or old.shard not in committed:  # an unbuilt shard will read what is there
            continue
        if old.shard not in digests:
            digests[old.shard] = _committed_digests(dataset, old.shard)
        if _digests_now(source, facts.id) != digests[old.shard].get(old.key):
            became_sample = old.key in digests[old.shard]
            supersedes = old.key if became_sample else old.facts.supersedes
            new.append(PlannedInput(**facts.model_dump(), supersedes=supersedes))
    return new


def _committed_digests(dataset: Dataset, shard: int) -> dict[str, tuple[str, str | None]]:
    columns = ["key", "source_image_sha256", "source_label_sha256"]
    rows = dataset.index(shard, columns).to_pylist()
    return {row[columns[0]]: (row[columns[1]], row[columns[2]]) for row in rows}


def _digests_now(source: Source, source_id: str) -> tuple[str, str | None] | None:
    try:
        return source.digests(source_id)
    except BadRender:
        return None


def _shards_of(
    dataset: Dataset, source: Source, inputs: Sequence[PlannedInput]
) -> Iterable[tuple[str, list[PlannedInput]]]:
    """Inputs cut into shards of one split each, in the order of the listing."""
    by_split: dict[str, list[PlannedInput]] = {split: [] for split in dataset.card.splits}
    for planned in inputs:
        split, planned = _assign(dataset, source, planned)
        by_split[split].append(planned)
    size = dataset.card.shard_size
    for split, members in by_split.items():
        for start in range(0, len(members), size):
            yield split, members[start : start + size]


def _assign(dataset: Dataset, source: Source, planned: PlannedInput) -> tuple[str, PlannedInput]:
    """All inputs of one identity fall in one split, by a hash and the shares in the card."""
    splits = dataset.card.splits
    if len(splits) == 1:
        return next(iter(splits)), planned
    try:
        identity = source.identity(planned.id)
    except BadRender:  # it will be rejected when its shard is built; any split will do
        identity = None
    planned = planned.model_copy(update={"identity": identity})
    return split_of(identity or planned.id, splits), planned


def split_of(identity: str, splits: Mapping[str, float]) -> str:
    """The split of an identity: a hash to [0, 1), cut at the shares of the splits in order."""
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:7]) / 2**56
    reached = 0.0
    for split, share in splits.items():
        reached += share
        if place < reached:
            return split
    return split


def parse_splits(texts: Sequence[str]) -> dict[str, float]:
    """`["train=0.9", "test=0.1"]` as shares.

    Raises:
        ValueError: not of that form, one name twice, or shares that do not sum to 1.
    """
    splits: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            value = float(share)
        except ValueError as error:
            raise ValueError(f"a split is given as name=share, found {text!r}") from error
        if name in splits:
            raise ValueError(f"split {name!r} is given twice")
        splits[name] = value
    if abs(sum(splits.values()) - 1) > 1e-6 or min(splits.values()) <= 0:
        raise ValueError(f"shares of splits must be positive and sum to 1, are {splits}")
    return splits
