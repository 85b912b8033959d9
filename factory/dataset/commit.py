"""The commit protocol: exactly one committed version of every planned shard.

Any number of workers may build one shard at once, and any of them may die at any moment:

1. the tar is built and read back, and the rejected inputs are recorded;
2. the tar is published under its final name, exclusively;
3. its index is published, exclusively: that is the commit.

A worker that finds a published tar without an index (its writer is not done yet, or died) checks
that tar in full and commits it; the tar that this worker built is dropped. So the index always
describes the published tar.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import pyarrow as pa

from factory.dataset.dataset import (
    Dataset,
    index_name,
    rejects_name,
    tar_name,
)
from factory.dataset.index_rows import IndexColumns
from factory.dataset.kinds import matches, parse_label, repeated_columns
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    pack,
    sha256,
    unpack,
)
from factory.images.png import UndecodableError, check_png
from factory.store.parquet import parquet_bytes
from schemas.base import FormatError
from schemas.dataset import Reject
from schemas.index import REJECT_SCHEMA, ShardFacts, with_facts
from schemas.version import WRITER

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expected:
    """What a shard has to hold, known before it is built."""

    shard: int
    split: str
    keys: tuple[str, ...]
    """keys of every planned input, in order"""
    may_reject: bool
    """whether planned inputs may be missing; a refined shard must hold every key"""
    parent_sha256: str | None = None
    """sha256 of the parent shard's tar"""
    refined_from: str | None = None
    """sha256 of the synthetic shard's tar that the samples name as what they were refined from: the
    parent, or the parent's parent where samples are copied; None where it is unknown"""
    source_ids: Mapping[str, str] = field(default_factory=dict)
    """key to the id of the planned input; empty where the keys suffice, as in a refined shard"""
    supersedes: Mapping[str, str] = field(default_factory=dict)
    """key of a sample to the key of the older sample that it replaces"""

    @classmethod
    def of_rows(
        cls,
        rows: pa.Table,
        *,
        shard: int,
        split: str,
        parent_sha256: str | None,
        refined_from: str | None,
    ) -> Self:
        """A shard that holds exactly the samples of some index rows, in their order.

        Args:
            rows: with the columns `key` and `supersedes`.
        """
        keys, older_keys = rows["key"].to_pylist(), rows["supersedes"].to_pylist()
        return cls(
            shard=shard,
            split=split,
            keys=tuple(keys),
            may_reject=False,
            parent_sha256=parent_sha256,
            refined_from=refined_from,
            supersedes={key: older for key, older in zip(keys, older_keys, strict=True) if older},
        )


def commit_shard(
    dataset: Dataset,
    expected: Expected,
    samples: Sequence[PackedSample],
    rejects: Sequence[Reject] = (),
    *,
    labels_checked: bool = False,
    writer: str = WRITER,
) -> ShardFacts:
    """Publish a shard, unless another worker has published it already.

    Args:
        samples: in the order of the plan.
        rejects: one for every planned key that is not among the samples.
        labels_checked: the labels are copied from a committed shard, byte for byte, and were
            checked when that one was committed.
        writer: what made the samples, for the shard's index.

    Returns:
        The facts of the committed shard, whoever committed it.

    Raises:
        DamagedShardError: the tar that was just built does not decode, or the shard's name is held
            by a tar without an index that is not this shard.
    """
    shard, store = expected.shard, dataset.store
    if dataset.is_committed(shard):
        return dataset.facts(shard)
    tar = pack(samples)
    where = f"shard {shard} as built"
    packed = samples if labels_checked else None
    table = inspect_tar(dataset, expected, tar, where=where, packed=packed)
    _record_first_rejects(dataset, expected, table, rejects)
    try:
        store.put_new(tar_name(shard), tar)
    except FileExistsError:
        return adopt_orphan(dataset, expected, rejects, writer=writer, made=tar)
    record_rejects(dataset, expected, table, rejects)
    return _commit_index(dataset, expected, tar, table, writer)


