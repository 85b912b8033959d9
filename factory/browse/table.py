"""The rows of a release's index, or of the indexes of a dataset's shards, read group by group."""

import re
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.names import index_name, tar_name
from factory.dataset.shard_records import Record
from factory.reading.index import ReleaseIndex, Span
from factory.release.state import tar_of_dataset
from factory.store.base import READERS
from factory.store.parquet import read_columns
from schemas.base import FormatError
from schemas.index import ShardFacts
from schemas.release import ReleaseManifest

_KEY = re.compile(r"(\d{6,12})-\d{6,12}")


class ShardRows(NamedTuple):
    """One shard of a table."""

    shard: int
    """number in the dataset"""
    start: int
    """its first row in the table"""
    num_samples: int
    split: str
    tar: str
    """name of its tar, relative to the dataset"""


class SampleTable(ABC):
    """Rows with the columns of an index, of which none is read before it is asked for."""

    def __init__(self, dataset: Dataset, shards: Sequence[ShardRows], version: Hashable):
        """
        Args:
            dataset: in whose store the files are.
            shards: in order of their rows.
            version: differs from that of every table with other rows.
        """
        self.dataset, self.shards, self.version = dataset, tuple(shards), version
        self._starts = [shard.start for shard in self.shards]
        self._by_number = {shard.shard: shard for shard in self.shards}

    @property
    def num_samples(self) -> int:
        """Rows, as the metadata say."""
        return self.shards[-1].start + self.shards[-1].num_samples if self.shards else 0

    @property
    def splits(self) -> dict[str, int]:
        """Samples of each split."""
        counts: dict[str, int] = {}
        for shard in self.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.num_samples
        return counts

    @property
    def schema(self) -> pa.Schema:
        """The columns of the index."""
        return self.dataset.sample_kind.index_schema(self.dataset.card.labelled)

    def shards_in(self, start: int, stop: int) -> Iterator[ShardRows]:
        """The shards that hold some rows of the table, in order."""
        for shard in self.shards[bisect_right(self._starts, start) - 1 :]:
            if shard.start >= stop:
                return
            if shard.start + shard.num_samples > start:
                yield shard

    def shard_of(self, key: str) -> ShardRows | None:
        """The shard that a sample of a key is in; None where this table has no such shard."""
        named = _KEY.fullmatch(key)
        return None if named is None else self._by_number.get(int(named[1]))

    @abstractmethod
    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """The groups of rows that hold some rows of the table, in order."""

    @abstractmethod
    def read(self, span: Span, columns: list[str]) -> pa.Table:
        """Some stored columns of the rows of a group.

        Raises:
            FileNotFoundError: the file is gone.
            FormatError: it cannot be read.
        """


class DatasetTable(SampleTable):
    """The committed shards of a dataset as they were when this was made. A group is a shard,
    and its part the number of the shard."""

    def __init__(
        self,
        dataset: Dataset,
        records: Mapping[int, Record],
        facts: Mapping[int, ShardFacts],
        damaged: Sequence[str] = (),
    ):
        """
        Args:
            records: of the committed shards, as a listing shows them.
            facts: of those shards whose index can be read.
            damaged: why each of the others cannot, which names its file.
        """
        self.damaged = tuple(damaged)
        self._records = {number: records[number] for number in facts if number in records}
        self.facts = {number: facts[number] for number in self._records}
        start, shards = 0, []
        for number, of in self.facts.items():
            shards.append(ShardRows(number, start, of.num_samples, of.split, tar_name(of)))
            start += of.num_samples
        super().__init__(dataset, shards, tuple(self._records.items()))

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetTable":
        """The shards as they are now, without those whose index is damaged."""
        records = dataset.indexes()
        try:
            return cls(dataset, records, known_facts(dataset))
        except FormatError:
            return cls(dataset, records, *_whole_facts(dataset, records))

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        for shard in self.shards_in(start, stop):
            yield Span(shard.shard, 0, shard.start, shard.start + shard.num_samples)

    def read(self, span: Span, columns: list[str]) -> pa.Table:
        record = self._records[span.part]
        name = index_name(span.part, record.generation)
        rows, _ = read_columns(self.dataset.store, name, record.size, columns)
        return rows.replace_schema_metadata()


def _whole_facts(
    dataset: Dataset, records: Mapping[int, Record]
) -> tuple[dict[int, ShardFacts], list[str]]:
    """The facts of the shards whose index can be read, and why the other ones cannot."""

    def read(shard: int) -> ShardFacts | str:
        try:
            return dataset.facts_in(shard, records[shard].generation)
        except FormatError as error:
            return str(error)

    with ThreadPoolExecutor(READERS) as pool:
        facts_or_why = dict(zip(records, pool.map(read, records), strict=True))
    facts = {shard: of for shard, of in facts_or_why.items() if isinstance(of, ShardFacts)}
    return facts, [why for why in facts_or_why.values() if isinstance(why, str)]


class ReleaseTable(SampleTable):
    """The rows of a release, as its manifest names them. A group is a group of rows of its index.
    Threads may share it."""

    def __init__(self, dataset: Dataset, manifest: ReleaseManifest):
        start, shards = 0, []
        for shard in manifest.shards:
            own = f"releases/{manifest.release}/{shard.url}"
            tar = tar_of_dataset(shard) or own
            shards.append(ShardRows(shard.shard, start, shard.num_samples, shard.split, tar))
            start += shard.num_samples
        super().__init__(dataset, shards, (manifest.release, manifest.report))
        self._index = ReleaseIndex(dataset.store, manifest, range(len(manifest.shards)), num_kept=0)
        self._lock = threading.Lock()

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        with self._lock:
            return iter(list(self._index.spans(start, stop)))

    def read(self, span: Span, columns: list[str]) -> pa.Table:
        with self._lock:
            return self._index.read(span, columns).replace_schema_metadata()
