"""The cost of the shared history for a training step, by the number of workers and actors.

    python benchmarks/bench_history.py [--steps 200] [--step-ms 15 40]

The baseline is the same loop without a history. A step is simulated by a sleep of the time that a
GPU would compute, so that the difference is the cost of the exchanges alone. As in `SimGAN`, an
exchange runs in a thread during the next step. The workers share a batch of 512 eyes of 35 x 55, as
in the paper; half of it, 2 MB of float16 images, is sent in each direction in every step. Every
worker and every actor is a process.
"""

import argparse
import json
import os
import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray

from cluster.on_ray.history import SharedHistory

SHAPE = (1, 35, 55)
HALF_BATCH = 256
CAPACITY = 51_200


@ray.remote(num_cpus=0)
class Worker:
    """A worker that exchanges images and trains nothing."""

    def __init__(self, history: SharedHistory, rank: int, num_images: int) -> None:
        self.history, self.rank = history, rank
        rng = np.random.default_rng(rank)
        self.fresh = rng.uniform(-1, 1, (num_images, *SHAPE)).astype(np.float16)
        self.thread = ThreadPoolExecutor(1)

    def steps(self, count: int, step_s: float, exchange: bool) -> float:
        """Run `count` steps; the seconds that a step took."""
        past: Future[np.ndarray] | None = None
        started = time.perf_counter()
        for _ in range(count):
            time.sleep(step_s)
            if exchange:
                if past is not None:
                    past.result()
                past = self.thread.submit(self.history.exchange, self.fresh, self.rank)
        seconds = time.perf_counter() - started
        if past is not None:
            past.result()
        return seconds / count


def measure(workers: int, actors: int, step_s: float, steps: int, rounds: int) -> dict[str, float]:
    """Medians over rounds of the times of the slowest worker."""
    history = SharedHistory.start(CAPACITY, SHAPE, 0, actors=actors)
    history.restore("/nowhere", {})
    every = [Worker.remote(history, rank, HALF_BATCH // workers) for rank in range(workers)]
    fill = CAPACITY // HALF_BATCH + 10
    ray.get([worker.steps.remote(fill, 0.0, True) for worker in every])
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for exchange, measured in seconds.items():
            calls = [worker.steps.remote(steps, step_s, exchange) for worker in every]
            measured.append(max(ray.get(calls)))
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    return {
        "step_ms": 1e3 * statistics.median(seconds[True]),
        "baseline_step_ms": 1e3 * statistics.median(seconds[False]),
        "added_percent": 100 * (statistics.median(ratios) - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step-ms", type=float, nargs="+", default=[15.0, 40.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    for step_ms in args.step_ms:
        for workers in args.workers:
            for actors in (count for count in args.actors if count <= workers):
                medians = measure(workers, actors, step_ms / 1e3, args.steps, args.rounds)
                rounded = {name: round(value, 2) for name, value in medians.items()}
                named = {"workers": workers, "actors": actors, "baseline": "no history"}
                print(json.dumps({"bench": f"history, step of {step_ms:g} ms", **named, **rounded}))
    ray.shutdown()


if __name__ == "__main__":
    main()