def adopt_orphan(
    dataset: Dataset,
    expected: Expected,
    rejects: Sequence[Reject] = (),
    *,
    writer: str = WRITER,
    made: bytes | None = None,
) -> ShardFacts:
    """Commit a published tar that has no index, because its writer is not done yet or died.

    Args:
        rejects: of planned inputs that the tar may lack; those that its writer recorded need not
            be among them.
        writer: what made the samples, where it is known.
        made: the tar that `writer` made; where the published one differs, its writer is unknown.

    Raises:
        DamagedShardError: the tar is not the whole planned shard; it is left as it is.
        FileNotFoundError: there is no such tar.
    """
    shard = expected.shard
    if dataset.is_committed(shard):
        return dataset.facts(shard)
    where = f"{dataset.location}/{tar_name(shard)}"
    log.info("%s has no index; it is checked, and committed if it is the planned shard", where)
    tar = dataset.store.read(tar_name(shard))
    table = inspect_tar(dataset, expected, tar, where=where)
    record_rejects(dataset, expected, table, rejects)
    is_known = made is None or made == tar
    return _commit_index(dataset, expected, tar, table, writer if is_known else WRITER)


def inspect_tar(
    dataset: Dataset,
    expected: Expected,
    tar: bytes,
    *,
    where: str,
    packed: Sequence[PackedSample] | None = None,
) -> pa.Table:
    """Read a tar in full, check it against plan and card, and return its index rows.

    Args:
        where: the tar's name, for messages.
        packed: the samples that it has to hold to the byte, whose labels were checked before, as
            checking labels against their schema takes most of the time. None: check the labels.

    Raises:
        DamagedShardError: the tar is truncated, does not decode, or holds other samples than those
            that are planned for this dataset.
    """
    card = dataset.card
    rows = IndexColumns(dataset.sample_kind.index_schema(card.labelled))
    keys: list[str] = []
    for sample in unpack(tar, where=where):
        member = f"{where}: {sample.key}"
        try:
            shape, dtype = check_png(sample.png)
            if packed is None or not keys:  # the first one always: it may be of another kind
                record = parse_label(
                    dataset.sample_kind, sample.json, labelled=card.labelled, where=sample.key
                )
            else:
                record = _as_checked_before(sample, dataset.sample_kind.schema)
            if packed is not None and sample not in packed[len(keys) : len(keys) + 1]:
                raise DamagedShardError(f"{member} is not what was packed")
            rows.add(_row(expected, sample, record))
        except (UndecodableError, FormatError) as error:
            raise DamagedShardError(f"{member}: {error}") from error
        if not matches(shape, dtype, card.image):
            raise DamagedShardError(f"{member}: its image is {shape} {dtype}, not {card.image}")
        _check_provenance(dataset, expected, sample.key, record, member)
        keys.append(sample.key)
    if expected.may_reject:
        planned = {key: index for index, key in enumerate(expected.keys)}
        indices = [planned.get(key, -1) for key in keys]
        as_planned = -1 not in indices and indices == sorted(set(indices))
    else:
        as_planned = keys == list(expected.keys)
    if not as_planned:
        raise DamagedShardError(
            f"{where}: {len(keys)} samples that are not the {len(expected.keys)} planned keys"
        )
    try:
        return rows.table()
    except FormatError as error:
        raise DamagedShardError(f"{where}: {error}") from error


def _as_checked_before(sample: PackedSample, schema: str) -> dict[str, Any]:
    """Labels that were checked when another shard was committed, as plain values.

    Raises:
        FormatError: they are not JSON, or name another schema.
    """
    try:
        record = orjson.loads(sample.json)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != schema:
        raise FormatError(f"not a record of {schema}")
    return record


def _check_provenance(
    dataset: Dataset, expected: Expected, key: str, record: dict[str, Any], where: str
) -> None:
    """See that a sample was made of the planned input and by this dataset's configuration.

    Raises:
        DamagedShardError: it was not.
    """
    card = dataset.card
    if record["key"] != key or record["split"] != expected.split:
        raise DamagedShardError(
            f"{where}: its json names the sample {record['key']} of split {record['split']}"
        )
    source_id = record["source"]["id"]
    planned = expected.source_ids.get(key, source_id)
    if source_id != planned:
        raise DamagedShardError(f"{where}: made of the input {source_id}, planned {planned}")
    if card.refiner is None:
        if record["made"]["config"] != card.config_digest or "refined" in record:
            raise DamagedShardError(f"{where}: made by another configuration")
        return
    refined = record.get("refined") or {}
    refined_from = expected.refined_from or refined.get("parent")
    if refined != {"refiner": card.refiner.sha256, "parent": refined_from}:
        raise DamagedShardError(f"{where}: refined by another refiner or from another parent")


