"""Batches for a training loop, whose state is that of the loop.

It imports PyTorch, as `torch_data` does and nothing else of the reader.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from factory.reading.order import Ends, Turn
from factory.reading.release import Release, Skipped
from factory.reading.resume import Epochs
from factory.reading.source import Source, unchanged
from factory.reading.torch_data import Transform, batch_of, turn_of_process

Collate = Callable[[list[Any]], Any]


class _Loaded(NamedTuple):
    """A batch on its way from a worker."""

    end: int
    content: Any
    """None where all samples of the batch are left out"""
    skipped: Counter[tuple[int, int, str]]
    """samples that its worker left out since the batch before: by number of the release, number of
    the shard, and why"""


class _Batches(IterableDataset[_Loaded]):
    """The batches of one epoch that a worker makes."""

    def __init__(
        self, epochs: Epochs, epoch: int, turn: Turn, transform: Transform, collate: Collate
    ):
        self._epochs, self._epoch, self._turn = epochs, epoch, turn
        self._transform, self._collate = transform, collate

    def __iter__(self) -> Iterator[_Loaded]:
        worker, turn, epochs = get_worker_info(), self._turn, self._epochs
        if worker is not None:
            turn = turn.of_worker(worker.id, worker.num_workers)
            gc.freeze()  # labels make garbage; what the worker began with is none of it
        before = _num_skipped(epochs.source)
        for batch in epochs.batches(self._epoch, turn, self._transform):
            content = self._collate(batch.samples) if batch.samples else None
            now = _num_skipped(epochs.source)
            yield _Loaded(batch.end, content, now - before)
            before = now


def _num_skipped(source: Source) -> Counter[tuple[int, int, str]]:
    """What this process left out so far, as `_Loaded.skipped`."""
    return Counter(
        {
            (number, shard, why): count
            for number, release in enumerate(source.releases)
            for (shard, why), count in release.num_skipped.items()
        }
    )


def _unbatched(loaded: _Loaded) -> _Loaded:
    """What a DataLoader does with a batch that is one already."""
    return loaded


class ReleaseLoader:
    """Batches for a training loop. Each iteration is the next epoch, or the rest of one.

    The state counts the batches that the loop has had, not those which workers have read ahead.
    The order of a rank is the same with any number of workers, so a state may be loaded with
    another number of them. It may be loaded with another number of ranks too: they go on with the
    same samples in the same order, dealt anew.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        num_workers: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        num_ranks: int | None = None,
        ends: Ends = "pad",
        drop_last: bool = False,
        transform: Transform = unchanged,
        collate: Collate = batch_of,
        **loading: Any,
    ):
        """
        Args:
            source: a release or a blend.
            batch_size: samples in a batch of this rank.
            num_workers: processes that read; 0 reads in this one.
            seed: of the order. All ranks have to give the same.
            rank: of this process; None for that of torch.distributed.
            ends: as of `Source.epoch`. With `pad` and `drop`, all ranks have as many batches.
            drop_last: leave the last batch out where it is smaller.
            transform: is applied to each sample, in the workers.
            collate: makes a batch of a list of them, in the workers.
            loading: further options of `torch.utils.data.DataLoader`: `prefetch_factor`,
                `pin_memory`, `multiprocessing_context`, `timeout`, `worker_init_fn`.
        """
        turn = turn_of_process(rank, num_ranks, batch_size=batch_size, ends=ends)
        self._epochs = Epochs(source, turn, seed=seed, shuffle=shuffle)
        self._drop_last, self._transform, self._collate = drop_last, transform, collate
        self._loading = loading | {"num_workers": num_workers}
        self._skipped: Counter[tuple[int, int, str]] = Counter()

    def __len__(self) -> int:
        """Batches of the next iteration."""
        left, size = self._epochs.left(), self._epochs.turn.batch_size
        return left // size if self._drop_last else -(-left // size)

    def __iter__(self) -> Iterator[Any]:
        epochs = self._epochs
        epoch, turn = epochs.begin()
        length = turn.num_samples(len(epochs.source))
        batches = _Batches(epochs, epoch, turn, self._transform, self._collate)
        loader = DataLoader(
            batches, batch_size=None, collate_fn=cast("Any", _unbatched), **self._loading
        )
        for loaded in cast("Iterator[_Loaded]", iter(loader)):
            self._skipped.update(loaded.skipped)
            if self._drop_last and loaded.end == length and length % turn.batch_size:
                continue
            epochs.had(epoch, turn, loaded.end)
            if loaded.content is not None:
                yield loaded.content
        epochs.end()

    @property
    def skipped(self) -> list[tuple[Release, Skipped]]:
        """What all workers left out so far of what the loop has had, because it was damaged."""
        releases = self._epochs.source.releases
        counts = sorted(self._skipped.items())
        return [(releases[n], Skipped(shard, count, why)) for (n, shard, why), count in counts]

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration reads, or goes on with."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch with the next iteration."""
        self._epochs.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """How far the training loop has come: plain numbers and words, to save with a checkpoint.

        Ranks that have made as many steps have the same state, unless `ends` is `uneven`.
        """
        return self._epochs.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, with any number of ranks and workers.

        Raises:
            ValueError: it is the state of other samples, or of another order.
        """
        self._epochs.load(state)
