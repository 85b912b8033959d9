"""Images per second of the engines with the paper's eye refiner, against public SimGAN code.

On a CPU, these take turns on one thread: a plain PyTorch loop with batches of 256, as public SimGAN
code has it, the same with batches of 64, and the engines of PyTorch, ncnn and OpenVINO in float32
and, where the processor has it, in bfloat16. Then ncnn runs in one
process and in one process for each core.

On a GPU, the CUDA engine is measured with several batch sizes, from images in host memory to images
in host memory, and without these copies. The output has the share of the bfloat16 peak, which is
measured in the same run, the gain by `torch.compile`, and a profile of the time on the device.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from timing import (
    EYE,
    MATRIX_SIDE,
    device_seconds,
    flop_per_image,
    in_turn,
    matrix_peak_flops,
    rate,
)

from factory.networks.precision import computes_bfloat16, processor_kind
from factory.networks.refiner import Refiner
from factory.refinement.engines.cuda import (
    CompileMode,
    CudaEngine,
    CudaLane,
    suitable_batch,
)
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.ncnn import NcnnEngine
from factory.refinement.engines.parity import CheckedEngine, compare, probe_images
from schemas.refiner import Precision


def some_images(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, EYE.height, EYE.width), dtype=np.uint8)


# --- on a CPU ---------------------------------------------------------------------------------


def rate_of_core(refine: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    """Images per second of CPU time, on which other work of the machine has little influence."""
    start = time.process_time()
    refine(images)
    return len(images) / (time.process_time() - start)


def plain_loop(refiner: Refiner, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """The most direct implementation: images in C, H, W order, batch after batch."""

    def refine(images: np.ndarray) -> np.ndarray:
        refined = []
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                batch = torch.from_numpy(images[start : start + batch_size])
                output = refiner(batch[:, None].float() / 127.5 - 1)
                refined.append(((output + 1) * 127.5).round().clamp(0, 255).byte().numpy())
        return np.concatenate(refined)[:, 0]

    return refine


def worker(pipe: Connection) -> None:
    """The process of one core, which refines for as many seconds as it is asked to.

    It sends back images per second of wall time, and of CPU time.
    """
    engine, images = NcnnEngine(Refiner()), some_images(8)
    engine(images)
    pipe.send(None)
    while (seconds := pipe.recv()) > 0:
        done, start, cpu_start = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            engine(images)
            done += len(images)
        elapsed, cpu_elapsed = time.perf_counter() - start, time.process_time() - cpu_start
        pipe.send((done / elapsed, done / cpu_elapsed))


def bench_cpu(rounds: int, num_images: int) -> None:
    torch.set_num_threads(1)
    refiner, images = Refiner().eval(), some_images(num_images)
    engines: dict[str, CheckedEngine] = {}
    for precision in ("float32", *(["bfloat16"] if computes_bfloat16("cpu") else [])):
        of_precision = [
            TorchEngine(refiner, precision=precision),
            NcnnEngine(refiner, precision=precision),
            *openvino_engine(refiner, precision),
        ]
        engines |= {engine.name: engine for engine in of_precision}
    loops = {
        "plain PyTorch, batch 256": plain_loop(refiner, 256),
        "plain PyTorch, batch 64": plain_loop(refiner, 64),
        **engines,
    }
    print(f"one thread, {num_images} images, median of {rounds} rounds in turn [least, most];")
    print(f"images per second of CPU time; this processor is of the kind {processor_kind()}")
    rates = in_turn(
        {
            name: lambda engine=engine: rate_of_core(engine, images)
            for name, engine in loops.items()
        },
        rounds,
    )
    base = rates["plain PyTorch, batch 64"]
    for name, per_round in rates.items():
        ratio = statistics.median(mine / other for mine, other in zip(per_round, base, strict=True))
        print(
            f"  {name:26} {statistics.median(per_round):6.1f} images/s "
            f"[{min(per_round):.0f}, {max(per_round):.0f}], {ratio:.2f} x batch 64"
        )
    for name, engine in engines.items():
        print(f"  {name}: {compare(engine, TorchEngine(refiner), probe_images(EYE))}")


def openvino_engine(refiner: Refiner, precision: Precision) -> list[CheckedEngine]:
    """OpenVINO's, where it is installed."""
    try:
        from factory.refinement.engines.openvino import OpenvinoEngine
    except ImportError:
        return []
    return [OpenvinoEngine(refiner, height=EYE.height, width=EYE.width, precision=precision)]


