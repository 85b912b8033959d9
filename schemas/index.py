"""The Arrow schema of a shard's index, which is the record of its generation, and what withdraws a
generation."""

from collections.abc import Mapping
from typing import Annotated

import pyarrow as pa
from pydantic import Field, StringConstraints

from schemas.base import FORMAT_VERSION, FormatError, Model, Sha256, Split, Versioned

METADATA_KEY = b"simgan_factory"


VECTOR = pa.list_(pa.float32(), 3)
"""the Arrow type of three float32"""


_BEFORE_LABELS = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("shard", pa.int32(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("identity", pa.string()),
    pa.field("source_name", pa.string(), nullable=False),
    pa.field("source_id", pa.string(), nullable=False),
    pa.field("source_image_sha256", pa.string(), nullable=False),
    pa.field("source_label_sha256", pa.string()),
    pa.field("supersedes", pa.string()),
)
_AFTER_LABELS = (
    pa.field("crop_affine", pa.list_(VECTOR, 2)),
    pa.field("extra", pa.string(), nullable=False),
    pa.field("png_sha256", pa.string(), nullable=False),
    pa.field("png_offset", pa.int64(), nullable=False),
    pa.field("png_length", pa.int64(), nullable=False),
    pa.field("json_offset", pa.int64(), nullable=False),
    pa.field("json_length", pa.int64(), nullable=False),
)


REPEATED_COLUMNS = ("split", "identity", "source_name")
"""envelope columns that hold few different values, which Parquet stores as a dictionary"""


def index_schema(labels: tuple[pa.Field, ...]) -> pa.Schema:
    """The columns of an index: envelope, labels of the domain, offsets and digests of members."""
    return pa.schema([*_BEFORE_LABELS, *labels, *_AFTER_LABELS])


class ShardFacts(Model):
    """What an index says of its shard as a whole, in the Parquet metadata."""

    format_version: int = FORMAT_VERSION
    shard: int = Field(ge=0)
    generation: int = Field(default=1, ge=1)
    split: Split
    tar: str | None = None
    """name of the tar; None in format 1, where the shard's number gives it"""
    rejects: str | None = None
    """name of the record of rejected inputs; None where no input can be, and in format 1"""
    tar_sha256: Sha256
    tar_size: int = Field(ge=0)
    """bytes"""
    num_samples: int = Field(ge=0)
    num_planned: int = Field(ge=0)
    num_rejected: int = Field(ge=0)
    num_filtered: int = Field(ge=0)
    parent_sha256: Sha256 | None
    """of the parent shard's tar; null for ingested shards"""
    refiner: Sha256 | None
    config_digest: Sha256
    writer: str
    """the program, and in brackets the engine that refined the images, where it is known"""


class Withdrawal(Versioned):
    """The record of a generation that takes a shard out of its dataset, in place of an index."""

    format_version: int = FORMAT_VERSION
    shard: int = Field(ge=0)
    generation: int = Field(ge=1)
    why: Annotated[str, StringConstraints(max_length=300)]

    def to_json(self) -> bytes:
        """As in the base class; at most `MAX_WITHDRAWAL_BYTES`."""
        raw = super().to_json()
        assert len(raw) <= MAX_WITHDRAWAL_BYTES
        return raw


MAX_WITHDRAWAL_BYTES = 2048
"""no index is so small, as its schema alone takes more; so a listing tells which records to read"""


def with_facts(table: pa.Table, facts: ShardFacts) -> pa.Table:
    """The same table, carrying the facts in its Parquet metadata."""
    return table.replace_schema_metadata({METADATA_KEY: facts.model_dump_json().encode()})


def facts_of(metadata: Mapping[bytes, bytes] | None, *, where: str) -> ShardFacts:
    """The facts in an index file's metadata.

    Raises:
        FormatError: the metadata has no facts, or they are of a newer format.
    """
    raw = (metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise FormatError(f"{where}: not an index file of simgan-factory (no shard facts)")
    return ShardFacts.from_json(raw, where=where)


REJECT_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string()),
        pa.field("label_sha256", pa.string()),
    ]
)
