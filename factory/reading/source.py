"""What a release and a blend of releases have in common: epochs of samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from factory.dataset.tar import DamagedShardError
from factory.reading.order import Ends, Numbers, Places, Turn
from factory.reading.sample import Sample

if TYPE_CHECKING:
    from factory.reading.release import Release

Damaged = Literal["raise", "skip"]
"""what is done about a shard that is missing or not the one that was released"""
PLACED_AT_ONCE = 2048
"""positions whose places are computed together"""
STAND_INS = 256
"""samples that are tried in place of a damaged one before reading gives up"""


class Plan(Protocol):
    """The order of one epoch."""

    num_samples: int

    def places(self, positions: Numbers) -> Places:
        """Where the samples of some positions are."""

    def shards_after(self, position: int) -> list[Numbers]:
        """(n,) of each source: shards that are read after those around a position, if any."""


class Batch(NamedTuple):
    """Some samples of a rank, in order."""

    end: int
    """samples of its turn that the rank has had once it has this batch; those count that were left
    out"""
    samples: list[Any]
    """transformed"""
    num_skipped: int
    """samples that were left out of it"""


def unchanged(sample: Sample) -> Sample:
    """The transform of those who need none."""
    return sample


class Source(ABC):
    """Samples in epochs: a seeded order, split by ranks and workers, that can begin anywhere."""

    @property
    @abstractmethod
    def releases(self) -> "tuple[Release, ...]":
        """The releases from which samples come."""

    @abstractmethod
    def plan(self, epoch: int, *, seed: int, shuffle: bool) -> Plan:
        """The order of an epoch."""

    @abstractmethod
    def digest(self) -> str:
        """A digest of what is read and how it is shuffled: with equal digests, equal seeds give
        equal orders."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples in an epoch."""

    def epoch(
        self,
        epoch: int = 0,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        num_ranks: int = 1,
        worker: int = 0,
        num_workers: int = 1,
        batch_size: int = 1,
        ends: Ends = "pad",
        start: int = 0,
    ) -> Iterator[Sample]:
        """The samples of one epoch that one process reads, in its order.

        Together the workers of all ranks read each sample once, whatever their numbers, but for
        what `ends` says of the last ones.

        Args:
            seed: of the order. All processes have to give the same.
            shuffle: False for the order of the release.
            batch_size: samples after which the next worker has its turn.
            ends: what happens where the samples cannot be divided evenly among the ranks. `pad`,
                the default, gives every rank as many, the first samples of the epoch once more
                where some lack one; `drop` leaves out up to num_ranks - 1; with `uneven` each is
                read once, and some ranks have one more, at which training with DDP would hang.
            start: samples that all ranks together have read before of this epoch.

        Raises:
            DamagedShardError: a shard is missing, or is not the one that was released, and damaged
                ones are not skipped.
        """
        turn = Turn(rank, num_ranks, worker, num_workers, batch_size, ends, start)
        batches = self.batches(epoch, turn, seed=seed, shuffle=shuffle)
        return chain.from_iterable(batch.samples for batch in batches)

    def batches(
        self,
        epoch: int,
        turn: Turn,
        *,
        seed: int,
        shuffle: bool = True,
        transform: Callable[[Sample], Any] = unchanged,
    ) -> Iterator[Batch]:
        """The same in batches.

        Where damaged shards are skipped, the samples of a batch are fewer. Ranks that have to keep
        step (several, and `ends` is not `uneven`) get others in their place, which are then read
        more than once.

        Args:
            transform: is applied to each sample at once. If it drops most of the record, the
                garbage collector has less to go through.
        """
        plan = self.plan(epoch, seed=seed, shuffle=shuffle)
        keep_step = turn.num_ranks > 1 and turn.ends != "uneven"
        for some in _in_groups(turn.batches(plan.num_samples)):
            positions = np.concatenate([batch for _, batch in some])
            places = plan.places(positions)
            self._prepare(places, plan.shards_after(int(positions[-1])))
            read = zip(self._read_at(places), positions.tolist(), strict=True)
            for end, batch in some:
                samples = []
                for sample, position in (next(read) for _ in range(len(batch))):
                    if sample is None and keep_step:
                        sample = self._stand_in(plan, position, turn.num_ranks)
                    if sample is not None:
                        samples.append(transform(sample))
                yield Batch(end, samples, len(batch) - len(samples))

    def _prepare(self, places: Places, following: Sequence[Numbers]) -> None:
        releases = self.releases
        for number, (release, later) in enumerate(zip(releases, following, strict=True)):
            shards = np.unique(places.shard[places.source == number])
            release.tars.prepare(shards.tolist(), later.tolist(), num_sharing=len(releases))

    def _read_at(self, places: Places) -> Iterator[Sample | None]:
        """The samples at some places; None for those that are left out."""
        releases = self.releases
        offsets = np.empty((len(places.row), 4), np.uint32)
        for number, release in enumerate(releases):
            inside = places.source == number
            offsets[inside] = release.offsets_at(places.shard[inside], places.row[inside])
        rows = zip(*(values.tolist() for values in (*places, offsets)), strict=True)
        for number, shard, row, members in rows:
            yield releases[number].read_or_skip(shard, row, members)

    def _stand_in(self, plan: Plan, position: int, num_ranks: int) -> Sample:
        """A sample in place of one that is damaged: the next one of the same rank that is not.

        Raises:
            DamagedShardError: none of the next ones can be read.
        """
        nearby = position + num_ranks * np.arange(1, STAND_INS + 1)
        for sample in self._read_at(plan.places(nearby % plan.num_samples)):
            if sample is not None:
                return sample
        raise DamagedShardError(
            f"{STAND_INS} samples in a row cannot be read; the releases are "
            f"{', '.join(str(release) for release in self.releases)}"
        )


def _in_groups(batches: Iterator[tuple[int, Numbers]]) -> Iterator[list[tuple[int, Numbers]]]:
    """The batches in groups of a few thousand positions."""
    group: list[tuple[int, Numbers]] = []
    size = 0
    for end, positions in batches:
        group.append((end, positions))
        size += len(positions)
        if size >= PLACED_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group
