"""The `.nv-meta` folder and the `.tar.idx` files by which Megatron-Energon reads an export.

They are what `energon prepare` of megatron-energon 7.4 makes: the offset of every sample in its
tar, a table of all samples and their members, the tars of each split, and how a sample is made.
"""

import sqlite3
import struct
import uuid
from contextlib import AbstractContextManager, closing
from pathlib import Path

import orjson

from factory.export.folder import sync_file, write_file
from factory.export.shards import WrittenSample, WrittenShard, brace_pattern
from schemas.export import ExportedShard

FOLDER = ".nv-meta"
VERSION = "7.4.1"
"""of megatron-energon, whose files these are"""
SPLITS = ("train", "val", "test")
"""those that `energon lint` asks for, whether there are any samples in them or not"""
ROWS_AT_ONCE = 4096
_TABLES = (
    "CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, "
    "sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER)",
    "CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, "
    "content_byte_offset INTEGER, content_byte_size INTEGER)",
)
_INDEXES = (
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index)",
    "CREATE INDEX idx_sample_parts_seq ON "
    "sample_parts(tar_file_id, sample_index, content_byte_offset)",
    "CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name, "
    "content_byte_offset, content_byte_size)",
)


class EnergonIndex(AbstractContextManager["EnergonIndex"]):
    """Writes the offsets of all samples while they are written, as a `Sink`."""

    def __init__(self, folder: Path):
        """
        Args:
            folder: the export, in which `.nv-meta` is made.
        """
        self._folder = folder
        (folder / FOLDER).mkdir()
        # An export appears as a whole, so a table that a crash leaves half written is not kept.
        self._database = sqlite3.connect(folder / FOLDER / "index.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        for table in _TABLES:
            self._database.execute(table)
        self._database.execute("BEGIN")
        self._shard: WrittenShard | None = None
        self._offsets: list[int] = []
        self._samples: list[tuple[int, str, int, int, int]] = []
        self._parts: list[tuple[int, int, str, int, int]] = []

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with closing(self._database):
            if kind is None:
                self._flush()
                for index in _INDEXES:
                    self._database.execute(index)
                self._database.execute("COMMIT")
        if kind is None:
            sync_file(self._folder / FOLDER / "index.sqlite")

    def begin(self, shard: WrittenShard) -> None:
        self._shard, self._offsets = shard, [0]

    def add(self, sample: WrittenSample) -> None:
        assert self._shard is not None
        tar, index = self._shard.number, len(self._offsets) - 1
        size = sample.end_offset - sample.header_offset
        self._samples.append((tar, sample.key, index, sample.header_offset, size))
        self._parts += (
            (tar, index, "png", sample.png_offset, len(sample.png)),
            (tar, index, "json", sample.json_offset, sample.json_length),
        )
        self._offsets.append(sample.end_offset)
        if len(self._samples) >= ROWS_AT_ONCE:
            self._flush()

    def end(self) -> None:
        assert self._shard is not None
        offsets = struct.pack(f"<{len(self._offsets)}Q", *self._offsets)
        write_file(self._folder / f"{self._shard.tar}.idx", offsets)

    def _flush(self) -> None:
        for table, rows in (("samples", self._samples), ("sample_parts", self._parts)):
            self._database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)
            rows.clear()


def write_energon(folder: Path, shards: tuple[ExportedShard, ...], manifest_sha256: str) -> None:
    """Write what remains once all tars are there: counts, splits, and how a sample is made.

    Args:
        folder: the export.
        manifest_sha256: of the release's manifest, from which the export's identifier is made.
    """
    # In order of name, by which the index numbers them.
    counts = dict(sorted((shard.tar, shard.num_samples) for shard in shards))
    info = {"energon_version": VERSION, "shard_counts": counts}
    meta = folder / FOLDER
    write_file(meta / ".info.json", orjson.dumps(info, option=orjson.OPT_INDENT_2))
    tars: dict[str, list[str]] = {split: [] for split in SPLITS}
    for shard in shards:
        tars.setdefault(shard.split, []).append(shard.tar)
    splits = {split: [brace_pattern(names)] if names else [] for split, names in tars.items()}
    lines = [f"  {split}: {orjson.dumps(names).decode()}" for split, names in splits.items()]
    write_file(meta / "split.yaml", "\n".join(["exclude: []", "split_parts:", *lines, ""]).encode())
    write_file(meta / "index.uuid", str(uuid.uuid5(uuid.NAMESPACE_OID, manifest_sha256)).encode())
    templates = Path(__file__).parent / "templates"
    for name in ("dataset.yaml", "crude.yaml", "sample_loader.py"):
        write_file(meta / name, (templates / f"{name}.txt").read_bytes())
