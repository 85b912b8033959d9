"""Damaged versions of a clean refined dataset, measured like the clean one, kept to go on from."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.domains.eye.damage.kinds import Damage, damaged
from factory.domains.eye.damage.pairs import Pairs
from factory.domains.eye.measures import (
    EyeMeasurer,
    EyeWitnesses,
    Seen,
    with_derived,
)
from factory.images.png import grey
from factory.store.open import open_store
from factory.store.parquet import parquet_bytes, parsing_parquet
from factory.validation.power.table import DamageFound
from schemas.base import digest_of

LEAST_SWAP_DEG = 10.0
"""between the gazes of two samples whose labels are swapped; nearer ones are hardly wrong"""
HARMED = "is_harmed"


@dataclass(frozen=True)
class DamageMeasurer:
    """Plants one damage in every sample of some shards and measures what it did."""

    refined: Dataset
    parent: Dataset
    shards: tuple[int, ...]
    witnesses: EyeWitnesses
    output: str
    """where the measurements are kept"""
    seed: int

    def __call__(self, damage: Damage) -> DamageFound:
        """Shard by shard, as validation measures; or what an earlier run left."""
        store, name = open_store(self.output), self._name(damage)
        if store.size(name) is None:
            measurer = _measurer(self.witnesses)
            tables = [self._measured(damage, shard, measurer) for shard in self.shards]
            store.put(name, parquet_bytes(pa.concat_tables(tables)))
        with parsing_parquet(f"{store.location}/{name}"):
            rows = pq.read_table(pa.BufferReader(store.read(name)))
        harmed = np.asarray(rows[HARMED].to_numpy(zero_copy_only=False), bool)
        return DamageFound(damage, with_derived(rows.drop_columns([HARMED])), harmed)

    def _measured(self, damage: Damage, shard: int, measure: EyeMeasurer) -> pa.Table:
        labels = self.refined.index(shard).replace_schema_metadata()
        parent, refined = grey(self.parent.images(shard)), grey(self.refined.images(shard))
        rng = np.random.default_rng([self.seed, shard])
        found = damaged(damage, Pairs(parent, refined, labels), rng)
        rows = labels.take(pa.array(found.label_rows_N))
        seen = None
        if damage.kind != "labels_swapped":  # the labels say where to look
            facts = self.parent.facts(shard)
            seen = _seen(measure, facts.tar_sha256, self.refined, self.parent, shard)
        measures = measure(rows, parent, found.refined_NHW, seen)
        is_harmed = np.ones(len(labels), bool)
        if damage.kind == "labels_swapped":
            assert found.gaze_change_deg_N is not None
            is_harmed = found.gaze_change_deg_N >= LEAST_SWAP_DEG
        # Rows stay those of the clean table, whose identities say which half they are in.
        for column in ("key", "identity"):
            place = measures.schema.get_field_index(column)
            measures = measures.set_column(place, measures.schema.field(place), labels[column])
        return measures.append_column(HARMED, pa.array(is_harmed))

    def _name(self, damage: Damage) -> str:
        content = {
            "damage": damage.name,
            "witnesses": self.witnesses.digest(),
            "shards": [facts.tar_sha256 for facts in self.refined.all_facts(self.shards)],
            "seed": self.seed,
        }
        return f"damaged/{damage.name.replace(' ', '-')}-{digest_of(content)[:12]}.parquet"


@lru_cache(maxsize=1)
def _measurer(witnesses: EyeWitnesses) -> EyeMeasurer:
    """One for all damages that a worker plants."""
    return witnesses.measurer()


_SEEN: dict[tuple[str, str], Seen] = {}
"""by how it was measured and the parent shard's digest: the same for every damage"""


def _seen(
    measurer: EyeMeasurer, digest: str, refined: Dataset, parent: Dataset, shard: int
) -> Seen:
    """What is seen in the parents of a shard, looked at once in a worker."""
    key = measurer.witnesses.digest(), digest
    if key not in _SEEN:
        _SEEN[key] = measurer.seen(refined.index(shard), grey(parent.images(shard)))
    return _SEEN[key]
