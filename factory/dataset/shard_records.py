"""The records of a dataset's shards: which generations there are, and what the highest one says."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.names import INDEX_PATTERN, index_name
from factory.store.base import READERS, Store
from factory.store.parquet import parsing_parquet
from schemas.base import FormatError
from schemas.index import MAX_WITHDRAWAL_BYTES, ShardFacts, Withdrawal, facts_of

FOOTER_GUESS = 1 << 15
"""bytes at the end of an index that usually hold all of its metadata"""


class Record(NamedTuple):
    """The record of a shard's highest generation, as a listing shows it."""

    generation: int
    size: int
    """bytes"""
    mtime_ns: int
    etag: str | None


class ShardRecords:
    """The records in `index/`. Nothing is kept in memory, so what is read is what is there now."""

    def __init__(self, store: Store):
        self.store = store

    @property
    def location(self) -> str:
        """Absolute path or S3 URL of the dataset."""
        return self.store.location

    def records(self) -> dict[int, Record]:
        """The record of the highest generation of every shard that has one, in order of shard."""
        highest: dict[int, Record] = {}
        for entry in self.store.entries("index"):
            match = INDEX_PATTERN.fullmatch(entry.name)
            if match is not None:
                shard, generation = int(match[1]), int(match[2] or 1)
                if shard not in highest or highest[shard].generation < generation:
                    highest[shard] = Record(generation, entry.size, entry.mtime_ns, entry.etag)
        return dict(sorted(highest.items()))

    def indexes(self) -> dict[int, Record]:
        """The index of every committed shard, in order of shard."""
        return {
            shard: record
            for shard, record in self.records().items()
            if not self._is_withdrawn(shard, record.generation, record.size)
        }

    def committed(self) -> list[int]:
        """Numbers of the shards that exist, in order."""
        return list(self.indexes())

    def _is_withdrawn(self, shard: int, generation: int, size: int) -> bool:
        """Whether a generation is a withdrawal; a record that cannot be read is none."""
        if size > MAX_WITHDRAWAL_BYTES:
            return False
        name = index_name(shard, generation)
        try:
            Withdrawal.from_json(self.store.read(name), where=f"{self.location}/{name}")
        except FormatError:
            return False
        return True

    def generation(self, shard: int) -> int:
        """The highest generation of a shard, whether it exists or was withdrawn; 0 where it has
        none."""
        generation = 0
        while self.store.size(index_name(shard, generation + 1)) is not None:
            generation += 1
        return generation

    def is_committed(self, shard: int) -> bool:
        """Whether a shard exists."""
        generation = self.generation(shard)
        size = self.store.size(index_name(shard, generation)) if generation else None
        return size is not None and not self._is_withdrawn(shard, generation, size)

    def index(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """The index rows of a committed shard.

        Args:
            columns: None for all.

        Raises:
            FileNotFoundError: the shard is not committed.
            FormatError: its index cannot be read.
        """
        return self.index_and_facts(shard, columns)[0]

    def index_and_facts(
        self, shard: int, columns: list[str] | None = None
    ) -> tuple[pa.Table, ShardFacts]:
        """The index rows of a committed shard, and what the same index says of it as a whole.

        Raises:
            FileNotFoundError: the shard is not committed.
            FormatError: its index cannot be read.
        """
        return self.index_and_facts_in(shard, self._existing(shard), columns)

    def index_and_facts_in(
        self, shard: int, generation: int, columns: list[str] | None = None
    ) -> tuple[pa.Table, ShardFacts]:
        """As `index_and_facts`, of one generation."""
        name = index_name(shard, generation)
        raw = self.store.read(name)
        self._check_not_withdrawn(raw, shard)
        with parsing_parquet(f"{self.location}/{name}"):
            file = pq.ParquetFile(pa.BufferReader(raw))
            # The table's schema repeats the metadata; the facts are in the file's.
            rows = file.read(columns).replace_schema_metadata()
        return rows, self._facts(file.metadata.metadata, shard, generation)

    def facts(self, shard: int) -> ShardFacts:
        """What a committed shard's index says of the shard as a whole.

        Raises:
            FileNotFoundError: the shard is not committed.
            FormatError: its index cannot be read.
        """
        return self.facts_in(shard, self._existing(shard))

    def facts_in(self, shard: int, generation: int) -> ShardFacts:
        """What the index of one generation says of the shard.

        Raises:
            FileNotFoundError: there is no such generation, or it is a withdrawal.
            FormatError: the index cannot be read.
        """
        return self._facts(self._metadata(shard, generation).metadata, shard, generation)

    def all_facts(self, shards: Iterable[int]) -> list[ShardFacts]:
        """The facts of several committed shards, in the given order, read many at a time."""
        numbers = list(shards)
        records = self.records() if numbers else {}
        return self.facts_of(
            numbers, [records[n].generation if n in records else 1 for n in numbers]
        )

    def facts_of(self, shards: Iterable[int], generations: Iterable[int]) -> list[ShardFacts]:
        """The facts of one generation of each of some shards. Raises as `facts_in` does."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self.facts_in, shards, generations))

    def _existing(self, shard: int) -> int:
        """The highest generation of a shard. Raises `FileNotFoundError` where it has none."""
        generation = self.generation(shard)
        if not generation:
            raise FileNotFoundError(f"{self.location}: shard {shard} is not committed")
        return generation

    def _check_not_withdrawn(self, raw: bytes, shard: int) -> None:
        # The end of a larger index may begin with any byte.
        if len(raw) <= MAX_WITHDRAWAL_BYTES and raw.startswith(b"{"):
            withdrawal = Withdrawal.from_json(raw, where=f"{self.location}: shard {shard}")
            raise FileNotFoundError(
                f"{self.location}: shard {shard} is not committed; it was withdrawn: "
                f"{withdrawal.why}"
            )

    def _facts(self, metadata: Any, shard: int, generation: int) -> ShardFacts:
        where = f"{self.location}/{index_name(shard, generation)}"
        facts = facts_of(metadata, where=where)
        if facts.generation != generation:
            raise FormatError(f"{where}: it says that it is of generation {facts.generation}")
        return facts

    def supersedes_none(self, shard: int) -> bool:
        """Whether no sample of a committed shard supersedes an older one."""
        groups = self._metadata(shard, self._existing(shard))
        for group in map(groups.row_group, range(groups.num_row_groups)):
            columns = map(group.column, range(group.num_columns))
            (column,) = (column for column in columns if column.path_in_schema == "supersedes")
            known = column.statistics
            if known is None or known.null_count != group.num_rows:
                return False
        return True

    def _metadata(self, shard: int, generation: int) -> Any:
        name = index_name(shard, generation)
        footer = self.footer(name)
        self._check_not_withdrawn(footer, shard)
        with parsing_parquet(f"{self.location}/{name}"):
            return pq.read_metadata(pa.BufferReader(footer))

    def footer(self, name: str) -> bytes:
        """The end of a Parquet file with its metadata, which says how many rows the file has."""
        tail = self.store.read_tail(name, FOOTER_GUESS)
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if needed > len(tail) == FOOTER_GUESS:
            tail = self.store.read_tail(name, needed)
        return tail
