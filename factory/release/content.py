"""What a release holds: its shards, and the rows of its index, in parts of bounded size.

Of one input a release has the newest sample alone. A shard that holds an older one is written
again without it, into the folder of the release.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa

from factory.dataset.columns import with_values
from factory.dataset.dataset import Dataset
from factory.dataset.kinds import repeated_columns
from factory.dataset.loading import superseded_keys, without_keys
from factory.dataset.names import index_name, tar_name
from factory.dataset.tar import pack, sha256, unpack
from factory.store.base import READERS
from factory.store.parquet import parquet_bytes, read_columns
from schemas.index import ShardFacts
from schemas.release import IndexPart, ReleasedShard

MAX_PART_BYTES = 1 << 27
"""bytes in memory of the rows in one part of a release's index, unless a single shard has more"""
GROUP_ROWS = 1 << 14
"""rows of a part that a reader takes at once, who looks for the samples of one shard"""


class ReleaseShard(NamedTuple):
    """One shard of a release, and what it was released from."""

    released: ReleasedShard
    facts: ShardFacts
    """of the dataset's shard"""


class ReleaseContent:
    """The shards of a release. Rows and tars are read when they are asked for, few at a time."""

    def __init__(self, dataset: Dataset, facts: Sequence[ShardFacts]):
        """
        Args:
            facts: of the shards to release, in order; those without samples are left out.
        """
        self.dataset = dataset
        self._superseded = superseded_keys(dataset, [of.shard for of in facts])
        shards = (self._shard(of) for of in facts if of.num_samples)
        self.shards = [shard for shard in shards if shard is not None]

    @property
    def released(self) -> tuple[ReleasedShard, ...]:
        """What the manifest says of the shards."""
        return tuple(shard.released for shard in self.shards)

    def _shard(self, facts: ShardFacts) -> ReleaseShard | None:
        """A shard as it is released; None where newer samples supersede all of it."""
        if self._superseded is not None:
            num_newest = len(self._newest(facts))
            if not num_newest:
                return None
            if num_newest < facts.num_samples:
                return self._rewritten(facts)
        released = ReleasedShard(
            shard=facts.shard,
            url=f"../../{tar_name(facts)}",
            sha256=facts.tar_sha256,
            size=facts.tar_size,
            num_samples=facts.num_samples,
            split=facts.split,
        )
        return ReleaseShard(released, facts)

    def _rewritten(self, facts: ShardFacts) -> ReleaseShard:
        """A shard of this release alone, without the samples that newer ones supersede.

        It is written because the dataset's shards never change, and a reader that streams a tar
        does not read the index that would tell it what to skip.
        """
        tar, rows = self._without_superseded(facts)
        rewritten = ReleasedShard(
            shard=facts.shard,
            url=f"shards/{facts.shard:06d}.tar",
            rewritten_from=facts.tar_sha256,
            sha256=sha256(tar),
            size=len(tar),
            num_samples=len(rows),
            split=facts.split,
        )
        return ReleaseShard(rewritten, facts)

    def _newest(self, facts: ShardFacts) -> pa.Table:
        """The index rows of the samples of a shard that no newer one supersedes."""
        rows = self.dataset.index_and_facts_in(facts.shard, facts.generation)[0]
        return without_keys(rows, self._superseded)

    def _without_superseded(self, facts: ShardFacts) -> tuple[bytes, pa.Table]:
        """A tar of the newest samples of a shard, and their rows with their offsets in it."""
        rows = self._newest(facts)
        keys = set(rows["key"].to_pylist())
        samples = self.dataset.samples(facts.shard, facts)
        tar = pack(sample for sample in samples if sample.key in keys)
        where = f"{self.dataset.location}: shard {facts.shard} as rewritten"
        placed = list(unpack(tar, where=where))
        assert [sample.key for sample in placed] == rows["key"].to_pylist()
        for name in ("png_offset", "json_offset"):
            offsets = pa.array([getattr(sample, name) for sample in placed], pa.int64())
            rows = with_values(rows, name, offsets)
        return tar, rows

    def keys_by_shard(self) -> Iterator[tuple[int, pa.ChunkedArray]]:
        """The keys of the samples that the release holds, by shard."""
        with ThreadPoolExecutor(READERS) as pool:
            for facts, keys in zip(self._facts(), pool.map(self._keys, self._facts()), strict=True):
                newest = pa.table({"key": keys})
                yield facts.shard, without_keys(newest, self._superseded)["key"]

    def _facts(self) -> Iterator[ShardFacts]:
        return (shard.facts for shard in self.shards)

    def _keys(self, facts: ShardFacts) -> pa.ChunkedArray:
        name = index_name(facts.shard, facts.generation)
        size = self.dataset.store.size(name)
        if size is None:
            raise FileNotFoundError(f"{self.dataset.location}/{name}")
        return read_columns(self.dataset.store, name, size, ["key"])[0]["key"]

    def write(self, put: Callable[[str, bytes], None]) -> tuple[IndexPart, ...]:
        """Write what the release has of its own: rewritten tars, and the parts of its index.

        Args:
            put: is called with the name of each file in the release's folder, and its content.
        """
        repeated = repeated_columns(self.dataset.sample_kind)
        parts = []
        for number, rows in enumerate(_in_parts(self._written_rows(put))):
            content = parquet_bytes(rows, repeated, GROUP_ROWS)
            part = IndexPart(
                url=f"index/{number:06d}.parquet", sha256=sha256(content), num_samples=len(rows)
            )
            put(part.url, content)
            parts.append(part)
        return tuple(parts)

    def _written_rows(self, put: Callable[[str, bytes], None]) -> Iterator[pa.Table]:
        """The rows of each shard, after its tar is written where the release has one of its own."""
        for shard in self.shards:
            if shard.released.rewritten_from is None:
                yield self._newest(shard.facts)
            else:
                tar, rows = self._without_superseded(shard.facts)
                put(shard.released.url, tar)
                yield rows


def _in_parts(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    part: list[pa.Table] = []
    for rows in tables:
        if part and sum(of.nbytes for of in part) + rows.nbytes > MAX_PART_BYTES:
            yield pa.concat_tables(part)
            part = []
        part.append(rows)
    yield pa.concat_tables(part)
