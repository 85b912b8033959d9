"""The time of one pass of Algorithm 1, against a plain loop with the same mathematics.

The plain loop is the most direct implementation: images in C, H, W order, a new tensor for every
sum and ReLU, gradients of D's weights computed in R's step as well, and one call of D for each kind
of image, in float32. Ours is timed in
float32, and in bfloat16 where the processor has it. Each has a process of its own, and all are
timed in turn, so that other work of the machine affects all.
"""

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from factory.images.scale import full_scale_for
from factory.networks.discriminator import Discriminator
from factory.networks.precision import computes_bfloat16, processor_kind
from factory.networks.refiner import Refiner
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.memory import keep_freed_memory
from factory.training.simgan import SimGAN
from schemas.refiner import RefinerConfig


def ours(
    config: TrainConfig,
    synthetic: np.ndarray,
    real: np.ndarray,
    *,
    domain: str = "eye",
    device: str = "cpu",
) -> SimGAN:
    """The factory's training, with a history in this process."""
    history = HistoryBuffer(config.buffer_size, (1, *synthetic.shape[1:]), config.seed)
    return SimGAN(config, TrainingInputs(synthetic, real, domain=domain), history, device=device)


class PlainRefiner(Refiner):
    """R with the same weights, written down as the formula reads."""

    def from_channels(self, channels: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(channels))
        for block in self.blocks:
            x = torch.relu(x + block.conv2(torch.relu(block.conv1(x))))
        return torch.tanh(self.last(x))


def plain_discriminator(config: TrainConfig, image_size: tuple[int, int]) -> Discriminator:
    """D with the same weights, whose ReLUs make new tensors."""
    discriminator = Discriminator(config.discriminator, image_size=image_size)
    for layer in discriminator.layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return discriminator


def plain(
    config: TrainConfig, synthetic: np.ndarray, real: np.ndarray, *, device: str = "cpu"
) -> Callable[[], object]:
    """One pass of the plain loop, with all images and the pool of past ones on the device."""
    refiner = PlainRefiner(config.refiner).to(device)
    discriminator = plain_discriminator(config, synthetic.shape[1:]).to(device)
    r_optimiser = torch.optim.Adam(refiner.parameters(), config.refiner_lr, config.betas)
    d_optimiser = torch.optim.Adam(
        discriminator.parameters(), config.discriminator_lr, config.betas
    )
    pool = torch.zeros(config.buffer_size, 1, *synthetic.shape[1:], device=device)
    half_scale = full_scale_for(config.full_scale, synthetic.dtype) / 2
    synthetic_images, real_images = (
        torch.from_numpy(images)[:, None].float().to(device) / half_scale - 1
        for images in (synthetic, real)
    )
    b = config.batch_size

    def entropy(logits: torch.Tensor, target: int) -> torch.Tensor:
        targets = torch.full((len(logits), *logits.shape[2:]), target, device=device)
        return functional.cross_entropy(logits, targets)

    def step() -> None:
        for _ in range(config.k_g):
            images = synthetic_images[torch.randint(len(synthetic_images), (b,))]
            refined = refiner(images)
            loss = entropy(discriminator(refined), 0)
            loss = loss + config.lambda_reg * (refined - images).abs().mean()
            r_optimiser.zero_grad()
            loss.backward()
            r_optimiser.step()
        for _ in range(config.k_d):
            images = synthetic_images[torch.randint(len(synthetic_images), (b // 2,))]
            fresh = refiner(images).detach()
            places = torch.randint(len(pool), (b // 2,))
            past = pool[places]
            pool[places] = fresh
            loss = 0.25 * (entropy(discriminator(fresh), 1) + entropy(discriminator(past), 1))
            batch = real_images[torch.randint(len(real_images), (b,))]
            loss = loss + 0.5 * entropy(discriminator(batch), 0)
            d_optimiser.zero_grad()
            loss.backward()
            d_optimiser.step()

    return step


def worker(pipe: Connection, which: str, config: TrainConfig, threads: int) -> None:
    """Make a pass and send its seconds, as often as it is asked to."""
    torch.set_num_threads(threads)
    synthetic, real = np.random.default_rng(0).integers(0, 256, (2, 512, 35, 55), dtype=np.uint8)
    if which == "plain":
        loop = plain(config, synthetic, real)
    else:
        keep_freed_memory()  # as every run does on a CPU
        loop = ours(config.model_copy(update={"precision": which}), synthetic, real).step
    while pipe.recv():
        start = time.perf_counter()
        loop()
        pipe.send(time.perf_counter() - start)


@contextmanager
def workers(config: TrainConfig, threads: int) -> Iterator[dict[str, Connection]]:
    """A process for each loop, and the pipe to it."""
    names = ["float32", *(["bfloat16"] if computes_bfloat16("cpu") else []), "plain"]
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for which in names:
        pipes[which], theirs = context.Pipe()
        processes.append(context.Process(target=worker, args=(theirs, which, config, threads)))
        processes[-1].start()
    yield pipes
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--passes", type=int, default=5, help="timed passes of each loop, for K_g 2"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch")
    parser.add_argument("--k-g", type=int, nargs="+", default=[2, 50], help="updates of R a pass")
    options = parser.parse_args()
    print(
        f"batch {options.batch}, {options.threads} thread(s), median of {options.passes}, "
        f"{processor_kind()}"
    )
    networks = {
        "small: 16 maps, 2 blocks": RefinerConfig(maps=16, blocks=2),
        "paper: 64 maps, 4 blocks": RefinerConfig(),
    }
    for k_g, (name, refiner) in itertools.product(options.k_g, networks.items()):
        config = TrainConfig(
            refiner=refiner,
            steps=1000,
            batch_size=options.batch,
            buffer_size=1024,
            k_g=k_g,
            refiner_pretrain_steps=0,
            discriminator_pretrain_steps=0,
        )
        passes = max(1, 2 * options.passes // k_g)
        # With many updates in a pass, the first one matters little.
        warm_up = 0 if k_g > passes else 1
        with workers(config, options.threads) as loops:
            seconds: dict[str, list[float]] = {which: [] for which in loops}
            for number in range(warm_up + passes):
                for which, pipe in loops.items():
                    pipe.send(True)
                    taken = pipe.recv()
                    if number >= warm_up:
                        seconds[which].append(taken)
        plain_s = statistics.median(seconds.pop("plain"))
        refined = (k_g + 0.5) * options.batch
        print(f"K_g {k_g}, {name}: plain {plain_s:.3f} s a pass")
        for which, times in seconds.items():
            ours_s = statistics.median(times)
            print(
                f"  ours in {which}: {ours_s:.3f} s, {plain_s / ours_s:.2f} times the plain "
                f"loop's speed, {refined / ours_s:.0f} refined images/s"
            )


if __name__ == "__main__":
    main()
