"""What the factory adds to the time of a training pass with 1, 2 and 4 workers.

    python benchmarks/bench_scaling.py [--pass-ms 40 200] [--workers 1 2 4]

It adds the drawing of images, the averaging of gradients, the optimisers and the shared history.
The networks are simulated: their forward passes sleep for the time that a GPU would compute the
worker's share of the batch, forwards and backwards, and use every weight, so that gradients have
their true size. All else is the factory's code, in Ray Train with gloo: a batch of 512 eyes of
35 x 55, the paper's networks, K_g 2. The baseline is the sleeps alone for that number of workers.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer
from torch import Tensor, nn

from cluster.on_ray.history import SharedHistory
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.simgan import SimGAN
from factory.training.workers import WorkerGroup, average_over_process_group

BATCH = 512
SHAPE = (1, 35, 55)
WARM_UP = 10
CONFIG = TrainConfig(
    steps=10_000,
    batch_size=BATCH,
    buffer_size=5_120,
    refiner_pretrain_steps=0,
    discriminator_pretrain_steps=0,
    num_threads=1,
)
IMAGES_OF_A_PASS = (CONFIG.k_g + CONFIG.k_d * 0.5) * BATCH
"""images that R refines in a pass, of all workers together; the sleeps are proportional to it"""


def simulated(
    network: nn.Module, made: Callable[[Tensor], Tensor], seconds: Callable[[int], float]
) -> Callable[..., Tensor]:
    """A forward pass that takes time, and whose gradient reaches every weight."""

    def forward(images: Tensor, *_: Any) -> Tensor:
        time.sleep(seconds(len(images)))
        touch = torch.stack([p.flatten()[0] for p in network.parameters()]).sum()
        return made(images) + 0.0 * touch

    return forward


def loop(options: dict[str, Any]) -> None:
    """Run passes in one worker and time them after a warm-up."""
    torch.set_num_threads(1)
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    rng = np.random.default_rng(rank)
    synthetic, real = rng.integers(0, 256, (2, 2_048, *SHAPE[1:]), dtype=np.uint8)
    history = options["history"] or HistoryBuffer(CONFIG.buffer_size, SHAPE, 0)
    group = WorkerGroup(rank, size, average_over_process_group if size > 1 else None)
    gan = SimGAN(CONFIG, TrainingInputs(synthetic, real, domain="eye"), history, workers=group)
    per_image_s = options["pass_s"] / IMAGES_OF_A_PASS
    gan._refine = simulated(gan.refiner, torch.tanh, lambda n: n * per_image_s)
    gan._judge = simulated(
        gan.discriminator, lambda images: images[:, :, ::4, ::4].repeat(1, 2, 1, 1), lambda n: 0.0
    )
    for _ in range(WARM_UP):
        gan.step()
    gan.workers.wait_for_all(gan.device)
    waited, started = gan.waited_s, time.perf_counter()
    for _ in range(options["passes"]):
        gan.step()
    gan.workers.wait_for_all(gan.device)
    spent = time.perf_counter() - started
    shares = {name: (value - waited[name]) / spent for name, value in gan.waited_s.items()}
    if rank == 0:
        timing = {"pass_s": spent / options["passes"], **shares}
        Path(options["result"]).write_text(json.dumps(timing))


def measure(workers: int, pass_s: float, passes: int) -> dict[str, float]:
    """Train for some passes; the seconds of one pass, and the shares of waiting."""
    history = None
    if workers > 1:
        history = SharedHistory.start(CONFIG.buffer_size, SHAPE, 0)
        history.restore("/nowhere", {})
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "history": history,
            "pass_s": pass_s,
            "passes": passes,
            "result": f"{folder}/result.json",
        }
        TorchTrainer(
            loop,
            train_loop_config=options,
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers, resources_per_worker={"CPU": 0.01}
            ),
            run_config=ray.train.RunConfig(name="scaling", storage_path=folder),
        ).fit()
        timing: dict[str, float] = json.loads((Path(folder) / "result.json").read_text())
    return timing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pass-ms", type=float, nargs="+", default=[40.0, 200.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--passes", type=int, default=60)
    args = parser.parse_args()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    for pass_ms in args.pass_ms:
        for workers in args.workers:
            timing = measure(workers, pass_ms / 1e3, args.passes)
            ideal_s = pass_ms / 1e3 / workers
            line = {
                "workers": workers,
                "baseline_pass_ms": round(1e3 * ideal_s, 1),
                "pass_ms": round(1e3 * timing["pass_s"], 1),
                "added_ms": round(1e3 * (timing["pass_s"] - ideal_s), 1),
                "images_per_s": round(IMAGES_OF_A_PASS / timing["pass_s"]),
                "data_wait_percent": round(100 * timing["data"], 1),
                "history_wait_percent": round(100 * timing["history"], 1),
            }
            print(json.dumps({"bench": f"scaling, {pass_ms:g} ms for one worker", **line}))
    ray.shutdown()


if __name__ == "__main__":
    main()
