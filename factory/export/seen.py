"""What a card says of the samples of an export, gathered while they are written."""

from collections import Counter

import numpy as np

from factory.export.shards import WrittenSample, WrittenShard
from factory.images.contact_sheet import Tile, tile_of
from factory.images.png import decode_png

NUM_TILES = 40
"""samples on the picture of a card"""


class Seen:
    """Counts, and some samples to show, as a `Sink`."""

    def __init__(self, num_samples: int, seed: int = 0):
        """
        Args:
            num_samples: that will come.
            seed: of the choice of those that are shown.
        """
        rng = np.random.default_rng(seed)
        count = min(NUM_TILES, num_samples)
        self._shown = {int(k) for k in rng.choice(num_samples, count, replace=False)}
        self._number = 0
        self._split = ""
        self.num_samples: Counter[str] = Counter()
        """by split"""
        self.num_shards: Counter[str] = Counter()
        """by split"""
        self.num_of_source: Counter[str] = Counter()
        """samples by the name of the source that read them"""
        self.num_null: Counter[str] = Counter()
        """samples by the name of a field that is null in them"""
        self.tiles: list[Tile] = []

    def begin(self, shard: WrittenShard) -> None:
        self._split = shard.split
        self.num_shards[shard.split] += 1

    def add(self, sample: WrittenSample) -> None:
        self.num_samples[self._split] += 1
        self.num_of_source[sample.record["source"]["name"]] += 1
        self.num_null.update(name for name, value in sample.record.items() if value is None)
        if self._number in self._shown:
            self.tiles.append(tile_of({**sample.record}, (decode_png(sample.png),)))
        self._number += 1

    def end(self) -> None:
        """Nothing is left to do for a tar."""
