import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from factory.networks.refiner_files import load_refiner
from factory.training.history import HistoryBuffer
from factory.training.workers import WorkerGroup
from support.trainers import (
    SHAPE,
    Killed,
    kill_at,
    make_gan,
    same,
    small_config,
    train_here,
    weights_of,
)


class Threads:
    """Several trainers in threads, whose gradients are averaged."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=30)
        self._given: dict[int, list[torch.Tensor]] = {}

    def group(self, rank: int) -> WorkerGroup:
        return WorkerGroup(rank, self.size, partial(self._average, rank))

    def _average(self, rank: int, tensors) -> None:
        self._given[rank] = [tensor.clone() for tensor in tensors]
        self.barrier.wait()
        for index, tensor in enumerate(tensors):
            kinds = {(given[index].dtype, given[index].shape) for given in self._given.values()}
            assert len(kinds) == 1, kinds  # or gloo aborts the process
            tensor.copy_(torch.stack([self._given[r][index] for r in range(self.size)]).mean(0))
        self.barrier.wait()

    def run(self, work) -> None:
        """`work(rank, group)` in each."""

        def guarded(rank: int) -> None:
            try:
                work(rank, self.group(rank))
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            for call in [pool.submit(guarded, rank) for rank in range(self.size)]:
                call.result()


class Locked(HistoryBuffer):
    """As an actor is: one call at a time."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()

    def exchange(self, fresh, worker=0):
        with self.lock:
            return super().exchange(fresh, worker)


@pytest.mark.slow
def test_two_workers_stay_one_refiner(images):
    """Different batches, averaged gradients, one history: equal weights after every step."""
    config, threads = small_config(), Threads(2)
    history = Locked(config.buffer_size, SHAPE, config.seed)
    gans = [make_gan(config, images, history, workers=threads.group(rank)) for rank in range(2)]
    assert not torch.equal(gans[0].draws.images("real", 8), gans[1].draws.images("real", 8))

    def work(rank, group) -> None:
        for _ in range(config.total_clock):
            gans[rank].step()
        gans[rank].wait_for_history()

    threads.run(work)
    assert same(weights_of(gans[0].refiner), weights_of(gans[1].refiner))
    assert same(weights_of(gans[0].discriminator), weights_of(gans[1].discriminator))
    statistics = history.statistics()
    num_steps = config.total_clock - config.refiner_pretrain_steps
    assert statistics.num_exchanges == 2 * num_steps
    assert statistics.num_stored == num_steps * config.batch_size // 2  # for any number of workers


@pytest.mark.parametrize("size", [2, 4])
def test_the_batch_of_all_workers_is_that_of_one(images, size):
    """An update of several workers is one worker's update on the same images."""
    config, threads = small_config(batch_size=16, buffer_size=0), Threads(size)
    alone = make_gan(config, images)
    gans = [make_gan(config, images, workers=threads.group(rank)) for rank in range(size)]
    drawn = {"synthetic": [], "real": []}
    for gan in gans:
        for domain in drawn:
            drawn[domain].append(gan.draws.images(domain, 16 // size))
    given = {domain: torch.cat(parts) for domain, parts in drawn.items()}
    alone.draws.images = lambda domain, n: given[domain]
    for rank, gan in enumerate(gans):
        gan.draws.images = lambda domain, n, rank=rank: drawn[domain][rank]
    for step in ("refiner_step", "discriminator_step"):
        getattr(alone, step)()
        threads.run(lambda rank, _, step=step: getattr(gans[rank], step)())
    for network in ("refiner", "discriminator"):
        expected, actual = (weights_of(getattr(gan, network)) for gan in (alone, gans[0]))
        assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(expected, actual, strict=True))


def test_workers_that_cannot_share_a_batch_evenly_are_told(images):
    with pytest.raises(ValueError, match="make batch_size a multiple of 6"):
        make_gan(
            small_config(batch_size=8), images, workers=WorkerGroup(0, 3, lambda tensors: None)
        )


@pytest.mark.slow
def test_two_workers_go_on_together_after_a_kill(images, tmp_path):
    """From the same checkpoint, with the history of its moment and what each was last given."""
    config = small_config()

    def train_both(kill_clock: int | None) -> Locked:
        threads = Threads(2)
        history = Locked(config.buffer_size, SHAPE, config.seed)

        def work(rank, group) -> None:
            train_here(
                config,
                images,
                tmp_path,
                history=history,
                on_progress=kill_at(kill_clock) if kill_clock else None,
                workers=group,
            )

        threads.run(work)
        return history

    with pytest.raises((Killed, threading.BrokenBarrierError)):
        train_both(10)
    history = train_both(None)
    assert load_refiner(tmp_path)[1].step == 12
    num_steps = config.total_clock - config.refiner_pretrain_steps
    assert history.statistics().num_exchanges == 2 * num_steps


def test_workers_that_do_not_share_the_folder_are_stopped(images, tmp_path):
    def others_are_ahead(gradients):
        gradients[0].add_(2.5)

    with pytest.raises(RuntimeError, match="all workers share"):
        train_here(small_config(), images, tmp_path, workers=WorkerGroup(1, 2, others_are_ahead))


@pytest.mark.slow
def test_only_the_first_worker_writes(images, tmp_path):
    """The others need nothing but the folder of an earlier part of the run, if there is one."""
    gradients_seen = []
    group = WorkerGroup(1, 2, gradients_seen.append)
    train_here(small_config(), images, tmp_path, workers=group)
    assert gradients_seen and not any(tmp_path.iterdir())
