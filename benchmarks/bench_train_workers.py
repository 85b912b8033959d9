"""One worker with two threads, or two workers with one thread: which trains faster on two cores.

    python benchmarks/bench_train_workers.py [--cores 2] [--batch 32] [--passes 5]

Both train the same networks on the same batch with the factory's code. Two workers share the batch,
average their gradients with gloo, and have a history each in place of the shared one, whose
exchange takes 8 ms a pass (`bench_history.py`). The two ways are timed in turn.
"""

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import torch

from factory.networks.precision import computes_bfloat16, processor_kind
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.memory import keep_freed_memory
from factory.training.simgan import SimGAN
from factory.training.workers import WorkerGroup, average_over_process_group
from schemas.refiner import RefinerConfig

NETWORKS = {
    "small: 16 maps, 2 blocks": RefinerConfig(maps=16, blocks=2),
    "paper: 64 maps, 4 blocks": RefinerConfig(),
}
HEIGHT, WIDTH = 35, 55


def work(pipe: Connection, config: TrainConfig, rank: int, size: int, meet: str) -> None:
    """Make a pass and send its seconds, as often as it is asked to."""
    torch.set_num_threads(config.num_threads or 1)
    keep_freed_memory()
    average = None
    if size > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meet}", rank=rank, world_size=size
        )
        average = average_over_process_group
    images = np.random.default_rng(rank).integers(0, 256, (2, 512, HEIGHT, WIDTH), dtype=np.uint8)
    gan = SimGAN(
        config,
        TrainingInputs(images[0], images[1], domain="eye"),
        HistoryBuffer(config.buffer_size, (1, HEIGHT, WIDTH), config.seed),
        workers=WorkerGroup(rank, size, average),
    )
    while pipe.recv():
        started = time.perf_counter()
        gan.step()
        pipe.send(time.perf_counter() - started)


@contextmanager
def team(config: TrainConfig, size: int) -> Iterator[list[Connection]]:
    """That many workers in processes of their own, and the pipes to them."""
    context, pipes, processes = multiprocessing.get_context("spawn"), [], []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            pipe, theirs = context.Pipe()
            arguments = (theirs, config, rank, size, f"{folder}/meet")
            processes.append(context.Process(target=work, args=arguments))
            processes[-1].start()
            pipes.append(pipe)
        yield pipes
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(False)
            process.join()


def pass_s(pipes: list[Connection]) -> float:
    """The seconds of one pass: those of the slowest worker."""
    for pipe in pipes:
        pipe.send(True)
    return max(pipe.recv() for pipe in pipes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=2, help="cores that both ways use")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch")
    parser.add_argument("--passes", type=int, default=5, help="timed passes of each way")
    options = parser.parse_args()
    print(f"batch {options.batch}, {options.cores} cores, {processor_kind()}")
    precisions = ("float32", *(["bfloat16"] if computes_bfloat16("cpu") else []))
    for (name, refiner), precision in itertools.product(NETWORKS.items(), precisions):
        config = TrainConfig(
            refiner=refiner,
            precision=precision,
            steps=1000,
            batch_size=options.batch,
            buffer_size=1024,
            refiner_pretrain_steps=0,
            discriminator_pretrain_steps=0,
        )
        threads = config.model_copy(update={"num_threads": options.cores})
        workers = config.model_copy(update={"num_threads": 1})
        with team(threads, 1) as one, team(workers, options.cores) as several:
            seconds: dict[str, list[float]] = {"threads": [], "workers": []}
            for number in range(1 + options.passes):  # the first one warms up
                for which, pipes in (("threads", one), ("workers", several)):
                    taken = pass_s(pipes)
                    if number:
                        seconds[which].append(taken)
        by_threads, by_workers = (statistics.median(taken) for taken in seconds.values())
        print(
            f"{name}, {precision}: one worker with {options.cores} threads {by_threads:.3f} s a "
            f"pass, {options.cores} workers with one {by_workers:.3f} s: "
            f"{by_workers / by_threads:.2f} times as long"
        )


if __name__ == "__main__":
    main()
