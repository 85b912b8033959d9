"""The samples of a contact sheet: a seeded choice, a refined one beside what it was made from."""

import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name, tar_name
from factory.dataset.shard_records import Record
from factory.dataset.tar import DamagedShardError, sha256
from factory.images.contact_sheet import Tile, tile_of
from factory.images.png import Pixels, decode_png
from factory.store.parquet import read_columns


def pick_tiles(dataset: Dataset, parent: Dataset | None, count: int, seed: int) -> list[Tile]:
    """A seeded choice of samples, spread over all shards, in order of key.

    Only the chosen images are read, by ranges.

    Args:
        parent: to show beside, or None.

    Raises:
        ValueError: the dataset holds no images.
        DamagedShardError: an image is not what was committed, or the parent's is gone.
    """
    rng = np.random.default_rng(seed)
    indexes = dataset.indexes()
    shards = list(indexes)
    some = np.sort(rng.permutation(len(shards))[:count])
    tiles: list[Tile] = []
    chosen = [shards[index] for index in some]
    # Evenly at first; what small shards cannot give, the others give in their turn.
    left = {shard: _rows(dataset, shard, indexes[shard]) for shard in chosen}
    order = {shard: rng.permutation(len(rows)).tolist() for shard, rows in left.items()}
    wanted: dict[int, list[int]] = {shard: [] for shard in chosen}
    while sum(map(len, wanted.values())) < count and any(order.values()):
        for shard in chosen:
            if order[shard] and sum(map(len, wanted.values())) < count:
                wanted[shard].append(order[shard].pop())
    for shard in chosen:
        rows = left[shard].take(pa.array(sorted(wanted[shard]), pa.int64())).to_pylist()
        has_parent = parent is not None and rows and parent.is_committed(shard)
        before, parent_tar = _places(parent, shard) if parent and has_parent else ({}, "")
        tar = tar_name(dataset.facts_in(shard, indexes[shard].generation)) if rows else ""
        for row in rows:
            pictures = [_picture(dataset, tar, row)]
            if parent is not None:
                if row["key"] not in before:
                    raise DamagedShardError(f"{parent.location} no longer holds {row['key']}")
                pictures.insert(0, _picture(parent, parent_tar, before[row["key"]]))
            tiles.append(tile_of(row, tuple(pictures)))
    if not tiles:
        raise ValueError(f"{dataset.location} holds no images yet")
    return tiles


_PLACE = ["key", "png_offset", "png_length", "png_sha256"]


def _rows(dataset: Dataset, shard: int, index: Record) -> pa.Table:
    labels = dataset.sample_kind.columns(dataset.card.labelled)
    shown = {"pupil_px", "gaze_yaw_rad", "gaze_pitch_rad"} & {label.name for label in labels}
    name = index_name(shard, index.generation)
    return read_columns(dataset.store, name, index.size, [*_PLACE, *sorted(shown)])[0]


def _places(dataset: Dataset, shard: int) -> tuple[dict[str, dict[str, object]], str]:
    """Where the images of a shard are, by key, and the name of its tar."""
    rows, facts = dataset.index_and_facts(shard, _PLACE)
    return {row["key"]: row for row in rows.to_pylist()}, tar_name(facts)


def _picture(dataset: Dataset, tar: str, row: dict[str, object]) -> Pixels:
    offset, length = int(str(row["png_offset"])), int(str(row["png_length"]))
    raw = dataset.store.read_range(tar, offset, length)
    if sha256(raw) != row["png_sha256"]:
        raise DamagedShardError(f"{dataset.location}/{tar}: the image of {row['key']} is damaged")
    return decode_png(raw)
