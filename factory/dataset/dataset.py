"""A dataset on disk: its card, its plans, and the shards that are committed in it.

The layout is fixed (docs/dataset.md). A shard exists if and only if its index file exists, so
everything here lists `index/`, never `shards/`.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
"""bytes that hold the metadata of an index in one read"""


class CardMismatchError(ValueError):
    """The output already holds a dataset made with another configuration."""


def tar_name(shard: int) -> str:
    """Where a shard's images and labels lie."""
    return f"shards/{shard:06d}.tar"


def index_name(shard: int) -> str:
    """Where a shard's commit record lies."""
    return f"index/{shard:06d}.parquet"


def rejects_name(shard: int) -> str:
    """Where the inputs that did not become samples are recorded."""
    return f"rejected/{shard:06d}.parquet"


def plan_name(shard: int) -> str:
    """Where a shard's inputs are laid down."""
    return f"plan/{shard:06d}.json"


def key_of(shard: int, index: int) -> str:
    """The key of a sample: its shard and its position in the plan."""
    return f"{shard:06d}-{index:06d}"


class Dataset:
    """One dataset. Cheap to make and to send to a worker; reads when asked."""

    def __init__(self, store: Store, card: DatasetCard):
        self.store = store
        self.card = card

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """The dataset at a location.

        Raises:
            FileNotFoundError: there is none.
            FormatError: its card is not readable by this version.
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
            CardMismatchError: there is one, of another configuration; says what differs.
        """
        store = open_store(location)
        try:
            store.put_new(CARD, card.to_json())
        except FileExistsError:
            there = cls.open(location).card
            if there.digest() != card.digest():
                differences = "\n  ".join(differences_of(there.identity(), card.identity()))
                raise CardMismatchError(
                    f"{location} was made with another configuration. What is there, and what "
                    f"was asked for:\n  {differences}\nUse the first, or choose another output."
                ) from None
            card = there
        return cls(store, card)

    @cached_property
    def sample_kind(self) -> SampleKind:
        """What its samples are; raises `FormatError` where this version does not know them."""
        return kind_named(self.card.domain)

    @property
    def location(self) -> str:
        """Where this dataset lies."""
        return self.store.location

    def committed(self) -> list[int]:
        """Numbers of the shards that exist, in order."""
        return self._numbers("index", "parquet")

    def require_splits(self, *splits: str) -> None:
        """Raises ValueError where this dataset has not got all of these splits."""
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
        """What a shard will hold. Raises `FileNotFoundError`."""
        name = plan_name(shard)
        return ShardPlan.from_json(self.store.read(name), where=f"{self.location}/{name}")

    def index(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of a committed shard. Raises `DamagedParquetError`."""
        raw = self.store.read(index_name(shard))
        with parsing_parquet(f"{self.location}/{index_name(shard)}"):
            return pq.read_table(pa.BufferReader(raw), columns=columns)

    def facts(self, shard: int) -> ShardFacts:
        """What a committed shard's index says of it as a whole."""
        return facts_of(
            self._metadata(shard).metadata, where=f"{self.location}/{index_name(shard)}"
        )

    def all_facts(self, shards: Iterable[int]) -> list[ShardFacts]:
        """The facts of several committed shards, in the given order, many requests at a time."""
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
        """The end of a Parquet file with its metadata: all that counting shards has to read."""
        tail = self.store.read_tail(name, FOOTER_GUESS)
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if needed > len(tail) == FOOTER_GUESS:
            tail = self.store.read_tail(name, needed)
        return tail

    def rejects(self, shard: int) -> pa.Table:
        """Inputs of a shard that did not become samples; null where an older writer knew less."""
        raw = self.store.read(rejects_name(shard))
        with parsing_parquet(f"{self.location}/{rejects_name(shard)}"):
            rows = pq.read_table(pa.BufferReader(raw))
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), rows], promote_options="default")

    def tar(self, shard: int) -> bytes:
        """A committed shard's bytes, checked against the digest in its index.

        Raises:
            DamagedShardError: they are not what was committed.
        """
        where = f"{self.location}/{tar_name(shard)}"
        facts = self.facts(shard)
        try:
            content = self.store.read(tar_name(shard))
        except FileNotFoundError as error:
            raise DamagedShardError(f"{where} is committed and missing") from error
        found = sha256(content)
        if found != facts.tar_sha256:
            raise DamagedShardError(
                f"{where} is damaged: sha256 {found[:12]}…, its index says "
                f"{facts.tar_sha256[:12]}…; {len(content)} bytes, expected {facts.tar_size}"
            )
        return content

    def samples(self, shard: int) -> Iterator[PackedSample]:
        """The samples of a committed shard, in order."""
        return unpack(self.tar(shard), where=f"{self.location}/{tar_name(shard)}")

    def images(self, shard: int) -> Pixels:
        """(n, height, width[, 3]) of a committed shard, in the order of its index."""
        pictures = [decode_png(sample.png) for sample in self.samples(shard)]
        return np.asarray(np.stack(pictures)) if pictures else self.no_images()

    def image(self, key: str) -> Pixels:
        """One image, by a ranged read at the place that its index names.

        Raises:
            KeyError: no such sample.
        """
        shard = int(key.split("-")[0])
        index = self.index(shard, ["key", "png_offset", "png_length"])
        rows = [row for row in index.to_pylist() if row["key"] == key]
        if not rows:
            raise KeyError(f"{self.location} has no sample {key}")
        place = rows[0]["png_offset"], rows[0]["png_length"]
        return decode_png(self.store.read_range(tar_name(shard), *place))

    def no_images(self) -> Pixels:
        """An empty array of this dataset's image layout."""
        spec = self.card.image
        shape = (0, spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
        return np.zeros(shape, np.uint8) if spec.bits == 8 else np.zeros(shape, np.uint16)

    def numbered(self, folder: str, suffix: str) -> list[tuple[int, int]]:
        """(shard, bytes) of every file of a folder that bears a shard's name, in order."""
        pattern = re.compile(rf"{folder}/(\d{{6,}})\.{suffix}")
        found = (
            (pattern.fullmatch(entry.name), entry.size) for entry in self.store.entries(folder)
        )
        return sorted((int(match[1]), size) for match, size in found if match is not None)

    def _numbers(self, folder: str, suffix: str) -> list[int]:
        return [shard for shard, _ in self.numbered(folder, suffix)]
