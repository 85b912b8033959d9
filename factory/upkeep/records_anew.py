"""Make the record of a shard again whose tar is whole: its index, or its rejected inputs.

Either way the shard gets a new generation that names the tar which is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from factory.dataset.commit import counted, facts_of_tar, next_generation, put_record, rejects_bytes
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected, inspect_tar
from factory.dataset.names import (
    new_attempt,
    new_rejects_name,
    rejects_name,
    tar_name,
    version_of,
)
from factory.dataset.tar import DamagedShardError
from schemas.base import FormatError
from schemas.dataset import Reject
from schemas.index import ShardFacts
from schemas.version import WRITER


class Files(NamedTuple):
    """A whole tar of a shard, and what it lacks."""

    tar: str
    """its name"""
    content: bytes
    rows: pa.Table
    """of its index"""
    rejects: str | None
    """name of the record of the inputs that it lacks"""
    rejected: tuple[Reject, ...]


def whole_files(dataset: Dataset, expected: Expected, generation: int) -> Files | None:
    """The tar of a generation whose index cannot be read, if it can be told which one it was.

    That is the newest whole tar of the shard with a record of exactly the inputs that it lacks. A
    tar that was not committed may look the same; where two of one generation differ, none is taken.
    """
    candidates = list(_candidates(dataset, expected, generation))
    if not candidates:
        return None
    newest = max(_generation(files.tar) for files in candidates)
    of_newest = [files for files in candidates if _generation(files.tar) == newest]
    is_clear = len({files.content for files in of_newest}) == 1
    return of_newest[0] if is_clear else None


def publish_index(dataset: Dataset, expected: Expected, generation: int) -> bool:
    """Make the index of a shard again, from its tar.

    Args:
        generation: whose index is damaged.

    Returns:
        Whether the shard has the new index; False if it has changed, or its tar is not whole.
    """
    try:
        facts = dataset.facts_in(expected.shard, generation)
    except FormatError:
        files, writer = whole_files(dataset, expected, generation), WRITER
    else:
        files, writer = _files_of(dataset, expected, facts), facts.writer
    if files is None:
        return False
    made = facts_of_tar(dataset, expected, files.content, files.rows, writer=writer).model_copy(
        update={
            "generation": generation + 1,
            "tar": files.tar,
            "rejects": files.rejects,
            **counted(files.rejected),
        }
    )
    return put_record(dataset, files.rows, made)


def publish_rejects(
    dataset: Dataset, shard: int, generation: int, rejects: Iterable[Reject]
) -> bool:
    """Make the record of the rejected inputs of a shard again.

    Args:
        generation: whose record is lost.
        rejects: every planned input that its tar lacks.

    Returns:
        Whether the shard has the new record; False if it has changed.
    """
    rejected = list(rejects)
    rows, facts = dataset.index_and_facts(shard)
    if facts.generation != generation:
        return False
    facts = next_generation(facts).model_copy(update=counted(rejected))
    name = new_rejects_name(facts, new_attempt())
    dataset.store.put_new(name, rejects_bytes([reject.key for reject in rejected], rejected))
    return put_record(dataset, rows, facts.model_copy(update={"rejects": name}))


def _files_of(dataset: Dataset, expected: Expected, facts: ShardFacts) -> Files | None:
    """The files that an index names whose rows are wrong."""
    records = [rejects_name(facts)] if expected.may_reject else []
    return _whole(dataset, expected, tar_name(facts), records)


def _candidates(dataset: Dataset, expected: Expected, generation: int) -> Iterator[Files]:
    """Whole tars that may be the one of a generation."""
    tars, records = (
        [
            entry.name
            for entry in dataset.store.entries(folder)
            if (version := version_of(entry.name)) is not None
            and version.shard == expected.shard
            and version.generation <= generation
        ]
        for folder in ("shards", "rejected")
    )
    for tar in tars:
        files = _whole(dataset, expected, tar, sorted(records, key=_generation, reverse=True))
        if files is not None:
            yield files


def _generation(name: str) -> int:
    version = version_of(name)
    assert version is not None, name
    return version.generation


def _whole(dataset: Dataset, expected: Expected, tar: str, records: Sequence[str]) -> Files | None:
    """A tar with the first of some records that names exactly what it lacks; None if it is not
    whole or there is no such record."""
    try:
        content = dataset.store.read(tar)
        rows = inspect_tar(dataset, expected, content, where=tar)
    except (FileNotFoundError, DamagedShardError):
        return None
    if not expected.may_reject:
        return Files(tar, content, rows, None, ())
    missing = set(expected.keys) - set(rows["key"].to_pylist())
    for name in records:
        try:
            recorded = [Reject(**row) for row in dataset.rejects_in(name).to_pylist()]
        except (FileNotFoundError, ValueError):  # ValueError: it is damaged
            continue
        if sorted(reject.key for reject in recorded) == sorted(missing):
            return Files(tar, content, rows, name, tuple(recorded))
    return None
