"""Datasets of planned inputs without pixels, for the tests of planning."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.shards import ingested_card
from factory.store.parquet import parquet_bytes
from schemas.eye.kind import EYE
from schemas.index import REJECT_SCHEMA, ShardFacts, with_facts
from support import fakes, misbehaving

OPTIONS = UnityEyesOptions()


def empty_dataset(
    folder: Path, shard_size: int = 3, splits: dict[str, float] | None = None
) -> Dataset:
    """A dataset of which only the card is there."""
    card = ingested_card(
        EYE, "x", make_source("", OPTIONS), shard_size=shard_size, splits=splits or {"train": 1}
    )
    return Dataset.enter(folder, card)


def numbered(*numbers: int) -> misbehaving.FakeSource:
    return misbehaving.FakeSource({str(number): f"content {number}" for number in numbers})


def plan(dataset: Dataset, source: misbehaving.FakeSource) -> int:
    return fakes.plan_from(dataset, source).num_new


def planned_ids(dataset: Dataset) -> dict[int, list[str]]:
    return {n: [planned.id for planned in dataset.plan(n).inputs] for n in dataset.planned()}


def plan_files(dataset: Dataset) -> dict[str, bytes]:
    return fakes.files_below(Path(dataset.location), "plan")


def check_each_is_planned_once(dataset: Dataset, ids: Iterable[str]) -> None:
    counts = Counter(id for inputs in planned_ids(dataset).values() for id in inputs)
    assert counts == Counter(list(ids))
    assert dataset.planned() == list(range(len(dataset.planned())))


DIGESTS = pa.schema(
    [(name, pa.string()) for name in ("key", "source_image_sha256", "source_label_sha256")]
)
"""of an index, all that a planner reads"""


def committed_dataset(folder: Path, source: misbehaving.FakeSource) -> Dataset:
    """A dataset with all inputs of a source planned, and committed with their content as digest."""
    dataset = empty_dataset(folder, 3)
    fakes.plan_from(dataset, source)
    commit_planned(dataset, source)
    return dataset


def commit_planned(
    dataset: Dataset, source: misbehaving.FakeSource, rejected: Sequence[str] = ()
) -> None:
    """Index files alone, as an ingest would leave them: the planner reads nothing else."""
    for shard in sorted(set(dataset.planned()) - set(dataset.committed())):
        rows, rejects = [], []
        for number, planned in enumerate(dataset.plan(shard).inputs):
            key, digest = f"{shard:06d}-{number:06d}", source.content[planned.id]
            if planned.id in rejected:
                rejects.append({"key": key, "source_id": planned.id, "kind": "reject",
                                "reason": "x", "image_sha256": digest})  # fmt: skip
            else:
                rows.append({"key": key, "source_image_sha256": digest})
        table = pa.Table.from_pylist(rows, schema=DIGESTS)
        facts = ShardFacts(
            shard=shard, split="train", tar_sha256=fakes.SHA, tar_size=0, num_samples=len(rows),
            num_planned=len(rows) + len(rejects), num_rejected=len(rejects), num_filtered=0,
            parent_sha256=None, refiner=None, config_digest=fakes.SHA, writer="test",
        )  # fmt: skip
        raw = parquet_bytes(with_facts(table, facts))
        dataset.store.put_new(f"index/{shard:06d}.parquet", raw)
        table = pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA)
        dataset.store.put_new(f"rejected/{shard:06d}.parquet", parquet_bytes(table))


SPLITS = {"train": 0.6, "test": 0.4}


def people() -> misbehaving.FakeSource:
    source = numbered(*range(1, 101))
    source.identities = {str(n): f"person {n % 10}" for n in range(1, 101)}
    return source
