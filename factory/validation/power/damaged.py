"""Damaged versions of a clean refined dataset, measured as the clean one was.

Measurements are stored under `damaged/` of the output, so a stopped run goes on where it was.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.loading import superseded_keys, without_keys
from factory.store.open import open_store
from factory.store.parquet import parquet_bytes, read_parquet
from factory.validation.pairs import parent_images
from factory.validation.power.damages import Damage, Damages, Measure
from factory.validation.power.table import DamageMeasures
from factory.validation.protocols import Witnesses
from schemas.base import digest_of

HARMED = "is_harmed"
"""column of a stored file that says which samples a damage changes by as much as it should"""


@dataclass(frozen=True)
class DamageMeasurer:
    """Damages every sample of some shards in one way and measures them."""

    refined: Dataset
    parent: Dataset
    shards: tuple[int, ...]
    witnesses: Witnesses
    damages: Damages
    output: str
    """where the measurements are stored"""
    seed: int

    def __call__(self, damage: Damage) -> DamageMeasures:
        """Shard by shard, as validation measures; or what an earlier run has stored.

        Samples that others of the shards supersede are left out, as `read_measures` leaves them
        out of the clean ones.
        """
        store, name = open_store(self.output), self._name(damage)
        if store.size(name) is None:
            measure = self.damages.measurer(self.witnesses)
            tables = [self._measured(damage, shard, measure) for shard in self.shards]
            store.put(name, parquet_bytes(pa.concat_tables(tables)))
        rows, _ = read_parquet(store, name)
        rows = without_keys(rows, superseded_keys(self.refined, self.shards))
        harmed = np.asarray(rows[HARMED].to_numpy(zero_copy_only=False), bool)
        measures = self.witnesses.with_derived(rows.drop_columns([HARMED]))
        return DamageMeasures(damage, measures, harmed)

    def _measured(self, damage: Damage, shard: int, measure: Measure) -> pa.Table:
        labels = self.refined.index(shard).replace_schema_metadata()
        parent = parent_images(self.parent, labels["key"].to_pylist())
        rng = np.random.default_rng([self.seed, shard])
        damaged = self.damages.damaged(damage, labels, parent, self.refined.images(shard), rng)
        rows = labels.take(pa.array(damaged.label_rows_N))
        measures = measure(rows, parent, damaged.refined_NHW)
        # A sample with swapped labels still belongs to the half of the samples that its own
        # identity is in.
        for column in ("key", "identity"):
            position = measures.schema.get_field_index(column)
            field = measures.schema.field(position)
            measures = measures.set_column(position, field, labels[column])
        return measures.append_column(HARMED, pa.array(damaged.is_harmed_N))

    def _name(self, damage: Damage) -> str:
        content = {
            "damage": damage.name,
            "witnesses": self.witnesses.digest(),
            "shards": [facts.tar_sha256 for facts in self.refined.all_facts(self.shards)],
            "seed": self.seed,
        }
        return f"damaged/{damage.name.replace(' ', '-')}-{digest_of(content)[:12]}.parquet"
