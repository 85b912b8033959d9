"""A dataset on disk: its card, its plans, and the shards that are committed in it.

The layout is fixed (docs/dataset.md). A shard exists if and only if its index file exists, so
shards are found by listing `index/`, never `shards/`.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.kinds import kind_named
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    sha256,
    unpack,
)
from factory.images.png import Pixels, decode_png
from factory.store.base import READERS, Store
from factory.store.open import open_store
from factory.store.parquet import parsing_parquet
from schemas.base import differences_of
from schemas.dataset import DatasetCard, ShardPlan
from schemas.index import REJECT_SCHEMA, ShardFacts, facts_of
from schemas.kinds import SampleKind

CARD = "dataset.json"
FOOTER_GUESS = 1 << 15
"""bytes at the end of an index that usually hold all of its metadata"""


class CardMismatchError(ValueError):
    """The output already holds a dataset made with another configuration."""


def tar_name(shard: int) -> str:
    """Name of the tar with a shard's images and labels."""
    return f"shards/{shard:06d}.tar"


def index_name(shard: int) -> str:
    """Name of a shard's index, which is its commit record."""
    return f"index/{shard:06d}.parquet"


def rejects_name(shard: int) -> str:
    """Name of the record of a shard's inputs that did not become samples."""
    return f"rejected/{shard:06d}.parquet"


def plan_name(shard: int) -> str:
    """Name of a shard's plan, which lists its inputs."""
    return f"plan/{shard:06d}.json"


def key_of(shard: int, index: int) -> str:
    """The key of a sample: its shard and its position in the plan."""
    return f"{shard:06d}-{index:06d}"


def require_same_card(location: str | Path, card: DatasetCard) -> None:
    """Refuse a configuration with which a dataset cannot be gone on with, before any work.

    Raises:
        CardMismatchError: there is a dataset at the location, made with another configuration; the
            message says what differs.
    """
    with suppress(FileNotFoundError):  # the first run makes the dataset
        Dataset.open(location).require_card(card)


