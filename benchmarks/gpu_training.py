"""Steps of `gpu_session.sh`: passes of Algorithm 1 on one device, and what the history costs."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from bench_train_step import ours, plain
from gpu_rows import NotHereError, Session
from timing import Pair, flop_per_image, in_pairs, in_turn, matrix_peak_flops, seconds_of

from factory.networks.precision import computes_bfloat16, resolved
from factory.training import draws
from factory.training.config import TrainConfig
from factory.training.history import HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.simgan import SimGAN
from factory.training.workers import WorkerGroup, average_over_process_group

NUM_IMAGES = {"eye": 4096, "hand": 256}
ROUNDS = {"eye": 10, "hand": 5}
STEPS = 100
"""of `configs/<domain>.toml`, in `eye_config` and `hand_config`"""
SHOWN = (
    "realism_loss",
    "regularisation_loss",
    "discriminator_loss",
    "mean_abs_delta",
    "accuracy_refined",
    "accuracy_real",
)
"""metrics in a row; the log has all"""
BACKENDS = {"cuda": "nccl", "cpu": "gloo"}
"""of torch.distributed, by device"""


def images_of(session: Session, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Drawn images (n, H, W) of both sets, synthetic and real."""
    count = 8 if session.tiny else NUM_IMAGES[domain]
    return session.drawn(domain, count, 0), session.drawn(domain, count, 1)


def pass_in(seconds: float, config: TrainConfig) -> str:
    """The time of a pass, and how many images it refines in a second."""
    refined = config.k_g * config.batch_size + config.k_d * config.batch_size // 2
    return f"{1e3 * seconds:,.1f} ms a pass, {refined / seconds:,.0f} refined images/s"


def eye_step(session: Session) -> None:
    """Passes with the paper's networks for eyes."""
    training_steps(session, "eye")


def hand_step(session: Session) -> None:
    """Passes with the paper's networks for hands."""
    training_steps(session, "hand")


def training_steps(session: Session, domain: str) -> None:
    """Rows of one domain: every precision, compiled or not, and with images in the host's memory.

    The plain loop is the baseline: PyTorch eager in float32, its images on the device as well.
    """
    device, rounds = session.device, 1 if session.tiny else ROUNDS[domain]
    images = images_of(session, domain)
    config = session.config(domain)
    batch = f"batch {config.batch_size}, K_g {config.k_g}"
    baseline = plain(config, *images, device=device)

    def gan_of(**changes: object) -> SimGAN:
        return ours(session.config(domain, **changes), *images, domain=domain, device=device)

    def row(what: str, mine: SimGAN, theirs: Callable[[], object], name: str) -> None:
        first_s = seconds_of(mine.step, device)  # with the compiler's work
        pair = passes_in_turn(mine.step, theirs, rounds, device)
        session.row(
            f"one pass of {domain} training, {batch}, {what}",
            ours=f"{pass_in(pair.ours, config)} (the first took {first_s:.1f} s)",
            baseline=f"{name}: {1e3 * pair.theirs:,.1f} ms",
            ratio=pair.ratio,
        )

    eager = f"plain loop, eager {session.float32}"
    row(f"{session.float32}, images on the device", gan_of(), baseline, eager)
    if computes_bfloat16(device) or session.tiny:
        in_bfloat16 = gan_of(precision="bfloat16")
        row("bfloat16, images on the device", in_bfloat16, baseline, eager)
        # Where images stay is decided when a training is made.
        with patch.object(draws, "RESIDENT_SHARE", 0.0):
            from_host = gan_of(precision="bfloat16")
        name = "the same, images in the host's memory"
        row("bfloat16, images on the device", in_bfloat16, from_host.step, name)
        if device == "cuda":
            share_row(session, domain, in_bfloat16, rounds)
        row("bfloat16, compiled", gan_of(precision="bfloat16", compile=True), baseline, eager)
    else:
        session.row(f"{domain} training in bfloat16", ours="not run: no hardware for it here")
    row(f"{session.float32}, compiled", gan_of(compile=True), baseline, eager)


def passes_in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, device: str
) -> Pair:
    """Seconds of a pass of two loops."""
    return in_pairs(lambda: seconds_of(ours, device), lambda: seconds_of(theirs, device), rounds)


