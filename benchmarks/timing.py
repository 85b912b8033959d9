"""How benchmarks of networks measure: runs in turn, a device's clock, the peak of its matrices."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig

EYE = ImageSpec(height=35, width=55)
MATRIX_SIDE = 8192
"""size of the square matrices whose product measures the peak"""


def flop_per_image(config: RefinerConfig, image: ImageSpec = EYE) -> int:
    """Operations of the convolutions, where a multiplication with an addition counts as two."""
    first = config.first_kernel if config.first_kernel is not None else config.kernel
    weights = config.maps * config.channels * (first**2 + 1)
    weights += 2 * config.blocks * (config.maps * config.kernel) ** 2
    return 2 * weights * image.height * image.width


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The results of every run in each round, after one round of warm-up."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            result = run()
            if number > 0:
                results[name].append(result)
    return results


class Pair(NamedTuple):
    """Medians of two runs that took turns."""

    ours: float
    theirs: float
    ratio: float
    """median over rounds of ours / theirs"""


def in_pairs(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Pair:
    """What two runs give in turn, after one round of warm-up."""
    results = in_turn({"ours": ours, "theirs": theirs}, rounds)
    ratios = [a / b for a, b in zip(results["ours"], results["theirs"], strict=True)]
    return Pair(*map(statistics.median, (results["ours"], results["theirs"], ratios)))


def rate(refine: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    """Images per second of wall time, from host memory to host memory."""
    start = time.perf_counter()
    refine(images)
    return len(images) / (time.perf_counter() - start)


def seconds_of(run: Callable[[], object], device: str = "cpu") -> float:
    """Wall seconds of one run, until the device has done all of it."""
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def device_seconds(run: Callable[[], object], repeats: int, device: str = "cuda") -> float:
    """Seconds of one run by the device's clock, the mean of several repeats.

    Args:
        device: `cpu` reads the wall clock, to try a benchmark without a GPU.
    """
    if device == "cpu":
        return sum(seconds_of(run) for _ in range(repeats)) / repeats
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / repeats


def matrix_peak_flops(rounds: int, device: str = "cuda", side: int = MATRIX_SIDE) -> float:
    """FLOP/s of the fastest of several products of large bfloat16 matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = min(device_seconds(lambda: a @ b, 20, device) for _ in range(rounds + 1))
    return float(2 * side**3 / seconds)
