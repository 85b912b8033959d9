"""The stored members of single samples, and their pictures as a browser shows them."""

from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from factory.browse.table import SampleTable
from factory.dataset.tar import DamagedShardError, sha256
from factory.images.png import decode_png, depth_as_grey, encode_png

MOST_GROUPS = 8
"""groups of rows whose offsets are held; at most some megabytes each"""
_OFFSETS = ["key", "png_offset", "png_length", "png_sha256", "json_offset", "json_length"]


class StoredSample(NamedTuple):
    """Where the members of a sample lie."""

    key: str
    row: int
    """of the table"""
    shard: int
    tar: str
    """relative to the dataset"""
    png_offset: int
    png_length: int
    png_sha256: str
    json_offset: int
    json_length: int


class Pictures:
    """The samples of a table, one by one. Threads may share it."""

    def __init__(self, table: SampleTable, far: float | None = None):
        """
        Args:
            far: the value of a pixel of 16 bits that is shown darkest; None for the largest one of
                each picture.
        """
        self.table, self.far = table, far
        self._offsets = lru_cache(MOST_GROUPS)(lambda span: table.read(span, _OFFSETS))

    def stored(self, key: str) -> StoredSample | None:
        """Where a sample lies; None where the table has no such sample."""
        shard = self.table.shard_of(key)
        if shard is None:
            return None
        for span in self.table.spans(shard.start, shard.start + shard.num_samples):
            offsets = self._offsets(span)
            inside = offsets["key"].index(pa.scalar(key, pa.string())).as_py()
            if inside >= 0:
                (members,) = offsets.slice(inside, 1).to_pylist()
                row = span.start + inside
                return StoredSample(row=row, shard=shard.shard, tar=shard.tar, **members)
        return None

    def png(self, stored: StoredSample) -> bytes:
        """The stored picture of a sample.

        Raises:
            DamagedShardError: it is not the one that was committed.
            OSError: it cannot be read.
        """
        store = self.table.dataset.store
        raw = store.read_range(stored.tar, stored.png_offset, stored.png_length)
        if sha256(raw) != stored.png_sha256:
            raise DamagedShardError(
                f"{store.location}/{stored.tar}: the picture of {stored.key} is not the one that "
                "was committed"
            )
        return raw

    def shown(self, stored: StoredSample) -> bytes:
        """The picture as a PNG that browsers show: depth with what is nearer brighter. Raises as
        `png` does."""
        raw = self.png(stored)
        if self.table.dataset.card.image.bits == 8:
            return raw
        depth = decode_png(raw)
        far = self.far or float(depth.max(initial=1))
        return encode_png(depth_as_grey(depth, near=1.0, far=far))

    def record(self, stored: StoredSample) -> dict[str, Any]:
        """The json member of a sample.

        Raises:
            DamagedShardError: it is no JSON object.
            OSError: it cannot be read.
        """
        store = self.table.dataset.store
        raw = store.read_range(stored.tar, stored.json_offset, stored.json_length)
        where = f"{store.location}/{stored.tar}: {stored.key}"
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise DamagedShardError(f"{where}: {error}") from error
        if not isinstance(record, dict):
            raise DamagedShardError(f"{where}: no JSON object")
        return record
