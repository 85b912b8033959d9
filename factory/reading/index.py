"""The index of a release: where the members of each sample are, read shard by shard when needed."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.dataset.tar import BLOCK_BYTES
from factory.reading.order import Numbers
from factory.reading.selection import Selection
from factory.store.base import Store
from factory.store.parquet import parsing_parquet
from factory.store.stored_file import StoredFile
from schemas.base import FormatError
from schemas.release import ReleaseManifest

KEPT_BYTES = 1 << 25
"""of offsets and digests that are in memory at once, unless a window has more"""
BYTES_OF_SAMPLE = 24
"""that its offsets and its digest take"""
_OFFSETS = ["png_offset", "png_length", "json_offset", "json_length"]
_DIGEST = "png_sha256"
_DIGEST_DIGITS = 64


class ReleaseIndex:
    """The rows of the shards that are read, by number of the shard from 0."""

    def __init__(
        self, store: Store, manifest: ReleaseManifest, shards: Sequence[int], *, num_kept: int
    ):
        """
        Args:
            store: of the dataset.
            shards: positions in the manifest of the shards that are read.
            num_kept: samples that are read in turns, whose rows have to be in memory together.
        """
        self._kept_bytes = max(KEPT_BYTES, 2 * num_kept * BYTES_OF_SAMPLE)
        self._store, self._folder = store, f"releases/{manifest.release}"
        self._parts = manifest.index_parts
        counts = np.array([shard.num_samples for shard in manifest.shards], np.int64)
        self._starts = (np.cumsum(counts) - counts)[list(shards)]
        self._all_samples = counts[list(shards)]
        self.num_samples: Numbers = self._all_samples
        """(S,) of each shard that are read"""
        self._part_ends = np.cumsum([part.num_samples for part in self._parts], dtype=np.int64)
        if int(self._part_ends[-1]) != int(counts.sum()):
            raise FormatError(
                f"{self._location}: the index has {self._part_ends[-1]} rows, the shards "
                f"{counts.sum()} samples"
            )
        self._group_ends: dict[int, Numbers] = {}
        self._last_read: tuple[Span, list[str], pa.Table] | None = None
        self._chosen: list[NDArray[np.uint8]] | None = None
        self._kept: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()

    @property
    def _location(self) -> str:
        return f"{self._store.location}/{self._folder}"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_kept": OrderedDict(), "_last_read": None}

    def schema(self) -> pa.Schema:
        """The columns of the index."""
        return self._open(0).schema_arrow

    def select(self, where: str) -> None:
        """Keep the samples alone that an expression selects.

        The whole index is read once, of it only the columns that the expression names; a bit is
        kept for each sample.

        Raises:
            SelectionError: it is not one expression on the columns of the index.
        """
        selection = Selection(where, self.schema())
        columns = selection.columns or ["shard"]
        pieces: dict[int, list[NDArray[np.bool_]]] = {}
        bounds = np.stack([self._starts, self._starts + self._all_samples], 1)
        for span in self.spans(0, int(self._part_ends[-1])):
            overlap = np.clip(bounds, span.start, span.stop)
            touched = np.flatnonzero(overlap[:, 0] < overlap[:, 1])
            if not len(touched):
                continue
            is_chosen = selection.of(self.read(span, columns))
            for shard in touched.tolist():
                first, last = (overlap[shard] - span.start).tolist()
                pieces.setdefault(shard, []).append(is_chosen[first:last])
        chosen = [np.concatenate(pieces[shard]) for shard in range(len(bounds))]
        self.num_samples = np.array([rows.sum() for rows in chosen], np.int64)
        self._chosen = [np.packbits(rows) for rows in chosen]

    def offsets(self, shard: int) -> NDArray[np.uint32]:
        """(n, 4) for each sample of a shard: the block of 512 bytes at which its png begins, bytes
        of the png, the block of its json, bytes of the json."""
        return np.asarray(self._from_kept("offsets", shard, self._read_offsets), np.uint32)

    def digests(self, shard: int) -> NDArray[np.uint64]:
        """(n,) the first 64 bits of the sha256 of each sample's png."""
        return np.asarray(self._from_kept("digests", shard, self._read_digests), np.uint64)

    def _from_kept(
        self, what: str, shard: int, read: Callable[[int], NDArray[Any]]
    ) -> NDArray[Any]:
        key = what, shard
        if key not in self._kept:
            values = read(shard)
            if self._chosen is not None:
                bits = np.unpackbits(self._chosen[shard], count=len(values))
                values = values[bits.view(np.bool_)]
            self._kept[key] = values
            held = sum(array.nbytes for array in self._kept.values())
            while len(self._kept) > 1 and held > self._kept_bytes:
                held -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(key)
        return self._kept[key]

    def _read_offsets(self, shard: int) -> NDArray[np.uint32]:
        rows = self._rows(shard, _OFFSETS)
        png, png_length, json, json_length = (rows[name].to_numpy() for name in _OFFSETS)
        packed = np.stack([png // BLOCK_BYTES, png_length, json // BLOCK_BYTES, json_length], 1)
        are_blocks = not (png % BLOCK_BYTES).any() and not (json % BLOCK_BYTES).any()
        if not are_blocks or packed.min(initial=0) < 0 or packed.max(initial=0) > 0xFFFFFFFF:
            raise FormatError(f"{self._location}: offsets of its index are not those of tars")
        if (json < png + png_length).any():
            raise FormatError(f"{self._location}: its tars do not have a json after each png")
        return packed.astype(np.uint32)

    def _read_digests(self, shard: int) -> NDArray[np.uint64]:
        digests = self._rows(shard, [_DIGEST])[_DIGEST]
        width = pa.binary(_DIGEST_DIGITS)  # without offsets: the digits lie in one piece
        joined = digests.cast(pa.binary()).cast(width).combine_chunks()
        start = joined.offset * _DIGEST_DIGITS
        size = len(joined) * _DIGEST_DIGITS
        digits = np.frombuffer(joined.buffers()[1], np.uint8)[start:][:size]
        first = digits.reshape(-1, _DIGEST_DIGITS)[:, :16].tobytes()
        return np.frombuffer(bytes.fromhex(first.decode()), ">u8").astype(np.uint64)

    def _rows(self, shard: int, columns: list[str]) -> pa.Table:
        """The rows of a shard in the index, whatever is selected."""
        start = int(self._starts[shard])
        stop = start + int(self._all_samples[shard])
        pieces = []
        for span in self.spans(start, stop):
            first, last = max(start, span.start), min(stop, span.stop)
            pieces.append(self.read(span, columns).slice(first - span.start, last - first))
        return pa.concat_tables(pieces)

    def spans(self, start: int, stop: int) -> Iterator["Span"]:
        """The groups of rows that hold some rows of the release, in order."""
        first = int(np.searchsorted(self._part_ends, start, "right"))
        last = int(np.searchsorted(self._part_ends, stop, "left"))
        for part in range(first, last + 1):
            ends = self._ends_in(part)
            for group, end in enumerate(ends.tolist()):
                begin = int(ends[group - 1]) if group else self._start_of(part)
                if max(begin, start) < min(end, stop):
                    yield Span(part, group, begin, end)

    def _start_of(self, part: int) -> int:
        return int(self._part_ends[part - 1]) if part else 0

    def _ends_in(self, part: int) -> Numbers:
        """The row of the release at which each group of rows of a part ends."""
        if part not in self._group_ends:
            metadata = self._open(part).metadata
            counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            ends = self._start_of(part) + np.cumsum(counts, dtype=np.int64)
            if sum(counts) != self._parts[part].num_samples:
                raise FormatError(
                    f"{self._location}/{self._parts[part].url} has {sum(counts)} rows, its "
                    f"manifest says {self._parts[part].num_samples}"
                )
            self._group_ends[part] = ends
        return self._group_ends[part]

    def read(self, span: "Span", columns: list[str]) -> pa.Table:
        """Some columns of the rows of a group; the other columns are not read.

        The last answer is kept, so threads must take turns.

        Raises:
            FormatError: the part of the index cannot be read.
        """
        if self._last_read is None or self._last_read[:2] != (span, columns):
            with parsing_parquet(f"{self._location}/{self._parts[span.part].url}"):
                rows = self._open(span.part).read_row_group(span.group, columns, use_threads=False)
            self._last_read = (span, columns, rows)
        return self._last_read[2]

    def _open(self, part: int) -> pq.ParquetFile:
        """A part of the index, of which nothing but the end is read.

        Raises:
            FileNotFoundError: it is missing.
            FormatError: it is not a Parquet file.
        """
        name = f"{self._folder}/{self._parts[part].url}"
        size = self._store.size(name)
        if size is None:
            raise FileNotFoundError(f"{self._store.location}/{name}, a part of the index")
        with parsing_parquet(f"{self._store.location}/{name}"):
            file = StoredFile(partial(self._store.read_range, name), size)
            return pq.ParquetFile(pa.PythonFile(file, "r"))


class Span(NamedTuple):
    """A group of rows of a part of the index."""

    part: int
    group: int
    start: int
    """its first row in the release"""
    stop: int