class Dataset:
    """One dataset. It is cheap to make and to send to a worker, as it reads only when asked."""

    def __init__(self, store: Store, card: DatasetCard):
        self.store = store
        self.card = card

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """The dataset at a location.

        Raises:
            FileNotFoundError: there is no dataset.
            FormatError: this version cannot read its card.
        """
        store = open_store(location)
        try:
            raw = store.read(CARD)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"{location} is not a dataset: it has no {CARD}. Make one with jobs/ingest.py"
            ) from error
        return cls(store, DatasetCard.from_json(raw, where=f"{location}/{CARD}"))

    @classmethod
    def enter(cls, location: str | Path, card: DatasetCard) -> Self:
        """The dataset at a location, made with this card if there is none yet.

        Raises:
            CardMismatchError: the location holds a dataset of another configuration; the message
                says what differs.
        """
        store = open_store(location)
        try:
            store.put_new(CARD, card.to_json())
        except FileExistsError:
            existing = cls.open(location)
            existing.require_card(card)
            return existing
        return cls(store, card)

    def require_card(self, card: DatasetCard) -> None:
        """Raise `CardMismatchError` unless this dataset was made with this card."""
        if self.card.digest() != card.digest():
            differences = "\n  ".join(differences_of(self.card.identity(), card.identity()))
            raise CardMismatchError(
                f"{self.location} was made with another configuration (existing -> requested):"
                f"\n  {differences}\nUse the existing one, or choose another output."
            )

    @cached_property
    def sample_kind(self) -> SampleKind:
        """The kind of its samples. Raises `FormatError` where this version does not know it."""
        return kind_named(self.card.domain)

    @property
    def location(self) -> str:
        """Absolute path or S3 URL of this dataset."""
        return self.store.location

    def committed(self) -> list[int]:
        """Numbers of the shards that exist, in order."""
        return self._numbers("index", "parquet")

    def require_splits(self, *splits: str) -> None:
        """Raise `ValueError` unless this dataset has all of these splits."""
        missing = [split for split in splits if split not in self.card.splits]
        if missing:
            raise ValueError(
                f"{self.location} has no split {', '.join(missing)}, only "
                f"{', '.join(self.card.splits)}; name one of these, or ingest again with "
                f"--splits train=0.8 {missing[-1]}=0.2"
            )

    def committed_in(self, split: str) -> list[int]:
        """Numbers of the shards of one split, in order.

        Raises:
            ValueError: this dataset has no such split.
        """
        self.require_splits(split)
        if len(self.card.splits) == 1:
            return self.committed()
        facts = self.all_facts(self.committed())
        return [fact.shard for fact in facts if fact.split == split]

    def is_committed(self, shard: int) -> bool:
        """Whether a shard exists."""
        return self.store.size(index_name(shard)) is not None

    def planned(self) -> list[int]:
        """Numbers of the shards that have a plan, in order."""
        return self._numbers("plan", "json")

    def plan(self, shard: int) -> ShardPlan:
        """The plan of a shard. Raises `FileNotFoundError` where it has none."""
        name = plan_name(shard)
        return ShardPlan.from_json(self.store.read(name), where=f"{self.location}/{name}")

    def index(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """The index rows of a committed shard.

        Args:
            columns: None for all.

        Raises:
            FileNotFoundError: the shard is not committed.
            DamagedParquetError: its index is not a Parquet file.
        """
        raw = self.store.read(index_name(shard))
        with parsing_parquet(f"{self.location}/{index_name(shard)}"):
            return pq.read_table(pa.BufferReader(raw), columns=columns)

    def facts(self, shard: int) -> ShardFacts:
        """What a committed shard's index says of the shard as a whole.

        Raises:
            FileNotFoundError: the shard is not committed.
            FormatError: its index cannot be read.
        """
        return facts_of(
            self._metadata(shard).metadata, where=f"{self.location}/{index_name(shard)}"
        )

    def all_facts(self, shards: Iterable[int]) -> list[ShardFacts]:
        """The facts of several committed shards, in the given order, read many at a time."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self.facts, shards))

    def supersedes_none(self, shard: int) -> bool:
        """Whether no sample of a committed shard supersedes an older one."""
        groups = self._metadata(shard)
        for group in map(groups.row_group, range(groups.num_row_groups)):
            columns = map(group.column, range(group.num_columns))
            (column,) = (column for column in columns if column.path_in_schema == "supersedes")
            known = column.statistics
            if known is None or known.null_count != group.num_rows:
                return False
        return True

    def _metadata(self, shard: int) -> Any:
        footer = self.footer(index_name(shard))
        with parsing_parquet(f"{self.location}/{index_name(shard)}"):
            return pq.read_metadata(pa.BufferReader(footer))

    def footer(self, name: str) -> bytes:
        """The end of a Parquet file with its metadata, which says how many rows the file has."""
        tail = self.store.read_tail(name, FOOTER_GUESS)
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if needed > len(tail) == FOOTER_GUESS:
            tail = self.store.read_tail(name, needed)
        return tail

    def rejects(self, shard: int) -> pa.Table:
        """Inputs of a shard that did not become samples, with the columns of `REJECT_SCHEMA`.

        Columns that older writers did not write are null.
        """
        raw = self.store.read(rejects_name(shard))
        with parsing_parquet(f"{self.location}/{rejects_name(shard)}"):
            rows = pq.read_table(pa.BufferReader(raw))
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), rows], promote_options="default")

    def tar(self, shard: int) -> bytes:
        """The tar of a committed shard, checked against the digest in its index.

        Raises:
            DamagedShardError: the tar is not the one that was committed, or is missing.
        """
        where = f"{self.location}/{tar_name(shard)}"
        facts = self.facts(shard)
        try:
            content = self.store.read(tar_name(shard))
        except FileNotFoundError as error:
            raise DamagedShardError(
                f"{where} is committed and missing; mend it with jobs/describe.py --repair"
            ) from error
        digest = sha256(content)
        if digest != facts.tar_sha256:
            raise DamagedShardError(
                f"{where} is damaged: sha256 {digest[:12]}…, its index says "
                f"{facts.tar_sha256[:12]}…; {len(content)} bytes, expected {facts.tar_size}; "
                "mend it with jobs/describe.py --repair"
            )
        return content

    def samples(self, shard: int) -> Iterator[PackedSample]:
        """The samples of a committed shard, in order. Raises `DamagedShardError`."""
        return unpack(self.tar(shard), where=f"{self.location}/{tar_name(shard)}")

    def images(self, shard: int) -> Pixels:
        """The images of a committed shard in the order of its index, (n, height, width[, 3])."""
        pictures = [decode_png(sample.png) for sample in self.samples(shard)]
        return np.asarray(np.stack(pictures)) if pictures else self.no_images()

    def image(self, key: str) -> Pixels:
        """One image, (height, width[, 3]), of which only its own bytes are read from the tar.

        Raises:
            KeyError: there is no such sample.
        """
        shard = int(key.split("-")[0])
        index = self.index(shard, ["key", "png_offset", "png_length"])
        rows = [row for row in index.to_pylist() if row["key"] == key]
        if not rows:
            raise KeyError(f"{self.location} has no sample {key}")
        offset, length = rows[0]["png_offset"], rows[0]["png_length"]
        return decode_png(self.store.read_range(tar_name(shard), offset, length))

    def no_images(self) -> Pixels:
        """No images of this dataset's layout: (0, height, width[, 3]) uint8 or uint16."""
        spec = self.card.image
        shape = (0, spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
        return np.zeros(shape, np.uint8) if spec.bits == 8 else np.zeros(shape, np.uint16)

    def numbered(self, folder: str, suffix: str) -> list[tuple[int, int]]:
        """(shard, bytes) of every file of a folder that is named after a shard, in order."""
        pattern = re.compile(rf"{folder}/(\d{{6,}})\.{suffix}")
        matches = (
            (pattern.fullmatch(entry.name), entry.size) for entry in self.store.entries(folder)
        )
        return sorted((int(match[1]), size) for match, size in matches if match is not None)

    def _numbers(self, folder: str, suffix: str) -> list[int]:
        return [shard for shard, _ in self.numbered(folder, suffix)]
