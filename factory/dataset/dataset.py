"""A dataset on disk: its card, its plans, and the shards that are committed in it.

The layout is fixed (docs/dataset.md). The record of a shard's highest generation says whether it
exists and which tar it has, so shards are found by listing `index/`, never `shards/`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.kinds import kind_named
from factory.dataset.names import plan_name, rejects_name, tar_name
from factory.dataset.shard_records import ShardRecords
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    sha256,
    unpack,
)
from factory.images.png import Pixels, decode_png
from factory.store.base import Entry, Store
from factory.store.open import open_store
from factory.store.parquet import parsing_parquet
from factory.store.stored_file import stored_sha256
from schemas.base import FORMAT_VERSION, differences_of
from schemas.dataset import DatasetCard, ShardPlan
from schemas.index import (
    REJECT_SCHEMA,
    ShardFacts,
)
from schemas.kinds import SampleKind
from schemas.options import OptionError

CARD = "dataset.json"
_PLAN = re.compile(r"plan/(\d{6,})\.json")


class CardMismatchError(ValueError):
    """The output already holds a dataset made with another configuration."""


class OldFormatError(ValueError):
    """A dataset of an earlier format was about to be changed."""


def require_same_card(location: str | Path, card: DatasetCard) -> None:
    """Refuse a configuration with which a dataset cannot be gone on with, before any work.

    Raises:
        CardMismatchError: there is a dataset at the location, made with another configuration; the
            message says what differs.
        OldFormatError: the dataset there is of an earlier format.
    """
    with suppress(FileNotFoundError):  # the first run makes the dataset
        existing = Dataset.open(location)
        existing.require_card(card)
        existing.require_current_format()


class Replaced(NamedTuple):
    """A version of a shard that a repair replaces."""

    generation: int
    tar: str | None
    """name of its tar; None where its index cannot be read"""


class Dataset(ShardRecords):
    """One dataset. It is cheap to make and to send to a worker, as it reads only when asked."""

    def __init__(self, store: Store, card: DatasetCard):
        super().__init__(store)
        self.card = card
        self.replaced: Mapping[int, Replaced] = {}
        """shards that a commit makes again, by number, and which version of them"""

    def replacing(self, versions: Mapping[int, Replaced]) -> "Dataset":
        """The same dataset, for a repair: commits replace these versions of shards."""
        dataset = Dataset(self.store, self.card)
        dataset.replaced = versions
        return dataset

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
            existing.require_current_format()
            return existing
        return cls(store, card)

    def require_current_format(self) -> None:
        """Raise `OldFormatError` unless this program may change the dataset."""
        if self.card.format_version < FORMAT_VERSION:
            raise OldFormatError(
                f"{self.location} is of format {self.card.format_version}, which is read but not "
                f"changed; upgrade it in place: python jobs/upgrade.py --input {self.location}"
            )

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

    def require_splits(self, *splits: str) -> None:
        """Raise `OptionError` unless this dataset has all of these splits."""
        missing = [split for split in splits if split not in self.card.splits]
        if missing:
            raise OptionError(
                f"{self.location} has no split {', '.join(missing)}, only "
                f"{', '.join(self.card.splits)}; name one of these, or ingest again with "
                f"--splits train=0.8 {missing[-1]}=0.2"
            )

    def committed_in(self, split: str) -> list[int]:
        """Numbers of the shards of one split, in order.

        Raises:
            OptionError: this dataset has no such split.
        """
        self.require_splits(split)
        if len(self.card.splits) == 1:
            return self.committed()
        facts = self.all_facts(self.committed())
        return [fact.shard for fact in facts if fact.split == split]

    def planned(self) -> list[int]:
        """Numbers of the shards that have a plan, in order."""
        return list(self.plan_entries())

    def plan_entries(self) -> dict[int, Entry]:
        """The plan of every shard that has one, in order of shard, as a listing shows it."""
        entries = ((_PLAN.fullmatch(entry.name), entry) for entry in self.store.entries("plan"))
        by_shard = {int(match[1]): entry for match, entry in entries if match is not None}
        return dict(sorted(by_shard.items()))

    def plan(self, shard: int) -> ShardPlan:
        """The plan of a shard. Raises `FileNotFoundError` where it has none."""
        name = plan_name(shard)
        return ShardPlan.from_json(self.store.read(name), where=f"{self.location}/{name}")

    def rejects(self, shard: int) -> pa.Table:
        """Inputs of a shard that did not become samples, with the columns of `REJECT_SCHEMA`.

        Columns that older writers did not write are null.

        Raises:
            FileNotFoundError: the shard is not committed, or has no such record.
            FormatError: its index or that record cannot be read.
        """
        return self.rejects_in(rejects_name(self.facts(shard)))

    def rejects_in(self, name: str) -> pa.Table:
        """What a record of rejected inputs says. Raises as `rejects` does."""
        raw = self.store.read(name)
        with parsing_parquet(f"{self.location}/{name}"):
            rows = pq.read_table(pa.BufferReader(raw))
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), rows], promote_options="default")

    def tar(self, shard: int, facts: ShardFacts | None = None) -> bytes:
        """The tar of a committed shard, checked against the digest in its index.

        Args:
            facts: of the generation whose tar is read; None for the highest one.

        Raises:
            DamagedShardError: the tar is not the one that was committed, or is missing.
        """
        of = self.facts(shard) if facts is None else facts
        try:
            content = self.store.read(tar_name(of))
        except FileNotFoundError as error:
            if facts is None and self.generation(shard) != of.generation:
                return self.tar(shard)  # it was replaced a moment ago
            raise self._lost(of) from error
        self._require_digest(of, sha256(content), len(content))
        return content

    def check_tar(self, facts: ShardFacts) -> None:
        """See that a tar is the one that was committed. Little of it is in memory at once.

        Raises:
            DamagedShardError: it is not, or is missing.
        """
        try:
            digest, size = stored_sha256(self.store, tar_name(facts))
        except FileNotFoundError as error:
            raise self._lost(facts) from error
        self._require_digest(facts, digest, size)

    def _lost(self, facts: ShardFacts) -> DamagedShardError:
        """What is wrong where a tar is missing."""
        where = f"{self.location}/{tar_name(facts)}"
        if self.generation(facts.shard) != facts.generation:
            return DamagedShardError(
                f"{where} was replaced and removed while it was used; run the same command again"
            )
        return DamagedShardError(f"{where} is committed and missing; mend it with jobs/repair.py")

    def _require_digest(self, facts: ShardFacts, digest: str, size: int) -> None:
        if digest != facts.tar_sha256:
            raise DamagedShardError(
                f"{self.location}/{tar_name(facts)} is damaged: sha256 {digest[:12]}…, its index "
                f"says {facts.tar_sha256[:12]}…; {size} bytes, expected {facts.tar_size}; "
                "mend it with jobs/repair.py"
            )

    def samples(self, shard: int, facts: ShardFacts | None = None) -> Iterator[PackedSample]:
        """The samples of a committed shard, in order. As `tar`."""
        of = self.facts(shard) if facts is None else facts
        return unpack(self.tar(shard, facts), where=f"{self.location}/{tar_name(of)}")

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
        index, facts = self.index_and_facts(shard, ["key", "png_offset", "png_length"])
        rows = [row for row in index.to_pylist() if row["key"] == key]
        if not rows:
            raise KeyError(f"{self.location} has no sample {key}")
        offset, length = rows[0]["png_offset"], rows[0]["png_length"]
        return decode_png(self.store.read_range(tar_name(facts), offset, length))

    def no_images(self) -> Pixels:
        """No images of this dataset's layout: (0, height, width[, 3]) uint8 or uint16."""
        spec = self.card.image
        shape = (0, spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
        return np.zeros(shape, np.uint8) if spec.bits == 8 else np.zeros(shape, np.uint16)


DatasetPlace = Dataset | str | Path
"""a dataset, or where it is: a folder or s3://bucket/prefix"""


def location_of(dataset: DatasetPlace) -> str:
    """Where a dataset is."""
    return dataset.location if isinstance(dataset, Dataset) else str(dataset)
