"""Releases as data sets of PyTorch. Of the reader only this module and `loader` import it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from factory.reading.order import Ends, Turn
from factory.reading.release import Release
from factory.reading.resume import Epochs
from factory.reading.sample import Sample
from factory.reading.source import Source, unchanged

Transform = Callable[[Sample], Any]


class Batch(NamedTuple):
    """Samples side by side."""

    keys: list[str]
    images: torch.Tensor
    """(n, height, width) or (n, height, width, 3), uint8 or uint16"""
    labels: dict[str, Any]
    """by name, of n samples: float32 where they are numbers, or lists of numbers of one shape, NaN
    for a null; bool where all are true or false; else a list"""


def batch_of(samples: list[Sample]) -> Batch:
    """Samples side by side, for `collate` and for the `collate_fn` of a DataLoader.

    Raises:
        ValueError: there are none, or their images differ in shape.
    """
    labels = [sample.labels for sample in samples]
    names = dict.fromkeys(name for of_sample in labels for name in of_sample)
    return Batch(
        [sample.key for sample in samples],
        torch.from_numpy(np.stack([sample.image for sample in samples])),
        {name: _side_by_side([of.get(name) for of in labels]) for name in names},
    )


def _side_by_side(values: list[Any]) -> Any:
    """A tensor of values that are all numbers, or lists of numbers of one shape; else the list."""
    known = [value for value in values if value is not None]
    if not known or isinstance(known[0], dict):
        return values
    try:
        array = np.array(known)
    except ValueError:  # their shapes differ
        return values
    if array.dtype == bool and len(known) == len(values):
        return torch.from_numpy(array)
    if array.dtype.kind not in "fiu":
        return values
    numbers = np.full((len(values), *array.shape[1:]), np.nan, np.float32)
    numbers[[value is not None for value in values]] = array
    return torch.from_numpy(numbers)


class ReleaseDataset(Dataset[Any]):
    """A release as a map-style data set: `dataset[i]` is one read.

    A DataLoader may read it in any order, that of a sampler of its own too.
    """

    def __init__(self, release: Release, transform: Transform = unchanged):
        self.release, self.transform = release, transform

    def __len__(self) -> int:
        return len(self.release)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.release[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """A batch, which a DataLoader asks for at once."""
        return [self.transform(sample) for sample in self.release.take(indices)]


def turn_of_process(
    rank: int | None, num_ranks: int | None, *, batch_size: int, ends: Ends
) -> Turn:
    """The turn of a rank in a whole epoch; of the rank that this process has in torch.distributed
    where none is given, or of the only one.

    Raises:
        ValueError: the rank is given without their number, or does not exist.
    """
    if (rank is None) != (num_ranks is None):
        raise ValueError("give rank and num_ranks, or neither of them")
    if rank is None or num_ranks is None:
        rank, num_ranks = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Turn(rank, num_ranks, batch_size=batch_size, ends=ends)


class ReleaseIterable(IterableDataset[Any]):
    """Releases as an iterable data set: each iteration is the next epoch.

    In a DataLoader, its workers share the samples. They read ahead of the training loop, so that
    the state is known to a `ReleaseLoader`, and to this data set where it is read without workers.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        num_ranks: int | None = None,
        ends: Ends = "pad",
        transform: Transform = unchanged,
    ):
        """
        Args:
            source: a release or a blend.
            batch_size: that of the DataLoader. With it, the order is the same with any number of
                workers.
            seed: of the order. All ranks have to give the same.
            rank: of this process; None for that of torch.distributed.
            ends: as of `Source.epoch`.
            transform: is applied to each sample, in the workers.
        """
        self.transform = transform
        turn = turn_of_process(rank, num_ranks, batch_size=batch_size, ends=ends)
        self._epochs = Epochs(source, turn, seed=seed, shuffle=shuffle)
        flag = torch.zeros((), dtype=torch.bool)
        self._read_by_workers = flag.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[Any]:
        epochs = self._epochs
        epoch, turn = epochs.begin()
        worker = get_worker_info()
        if worker is not None:
            self._read_by_workers.fill_(True)
            turn = turn.of_worker(worker.id, worker.num_workers)
        made = turn.done
        for batch in epochs.batches(epoch, turn, self.transform):
            had = batch.end - len(batch.samples)
            made += batch.num_skipped
            for sample in batch.samples:
                had, made = had + 1, made + 1
                if worker is None:
                    epochs.had(epoch, turn, had)
                else:
                    epochs.made(epoch, turn, made)
                yield sample
        epochs.end()

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next. A DataLoader whose workers are not persistent needs it, because
        they take up a copy of this data set each time."""
        self._epochs.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """How far this process has come. In a worker of a DataLoader it is the worker's own state,
        which one in the same place goes on from, as with torchdata's StatefulDataLoader.

        Raises:
            RuntimeError: workers of a DataLoader read them, and how far ahead is not known here.
        """
        if self._read_by_workers and get_worker_info() is None:
            raise RuntimeError(
                "workers of a DataLoader read this data set ahead of the training loop, so it does "
                "not know which samples the loop has had: use ReleaseLoader, and its state_dict"
            )
        return self._epochs.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, with any number of ranks and workers.

        Raises:
            ValueError: it is the state of other samples, or of another order.
        """
        self._epochs.load(state, in_worker=get_worker_info() is not None)
