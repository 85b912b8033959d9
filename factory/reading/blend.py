"""Several releases read as one, each with a share of the samples."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from factory.reading.order import Numbers, Places, permutation
from factory.reading.release import Release
from factory.reading.source import Plan, Source
from schemas.base import digest_of

if TYPE_CHECKING:
    from factory.reading.order import ReleaseOrder

BLOCK_SAMPLES = 1024
"""positions in which each release has its share exactly, up to one sample"""
BLOCKS_KEPT = 64


class Blend(Source):
    """Several releases, mixed by weights.

    Of every 1,024 samples each release has its share, in an order drawn from the seed. A release
    gives each of its samples once before it gives one again, in another order, and goes on in the
    next epoch where it stopped in the last one. So a release with a small share is seen whole after
    several epochs, one with a large share several times in an epoch.
    """

    def __init__(
        self, releases: Sequence[Release], weights: Sequence[float], num_samples: int | None = None
    ):
        """
        Args:
            weights: positive; a release's share is its weight over the sum of all.
            num_samples: in an epoch; None for as many as all releases have together.

        Raises:
            ValueError: a weight is not a positive number, or there is not one for each release; or
                a release is empty.
        """
        if not releases or len(releases) != len(weights):
            raise ValueError(f"{len(releases)} releases and {len(weights)} weights")
        if any(not math.isfinite(weight) or weight <= 0 for weight in weights):
            raise ValueError(f"weights are positive numbers, found {list(weights)}")
        empty = [str(release) for release in releases if not len(release)]
        if empty:
            raise ValueError(f"{', '.join(empty)}: nothing is read of it, so it has no share")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"an epoch has at least one sample, found {num_samples}")
        self._releases = tuple(releases)
        self.shares = [weight / sum(weights) for weight in weights]
        self._num_samples = num_samples or sum(len(release) for release in releases)

    def __repr__(self) -> str:
        parts = zip(self.shares, self._releases, strict=True)
        return f"Blend({', '.join(f'{share:.3g} of {release}' for share, release in parts)})"

    def __len__(self) -> int:
        return self._num_samples

    @property
    def releases(self) -> tuple[Release, ...]:
        return self._releases

    def plan(self, epoch: int, *, seed: int, shuffle: bool) -> Plan:
        return _BlendOrder(self, epoch, seed, shuffle)

    def digest(self) -> str:
        return digest_of([[r.digest() for r in self._releases], self.shares, self._num_samples])


class _BlendOrder:
    """The order of an epoch of a blend.

    Positions count through all epochs. How many samples a release has given before a block follows
    from its share alone, so that reading can begin anywhere.
    """

    def __init__(self, blend: Blend, epoch: int, seed: int, shuffle: bool):
        self.num_samples = len(blend)
        self._first = epoch * len(blend)
        self._blend, self._seed, self._shuffle = blend, seed, shuffle
        self._size = max(BLOCK_SAMPLES, len(blend.shares) ** 2)
        self._largest = int(np.argmax(blend.shares))
        self._blocks: OrderedDict[int, tuple[Numbers, Numbers]] = OrderedDict()
        self._orders: OrderedDict[tuple[int, int], ReleaseOrder] = OrderedDict()

    def places(self, positions: Numbers) -> Places:
        """As `Plan.places`."""
        source, draw = np.empty_like(positions), np.empty_like(positions)
        blocks, inside = np.divmod(self._first + positions, self._size)
        for block in np.unique(blocks).tolist():
            of_block = blocks == block
            sources, draws = self._block(block)
            source[of_block] = sources[inside[of_block]]
            draw[of_block] = draws[inside[of_block]]
        shard, row = np.empty_like(positions), np.empty_like(positions)
        for number, release in enumerate(self._blend.releases):
            rounds, within = np.divmod(draw, len(release))
            mine = source == number
            for epoch in np.unique(rounds[mine]).tolist():
                now = mine & (rounds == epoch)
                _, shard[now], row[now] = self._order(number, epoch).places(within[now])
        return Places(source, shard, row)

    def shards_after(self, position: int) -> list[Numbers]:
        """As `Plan.shards_after`; where each release is then is known to within a block."""
        after = []
        for number, given in enumerate(self._given_before(self._first + position).tolist()):
            epoch, within = divmod(given, len(self._blend.releases[number]))
            after += self._order(number, epoch).shards_after(within)
        return after

    def _given_before(self, position: int) -> Numbers:
        """(releases,) samples that each has given before the beginning of a block; the largest
        takes the rest."""
        given = np.floor(np.array(self._blend.shares) * position + 0.5).astype(np.int64)
        given[self._largest] += position - given.sum()
        return given

    def _block(self, block: int) -> tuple[Numbers, Numbers]:
        """For each position of a block: the release, and how many it has given before."""
        if block not in self._blocks:
            before = self._given_before(block * self._size)
            counts = self._given_before((block + 1) * self._size) - before
            sources = np.repeat(np.arange(len(counts)), counts)
            sources = sources[permutation((self._seed, block), self._size)]
            draws = np.empty_like(sources)
            for number, start in enumerate(before.tolist()):
                mine = sources == number
                draws[mine] = start + np.arange(int(mine.sum()))
            self._blocks[block] = sources, draws
            if len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[block]

    def _order(self, number: int, epoch: int) -> "ReleaseOrder":
        key = number, epoch
        if key not in self._orders:
            # Releases that are equal, or begin equally, should not come in one order.
            seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
            release = self._blend.releases[number]
            self._orders[key] = release.plan(epoch, seed=seed, shuffle=self._shuffle)
            if len(self._orders) > 2 * len(self._blend.releases):
                self._orders.popitem(last=False)
        return self._orders[key]