def share_row(session: Session, domain: str, gan: SimGAN, rounds: int) -> None:
    """Which share of the peak, measured now, a pass reaches; its convolutions in R count alone.

    An update has three times the operations of refining.
    """
    config, peak = gan.config, matrix_peak_flops(2)
    images = 3 * config.k_g * config.batch_size + config.k_d * config.batch_size // 2
    flop = images * flop_per_image(config.refiner, session.image(domain))
    times = in_turn({"ours": lambda: seconds_of(gan.step, session.device)}, rounds)["ours"]
    session.row(
        f"share of the matrix peak of such a pass in {config.precision}: {flop / 1e12:.1f} TFLOP "
        "in the refiner's convolutions alone",
        ours=f"{flop / statistics.median(times) / peak:.1%}",
        baseline=f"bfloat16 matrix product: {peak / 1e12:.0f} TFLOP/s",
    )


class Mirror:
    """A history that keeps nothing and hands back what it is given."""

    def exchange(self, fresh: np.ndarray, worker: int = 0) -> np.ndarray:
        """As `History.exchange`."""
        return fresh


def history(session: Session) -> None:
    """What a history in this process adds to a pass of eyes, and one exchange by itself."""
    device, rounds = session.device, 1 if session.tiny else 2 * ROUNDS["eye"]
    precision = "bfloat16" if computes_bfloat16(device) else "float32"
    config = session.config("eye", precision=precision)
    synthetic, real = images_of(session, "eye")
    inputs = TrainingInputs(synthetic, real, domain="eye")
    shape = (1, *synthetic.shape[1:])
    half = config.batch_size // 2
    rng = np.random.default_rng(0)
    fresh = rng.uniform(-1, 1, (half, *shape)).astype(np.float16)
    pool = HistoryBuffer(config.buffer_size, shape, config.seed)
    for _ in range(-(-config.buffer_size // half)):
        pool.exchange(fresh)

    mine = SimGAN(config, inputs, pool, device=device)
    without = SimGAN(config, inputs, Mirror(), device=device)
    mine.step()
    mine_s, before_s = [], mine.waited_s["history"]

    def timed() -> float:
        mine_s.append(seconds_of(mine.step, device))
        return mine_s[-1]

    pair = in_pairs(timed, lambda: seconds_of(without.step, device), rounds)
    waited = (mine.waited_s["history"] - before_s) / sum(mine_s)
    session.row(
        f"one pass of eye training, {precision}, batch {config.batch_size}, with a full history of "
        f"{config.buffer_size:,} in this process",
        ours=f"{1e3 * pair.ours:,.1f} ms, {waited:.2%} of it waiting for the history",
        baseline=f"a history that hands back what it is given: {1e3 * pair.theirs:,.1f} ms",
        ratio=pair.ratio,
    )

    on_device = torch.from_numpy(fresh).to(device)

    def exchange() -> None:
        past = pool.exchange(on_device.cpu().contiguous().numpy())
        torch.from_numpy(past).to(device)

    times = in_turn({"alone": lambda: seconds_of(exchange, device)}, rounds)["alone"]
    alone = statistics.median(times)
    session.row(
        f"one exchange of {half} eyes from the device's memory to it again, nothing beside it",
        ours=f"{1e3 * alone:.2f} ms",
        baseline=f"such a pass: {1e3 * pair.ours:,.1f} ms",
        ratio=alone / pair.ours,
    )


def eye_config(session: Session) -> None:
    """One hundred steps of `configs/eye.toml`."""
    hundred_steps(session, "eye")


def hand_config(session: Session) -> None:
    """One hundred steps of `configs/hand.toml`."""
    hundred_steps(session, "hand")


def hundred_steps(session: Session, domain: str) -> None:
    """A configuration as it is, with its pre-training, for `STEPS` steps; losses go into the log.

    No files are written: pictures and TensorBoard need libraries that a session does without.

    Raises:
        NonFiniteLoss: as `SimGAN.step`.
    """
    device, image = session.device, session.image(domain)
    precision = resolved("auto", device, bits=image.bits)
    steps = 4 if session.tiny else STEPS
    config = session.config(domain, pretraining=True, steps=steps, precision=precision)
    gan = ours(config, *images_of(session, domain), domain=domain, device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, values = [], {}
    started = time.perf_counter()
    while gan.clock < config.total_clock:
        pass_started = time.perf_counter()
        metrics = gan.step()
        phase, step = config.phase_at(gan.clock)
        if gan.clock % config.log_every == 0 or gan.clock == config.total_clock:
            values = {name: float(value) for name, value in metrics.items()}
            rounded = {name: float(f"{value:.4g}") for name, value in values.items()}
            print(json.dumps({"clock": gan.clock, "phase": phase, "step": step, **rounded}))
        if phase == "adversarial":
            seconds.append(time.perf_counter() - pass_started)
    total_s = time.perf_counter() - started
    waited = ", ".join(f"{name} {s / total_s:.1%}" for name, s in gan.waited_s.items())
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    session.row(
        f"`configs/{domain}.toml` for {steps} steps after its pre-training of "
        f"{config.pretrain_clock}, {precision} (what `--precision auto` takes)",
        ours=f"{total_s:.1f} s; {pass_in(statistics.median(seconds), config)}; waited for "
        f"{waited}" + ("" if memory is None else f"; {memory:.1f} GiB on the device"),
    )
    session.row(
        f"the last losses of these {steps} steps, on drawn images",
        ours=", ".join(f"{name} {values[name]:.3g}" for name in SHOWN if name in values),
    )


def two_processes(session: Session) -> None:
    """A batch of eyes shared by two processes, each with a device of its own: nccl, or gloo on a
    CPU.

    Raises:
        NotHereError: there are not two devices.
    """
    if session.device == "cuda" and (count := torch.cuda.device_count()) < 2:
        raise NotHereError(f"nccl needs two devices, there is {count}")
    config = session.config("eye")
    images, rounds = images_of(session, "eye"), 1 if session.tiny else ROUNDS["eye"]
    alone = ours(config, *images, device=session.device)
    runs = {"alone": lambda: seconds_of(alone.step, session.device)}
    alone_s = statistics.median(in_turn(runs, rounds)["alone"])
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        results = Path(folder) / "told.json"
        torch.multiprocessing.spawn(worker, (session, meeting, results, rounds), nprocs=2)
        together_s, apart = json.loads(results.read_text())
    session.row(
        f"one pass of eye training, {session.float32}, batch {config.batch_size} shared by two "
        f"processes over {BACKENDS[session.device]}, a history each",
        ours=f"{pass_in(together_s, config)}; weights of the two differ by {apart:.1e}",
        baseline=f"one process: {1e3 * alone_s:,.1f} ms",
        ratio=together_s / alone_s,
    )


def worker(rank: int, session: Session, meeting: Path, results: Path, rounds: int) -> None:
    """One of the two processes. The first writes to `results` the median seconds of a pass, and the
    largest difference between the two refiners' weights afterwards.

    Args:
        meeting: a file that does not exist yet, through which the two find each other.
    """
    device = session.device
    if device == "cuda":
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        BACKENDS[device], init_method=f"file://{meeting}", rank=rank, world_size=2
    )
    session.prepare()
    config = session.config("eye")
    synthetic, real = (part[rank::2] for part in images_of(session, "eye"))
    pool = HistoryBuffer(config.buffer_size, (1, *synthetic.shape[1:]), config.seed)
    group = WorkerGroup(rank, 2, average_over_process_group)
    inputs = TrainingInputs(synthetic, real, domain="eye")
    gan = SimGAN(config, inputs, pool, workers=group, device=device)
    times = in_turn({"together": lambda: seconds_of(gan.step, device)}, rounds)["together"]
    flat = torch.cat([value.detach().flatten() for value in gan.refiner.parameters()])
    both = [torch.empty_like(flat) for _ in range(2)]
    torch.distributed.all_gather(both, flat)
    if rank == 0:
        apart = float((both[0] - both[1]).abs().max())
        results.write_text(json.dumps([statistics.median(times), apart]))
    torch.distributed.destroy_process_group()
