"""Committed shards whose tar is gone, found by names alone, so that every run can look."""

from factory.dataset.dataset import Dataset
from factory.dataset.names import Version, tar_name, version_of


def lost_tars(dataset: Dataset) -> list[str]:
    """A line for each committed shard without its tar, which says what mends it.

    Names of tars and of records are listed side by side. Only a shard that has no tar of its
    highest generation is looked at by itself, since a generation may name a tar that is older.
    """
    tars = {version_of(entry.name) for entry in dataset.store.entries("shards")}
    lines = []
    for shard, record in dataset.indexes().items():
        if Version(shard, record.generation) in tars:
            continue
        name = tar_name(dataset.facts(shard))
        if dataset.store.size(name) is None:
            lines.append(
                f"{dataset.location}/{name} is committed and missing; mend it with python "
                f"jobs/repair.py --input {dataset.location} --apply"
            )
    return lines
