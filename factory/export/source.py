"""What a release holds, read from start to end: the samples of its tars and the rows of its index.

Little of a tar is in memory at once, and its sha256 is compared when its end is reached.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.tar import DamagedShardError, PackedSample, sha256
from factory.release.state import MANIFEST, read_manifest, tar_of_dataset
from factory.store.parquet import parsing_parquet
from factory.store.stored_file import READ_AT_ONCE, opened
from schemas.release import ReleasedShard, ReleaseManifest

MEND = "mend the dataset with jobs/describe.py --repair, or release it under another name"


class _Digesting(io.RawIOBase):
    """A file that is read once, from start to end, and knows the sha256 of what was read."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return count


class ReleaseSource:
    """One release of a dataset."""

    def __init__(self, dataset: Dataset, release: str):
        """
        Raises:
            FileNotFoundError: there is no such release, or it was dropped.
            FormatError: its manifest cannot be read.
        """
        self.dataset, self.release = dataset, release
        self.folder = f"releases/{release}"
        self.manifest: ReleaseManifest = read_manifest(dataset, release)
        self.manifest_sha256 = sha256(dataset.store.read(f"{self.folder}/{MANIFEST}"))

    def tar_name(self, shard: ReleasedShard) -> str:
        """The name of a released tar in the dataset's store."""
        return tar_of_dataset(shard) or f"{self.folder}/{shard.url}"

    def samples(self, shard: ReleasedShard) -> Iterator[PackedSample]:
        """The samples of a released tar, in order.

        Raises:
            DamagedShardError: the tar is lost, or is not the one that was released; raised when the
                iteration gets there, at its end at the latest.
        """
        with self._reading(shard) as read:
            try:
                yield from _pairs(read, self._where(shard))
            except tarfile.TarError as error:
                raise self._damaged(shard, str(error)) from error

    def require_whole(self, shard: ReleasedShard) -> None:
        """Raise `DamagedShardError` unless a tar is the one that was released."""
        with self._reading(shard):
            pass

    @contextmanager
    def _reading(self, shard: ReleasedShard) -> Iterator[_Digesting]:
        """A tar to read, which is read to its end, and compared, when the block ends well."""
        name, store = self.tar_name(shard), self.dataset.store
        size = store.size(name)
        if size is None:
            raise DamagedShardError(f"{self._where(shard)}, is lost; {MEND}")
        with opened(store, name, size) as file:
            read = _Digesting(file)
            yield read
            while read.read(READ_AT_ONCE):
                pass  # what readers of tars leave out counts too
        digest = read.digest.hexdigest()
        if digest != shard.sha256:
            expected = f"its manifest says {shard.sha256[:12]}…"
            sizes = f"{size} bytes, expected {shard.size}"
            raise self._damaged(shard, f"sha256 {digest[:12]}…, {expected}; {sizes}")

    def _where(self, shard: ReleasedShard) -> str:
        return f"{self.dataset.location}/{self.tar_name(shard)}, of the release {self.release}"

    def _damaged(self, shard: ReleasedShard, why: str) -> DamagedShardError:
        return DamagedShardError(f"{self._where(shard)}, is damaged: {why}; {MEND}")

    def rows(self) -> Iterator[pa.Table]:
        """The index rows of one released shard after the other, with the columns of this version.

        Raises:
            DamagedShardError: a part of the index is not the one that was released.
        """
        manifest = self.manifest
        schema = self.dataset.sample_kind.index_schema(manifest.dataset.labelled)
        parts = (self._part(number, schema) for number in range(len(manifest.index_parts)))
        held = schema.empty_table()
        for shard in manifest.shards:
            while len(held) < shard.num_samples:
                more = next(parts, None)
                if more is None:
                    raise DamagedShardError(
                        f"{self.dataset.location}/{self.folder}: the index ends before shard "
                        f"{shard.shard}; {MEND}"
                    )
                held = pa.concat_tables([held, more])
            yield held.slice(0, shard.num_samples)
            held = held.slice(shard.num_samples)

    def _part(self, number: int, schema: pa.Schema) -> pa.Table:
        part = self.manifest.index_parts[number]
        name = f"{self.folder}/{part.url}"
        where = f"{self.dataset.location}/{name}"
        raw = self.dataset.store.read(name)
        if sha256(raw) != part.sha256:
            raise DamagedShardError(f"{where} is not the one that was released; {MEND}")
        with parsing_parquet(where):
            rows = pq.read_table(pa.BufferReader(raw)).replace_schema_metadata()
        # Indexes of earlier versions lack some columns.
        filled = pa.concat_tables([schema.empty_table(), rows], promote_options="default")
        return filled.select(schema.names).cast(schema)


def _pairs(file: io.RawIOBase, where: str) -> Iterator[PackedSample]:
    """The samples of a tar that is read as a stream."""
    with tarfile.open(fileobj=io.BufferedReader(file, READ_AT_ONCE), mode="r|") as tar:
        waiting: tuple[str, bytes] | None = None
        for entry in tar:
            opened = tar.extractfile(entry)
            content = b"" if opened is None else opened.read()
            key, _, suffix = entry.name.partition(".")
            if waiting is None and suffix == "png":
                waiting = key, content
            elif waiting is not None and suffix == "json" and waiting[0] == key:
                yield PackedSample(key, waiting[1], content)
                waiting = None
            else:
                raise DamagedShardError(f"{where}: {entry.name} belongs to no pair of png and json")
        if waiting is not None:
            raise DamagedShardError(f"{where}: {waiting[0]} has no json")