def bench_processes(rounds: int, num_processes: int, seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(num_processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs,))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()

    cpu_rates: dict[int, list[float]] = {1: [], num_processes: []}

    def together(count: int) -> float:
        for pipe in pipes[:count]:
            pipe.send(seconds)
        answers = np.array([pipe.recv() for pipe in pipes[:count]])
        cpu_rates[count].append(answers[:, 1].mean())
        return float(answers[:, 0].sum())

    runs = {str(count): lambda count=count: together(count) for count in cpu_rates}
    rates = in_turn(runs, rounds)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(0.0)
        process.join()
    for name, per_round in rates.items():
        cpu_rate = statistics.median(cpu_rates[int(name)][1:])
        print(
            f"  ncnn, {name:>3} process(es)      {statistics.median(per_round):6.1f} images/s "
            f"[{min(per_round):.0f}, {max(per_round):.0f}], {cpu_rate:.1f} per second of CPU time"
        )
    one, many = rates.values()
    scaling = statistics.median(b / a for a, b in zip(one, many, strict=True))
    print(f"  {scaling:.2f} x one process, {scaling / num_processes:.0%} of linear; ", end="")
    share = statistics.median(cpu_rates[num_processes][1:]) / statistics.median(cpu_rates[1][1:])
    print(f"by CPU time {share:.0%}")


# --- on a GPU ---------------------------------------------------------------------------------


def device_only_rate(engine: CudaEngine) -> float:
    lane = engine.lanes[0]
    assert isinstance(lane, CudaLane)
    with torch.inference_mode():
        seconds = device_seconds(lambda: lane.compute(lane.device_given), 20)
    return engine.batch_size / seconds


def bench_cuda(rounds: int, batch_sizes: list[int], num_images: int) -> None:
    refiner, images = Refiner(), some_images(num_images)

    def make(batch_size: int, mode: CompileMode | None) -> CudaEngine:
        return CudaEngine(
            refiner, height=EYE.height, width=EYE.width, batch_size=batch_size, compile_mode=mode
        )

    peak = matrix_peak_flops(rounds)
    flop = flop_per_image(refiner.config)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"bfloat16 {MATRIX_SIDE} x {MATRIX_SIDE} product: {peak / 1e12:.0f} TFLOP/s; ", end="")
    print(f"{flop / 1e9:.3f} GFLOP an image; median of {rounds} rounds, {num_images} images")

    def line(label: str, engine: CudaEngine) -> None:
        rates = in_turn(
            {
                "with_copies": lambda: rate(engine, images),
                "device": lambda: device_only_rate(engine),
            },
            rounds,
        )
        with_copies, device = (statistics.median(values) for values in rates.values())
        print(
            f"  {label:34} {with_copies:9.0f} images/s, "
            f"{with_copies * flop / peak:6.1%} of the peak; "
            f"without copies {device:9.0f}, {device * flop / peak:6.1%}"
        )

    for batch_size in batch_sizes:
        line(f"batch {batch_size}, compiled", make(batch_size, "default"))
        torch.cuda.empty_cache()
    usual = suitable_batch(EYE.height, EYE.width)
    line(f"batch {usual}, PyTorch's kernels", make(usual, None))
    line(f"batch {usual}, autotuned", make(usual, "max-autotune-no-cudagraphs"))
    eager = TorchEngine(refiner, batch_size=256, device="cuda")
    rates = in_turn({"eager": lambda: rate(eager, images)}, rounds)["eager"]
    print(f"  PyTorch eager, batch 256, float32  {statistics.median(rates):9.0f} images/s")

    engine = make(usual, "default")
    parity = compare(engine, TorchEngine(refiner), images[:64])
    print(f"  bfloat16 against float32 on the CPU: {parity}")
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as profile:
        engine(images)
    print(profile.key_averages().table(sort_by="self_device_time_total", row_limit=20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed rounds")
    parser.add_argument(
        "--images", type=int, help="images of a round; by default 256, and 65536 on a GPU"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes that run at the same time, on a CPU",
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="length of a round with several processes"
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[64, 128, 256, 512, 1024, 2048],
        help="batch sizes, on a GPU",
    )
    options = parser.parse_args()
    if options.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("PyTorch sees no CUDA device")
        bench_cuda(options.rounds, options.batches, options.images or 65536)
        return
    bench_cpu(options.rounds, options.images or 256)
    if options.processes > 1:
        bench_processes(options.rounds, options.processes, options.seconds)


if __name__ == "__main__":
    main()
