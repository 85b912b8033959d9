"""The tars of an export, each with its index: written as a stream, one sample after the other."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.columns import with_values
from factory.dataset.kinds import parse_label, repeated_columns
from factory.dataset.tar import DamagedShardError, archive_end, member
from factory.export.labels import RecordType
from factory.export.source import ReleaseSource
from factory.images.png import UndecodableError
from schemas.base import FormatError
from schemas.export import ExportedShard
from schemas.release import ReleasedShard

INDEX_FOLDER = "index"


class WrittenSample(NamedTuple):
    """One sample in the tar of an export."""

    key: str
    png: bytes
    record: dict[str, Any]
    """its labels, with every field"""
    header_offset: int
    """of the first of its two members in the tar"""
    png_offset: int
    json_offset: int
    json_length: int
    end_offset: int
    """where the next sample begins"""


@dataclass(frozen=True)
class WrittenShard:
    """One tar of an export, with what formats need to know of its samples."""

    number: int
    """of all tars in order of name, from 0"""
    tar: str
    split: str


class Sink(Protocol):
    """A format that wants to see every sample."""

    def begin(self, shard: WrittenShard) -> None:
        """A tar begins."""

    def add(self, sample: WrittenSample) -> None:
        """A sample was written into it."""

    def end(self) -> None:
        """The tar is complete, and what was read for it has the digest of the release."""


class TarWriter:
    """An uncompressed USTAR archive that is written as a stream, with its sha256."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._digest = hashlib.sha256()
        self.length = 0

    def add(self, name: str, content: bytes) -> int:
        """Write a member; gives the offset of its content."""
        header, *rest = member(name, content)
        self._write(header)
        offset = self.length
        for part in rest:
            self._write(part)
        return offset

    def end(self) -> str:
        """Write the end of the archive; gives the sha256 of all of it."""
        self._write(archive_end(self.length))
        return self._digest.hexdigest()

    def _write(self, part: bytes) -> None:
        self._file.write(part)
        self._digest.update(part)
        self.length += len(part)


def tar_names(shards: Iterable[ReleasedShard]) -> list[str]:
    """`train-000000.tar`, `train-000001.tar` … without gaps in each split."""
    counts: dict[str, int] = {}
    names = []
    for shard in shards:
        number = counts.get(shard.split, 0)
        counts[shard.split] = number + 1
        names.append(f"{shard.split}-{number:06d}.tar")
    return names


def brace_pattern(tars: Sequence[str]) -> str:
    """The tars of one split, in order, as one pattern that shells and readers expand."""
    first, last = (tar.removesuffix(".tar") for tar in (tars[0], tars[-1]))
    if first == last:
        return tars[0]
    split, _, number = first.rpartition("-")
    return f"{split}-{{{number}..{last.rpartition('-')[2]}}}.tar"


def write_shards(
    source: ReleaseSource,
    folder: Path,
    sinks: Iterable[Sink],
    on_shard: Callable[[int], None],
) -> Iterator[ExportedShard]:
    """Write every tar of a release anew, and an index of its rows beside it.

    Args:
        folder: to write into.
        sinks: are shown every sample.
        on_shard: called with the number of each released shard that is written.

    Raises:
        DamagedShardError: a tar, or a part of the index, is not the one that was released.
        FormatError: a sample does not follow its schema.
        UndecodableError: an image is none.
    """
    shards = source.manifest.shards
    (folder / INDEX_FOLDER).mkdir()
    names = tar_names(shards)
    numbers = {tar: number for number, tar in enumerate(sorted(names))}
    watching = list(sinks)
    for shard, tar, rows in zip(shards, names, source.rows(), strict=True):
        for sink in watching:
            sink.begin(WrittenShard(numbers[tar], tar, shard.split))
        try:
            digest, size, written = _write_tar(source, shard, folder / tar, watching)
        except (FormatError, UndecodableError):
            source.require_whole(shard)  # damage shows in a sample before the end of its tar
            raise
        index = f"{INDEX_FOLDER}/{Path(tar).stem}.parquet"
        _write_index(source, shard, rows, tar, written, folder / index)
        for sink in watching:
            sink.end()
        on_shard(shard.shard)
        yield ExportedShard(
            tar=tar,
            index=index,
            split=shard.split,
            num_samples=shard.num_samples,
            size=size,
            sha256=digest,
            from_shard=shard.shard,
            from_sha256=shard.sha256,
        )


class _Places(NamedTuple):
    """Where the samples of a tar are, in order."""

    keys: list[str]
    png_offset: list[int]
    json_offset: list[int]
    json_length: list[int]


def _write_tar(
    source: ReleaseSource, shard: ReleasedShard, path: Path, sinks: list[Sink]
) -> tuple[str, int, _Places]:
    """(sha256, bytes, places) of a tar, once it is on the disk."""
    dataset = source.dataset
    labelled = source.manifest.dataset.labelled
    records = RecordType(dataset.sample_kind, labelled=labelled)
    places = _Places([], [], [], [])
    with path.open("xb") as file:
        tar = TarWriter(file)
        for sample in source.samples(shard):
            where = f"{dataset.location}: {sample.key} of the release {source.release}"
            label = parse_label(dataset.sample_kind, sample.json, labelled=labelled, where=where)
            record, json = records.rewrite(label)
            start = tar.length
            png_offset = tar.add(f"{sample.key}.png", sample.png)
            json_offset = tar.add(f"{sample.key}.json", json)
            places.keys.append(sample.key)
            places.png_offset.append(png_offset)
            places.json_offset.append(json_offset)
            places.json_length.append(len(json))
            written = WrittenSample(
                sample.key, sample.png, record, start, png_offset, json_offset, len(json),
                tar.length,
            )  # fmt: skip
            for sink in sinks:
                sink.add(written)
        digest = tar.end()
        file.flush()
        os.fsync(file.fileno())
    return digest, tar.length, places


def _write_index(
    source: ReleaseSource,
    shard: ReleasedShard,
    rows: pa.Table,
    tar: str,
    places: _Places,
    path: Path,
) -> None:
    """The rows of a tar, with the places of its members."""
    if rows["key"].to_pylist() != places.keys:
        raise DamagedShardError(
            f"{source.dataset.location}: the index of the release {source.release} has other keys "
            f"than its shard {shard.shard}"
        )
    for name in ("png_offset", "json_offset", "json_length"):
        rows = with_values(rows, name, pa.array(getattr(places, name), pa.int64()))
    tars = pa.array([tar] * len(rows), pa.string())
    rows = rows.add_column(1, pa.field("tar", pa.string(), nullable=False), tars)
    repeated = ["tar", *repeated_columns(source.dataset.sample_kind)]
    with path.open("xb") as file:
        pq.write_table(rows, file, compression="zstd", use_dictionary=repeated)
        file.flush()
        os.fsync(file.fileno())
