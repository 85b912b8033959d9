"""What a shard has to hold, and the check that a tar holds exactly that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.index_rows import IndexColumns
from factory.dataset.kinds import matches, parse_label
from factory.dataset.tar import DamagedShardError, PackedSample, sha256, unpack
from factory.images.png import UndecodableError, check_png
from schemas.base import FormatError


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