def _row(expected: Expected, sample: PackedSample, record: dict[str, Any]) -> dict[str, Any]:
    source = record["source"]
    return {
        **record,
        "shard": expected.shard,
        "source_name": source["name"],
        "source_id": source["id"],
        "source_image_sha256": source["image_sha256"],
        "source_label_sha256": source["label_sha256"],
        "supersedes": expected.supersedes.get(sample.key),
        "extra": orjson.dumps(record["extra"]).decode(),
        "png_sha256": sha256(sample.png),
        "png_offset": sample.png_offset,
        "png_length": len(sample.png),
        "json_offset": sample.json_offset,
        "json_length": len(sample.json),
    }


def record_rejects(
    dataset: Dataset, expected: Expected, table: pa.Table, rejects: Sequence[Reject]
) -> None:
    """See that `rejected/` names exactly the planned inputs that the published tar lacks.

    A file that does so already is left as it is, so that a late worker changes nothing.

    Args:
        table: index rows of the tar.

    Raises:
        DamagedShardError: inputs are neither in the tar nor rejected.
    """
    if not expected.may_reject:
        return
    missing = _missing(expected, table)
    try:
        recorded = dataset.rejects(expected.shard).to_pylist()
        if sorted(row["key"] for row in recorded) == sorted(missing):
            return
    except (FileNotFoundError, FormatError):  # removed or damaged since its writer recorded it
        recorded = []
    known = {row["key"]: row for row in recorded} | {r.key: r.model_dump() for r in rejects}
    unknown = missing - known.keys()
    if unknown:
        raise DamagedShardError(
            f"shard {expected.shard}: {len(unknown)} planned inputs are neither in its tar nor "
            f"rejected, the first is {min(unknown)}"
        )
    rows = [known[key] for key in expected.keys if key in missing]
    dataset.store.put(rejects_name(expected.shard), _rejects_bytes(rows))


def _record_first_rejects(
    dataset: Dataset, expected: Expected, table: pa.Table, rejects: Sequence[Reject]
) -> None:
    """Record why inputs are missing before a tar that lacks them is published.

    A record of another worker is left as it is, since it is not decided yet whose tar will be
    published.
    """
    if not expected.may_reject:
        return
    reasons = {reject.key: reject.model_dump() for reject in rejects}
    missing = _missing(expected, table)
    if missing != reasons.keys():
        raise DamagedShardError(
            f"shard {expected.shard}: {len(missing)} of {len(expected.keys)} planned inputs are "
            f"not in its tar, and {len(reasons)} were rejected"
        )
    rows = [reasons[key] for key in expected.keys if key in missing]
    with suppress(FileExistsError):
        dataset.store.put_new(rejects_name(expected.shard), _rejects_bytes(rows))


def _missing(expected: Expected, table: pa.Table) -> set[str]:
    return set(expected.keys) - set(table["key"].to_pylist())


def _rejects_bytes(rows: list[dict[str, Any]]) -> bytes:
    return parquet_bytes(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA))


def _commit_index(
    dataset: Dataset, expected: Expected, tar: bytes, table: pa.Table, writer: str
) -> ShardFacts:
    shard, store, card = expected.shard, dataset.store, dataset.card
    num_filtered = 0
    if expected.may_reject:
        num_filtered = dataset.rejects(shard)["kind"].to_pylist().count("filtered")
    facts = ShardFacts(
        shard=shard,
        split=expected.split,
        tar_sha256=sha256(tar),
        tar_size=len(tar),
        num_samples=len(table),
        num_planned=len(expected.keys),
        num_rejected=len(expected.keys) - len(table) - num_filtered,
        num_filtered=num_filtered,
        parent_sha256=expected.parent_sha256,
        refiner=card.refiner.sha256 if card.refiner is not None else None,
        config_digest=card.config_digest,
        writer=writer,
    )
    try:
        store.put_new(
            index_name(shard),
            parquet_bytes(with_facts(table, facts), repeated_columns(dataset.sample_kind)),
        )
    except FileExistsError:
        log.info("shard %d was committed by another worker", shard)
    if store.size(tar_name(shard)) != len(tar):
        raise DamagedShardError(
            f"{dataset.location}/{tar_name(shard)} is not the tar that was indexed; it "
            "was replaced meanwhile; mend it with jobs/describe.py --repair"
        )
    return dataset.facts(shard)
