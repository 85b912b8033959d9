"""Steps of `gpu_session.sh`: whether engines agree with the reference, and how fast they refine."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from gpu_rows import CUBE_FULL_SCALE, Session
from timing import (
    MATRIX_SIDE,
    Pair,
    device_seconds,
    flop_per_image,
    in_pairs,
    matrix_peak_flops,
    rate,
)
from torch import Tensor, nn

from factory.networks.exact_start import start_as_exact_identity
from factory.networks.refiner import Refiner
from factory.refinement.engines.base import PixelCodec
from factory.refinement.engines.cuda import CudaEngine, suitable_batch
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.engines.parity import (
    BFLOAT16,
    SAME_DEPTH,
    SAME_FLOAT32,
    CheckedEngine,
    Parity,
    compare,
)
from schemas.refiner import RefinerConfig

ROUNDS = 5
REPEATS = 20
"""batches that are refined for one reading of the device's clock"""


def parity(session: Session) -> None:
    """Every engine of a GPU against PyTorch in float32 on the CPU."""
    eyes, refiner = session.drawn("eye", 4 if session.tiny else 64), Refiner(eye_refiner(session))
    reference = TorchEngine(refiner)
    on_device = {"device": session.device}
    compare_row(session, "eyes", cuda_engine(session, refiner), reference, eyes, BFLOAT16)
    engine = TorchEngine(refiner, precision="bfloat16", **on_device)
    compare_row(session, "eyes, autocast", engine, reference, eyes, BFLOAT16)
    engine = TorchEngine(refiner, **on_device)
    with_and_without_tf32(session, "eyes", engine, reference, eyes, SAME_FLOAT32)

    config = session.config("hand")
    hands, refiner = session.drawn("hand", 2), Refiner(config.refiner)
    start_as_exact_identity(refiner)
    codec = PixelCodec(CUBE_FULL_SCALE, config.empty_below)
    reference, engine = (TorchEngine(refiner, codec, device=d) for d in ("cpu", session.device))
    with_and_without_tf32(session, "hands", engine, reference, hands, SAME_DEPTH)


def with_and_without_tf32(
    session: Session,
    what: str,
    engine: TorchEngine,
    reference: TorchEngine,
    images: np.ndarray,
    allowed: Parity,
) -> None:
    """Two rows: PyTorch's float32 as it is set, and with TF32 forbidden."""
    compare_row(session, f"{what}, {session.float32}", engine, reference, images, allowed)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        compare_row(session, f"{what}, TF32 forbidden", engine, reference, images, allowed)


def compare_row(
    session: Session,
    what: str,
    engine: CheckedEngine,
    reference: CheckedEngine,
    images: np.ndarray,
    allowed: Parity,
) -> None:
    """One row: how far apart they are, and whether that is within the tolerance."""
    measured = compare(engine, reference, images)
    is_within = all(value <= most for value, most in zip(measured, allowed, strict=True))
    session.row(
        f"agreement of the engine `{engine.name}` on {session.device} with {reference.name} on the "
        f"CPU: {len(images)} {what}",
        ours=f"{measured}: {'within' if is_within else 'OUTSIDE'} the tolerance",
        baseline=f"tolerance: max |Δ| {allowed.max_value:.0e}; stored: max {allowed.max_levels}, "
        f"mean {allowed.mean_levels:g}, {allowed.share_changed:.2%}",
        ratio=measured.max_value / allowed.max_value,
    )


def eye_refiner(session: Session) -> RefinerConfig:
    """The architecture of the paper's refiner for eyes."""
    return session.config("eye").refiner


def cuda_engine(session: Session, refiner: Refiner) -> CudaEngine:
    """The engine of bfloat16, as `--engine cuda` makes it."""
    image = session.image("eye")
    batch_size = 4 if session.tiny else suitable_batch(image.height, image.width)
    return CudaEngine(
        refiner,
        height=image.height,
        width=image.width,
        batch_size=batch_size,
        device=session.device,
    )


class PlainRefiner(nn.Module):
    """What is written most directly for a GPU: the whole network in bfloat16, (n, 1, H, W) uint8 to
    the same."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        refiner = copy.deepcopy(refiner).eval().requires_grad_(False)
        self.refiner = refiner.to(dtype=torch.bfloat16, memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        values = (pixels.float() / 127.5 - 1).to(torch.bfloat16)
        refined = self.refiner(values.contiguous(memory_format=torch.channels_last)).float()
        return ((refined + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def plain_loop(
    compute: Callable[[Tensor], Tensor], batch_size: int, device: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Batch after batch: copied to the device, refined, copied back."""

    @torch.inference_mode()
    def refine(images: np.ndarray) -> np.ndarray:
        refined = []
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size])
            refined.append(compute(batch[:, None].to(device)).cpu().numpy()[:, 0])
        return np.concatenate(refined)

    return refine


@torch.inference_mode()
def rate_on_device(
    compute: Callable[[Tensor], Tensor], images: np.ndarray, repeats: int, device: str
) -> float:
    """Images per second of one batch (n, H, W), again and again, without copies from the host."""
    given = torch.from_numpy(images)[:, None].to(device)
    return len(given) / device_seconds(lambda: compute(given), repeats, device)


def engine_rates(session: Session) -> None:
    """Images per second of eyes with the paper's refiner."""
    device, image = session.device, session.image("eye")
    rounds, count = (1, 8) if session.tiny else (ROUNDS, 65_536)
    side = 64 if session.tiny else MATRIX_SIDE
    peak = matrix_peak_flops(rounds, device, side)
    session.row(
        f"product of {side} x {side} bfloat16 matrices, the fastest of several "
        f"({session.describe()})",
        ours=f"{peak / 1e12:.3g} TFLOP/s",
    )
    config = eye_refiner(session)
    refiner, flop = Refiner(config), flop_per_image(config, image)
    images = np.resize(session.drawn("eye", min(count, 1024)), (count, image.height, image.width))

    def says(rate: float) -> str:
        return f"{rate:,.0f} images/s, {rate * flop / peak:.1%} of the matrix peak"

    def row(question: str, rates: Pair, name: str) -> None:
        baseline = f"{name}: {says(rates.theirs)}"
        session.row(question, ours=says(rates.ours), baseline=baseline, ratio=rates.ratio)

    mine = cuda_engine(session, refiner)
    batch_size = mine.batch_size
    host = f"refine {count:,} eyes from host memory to host memory, bfloat16, batch {batch_size}"
    eager = TorchEngine(refiner, batch_size=batch_size, device=device)
    name = f"PyTorch eager, {session.float32}, batch {batch_size}"
    rates = in_pairs(lambda: rate(mine, images), lambda: rate(eager, images), min(2, rounds))
    row(host, rates, name)

    plain = torch.compile(PlainRefiner(refiner).to(device), mode="max-autotune", dynamic=False)
    loop = plain_loop(plain, batch_size, device)
    loop(images[: 2 * batch_size])
    name = '`torch.compile(mode="max-autotune")`, bfloat16, the same batch'
    row(host, in_pairs(lambda: rate(mine, images), lambda: rate(loop, images), rounds), name)
    batch, repeats = images[:batch_size], 1 if session.tiny else REPEATS

    def on_device(compute: Callable[[Tensor], Tensor]) -> Callable[[], float]:
        return lambda: rate_on_device(compute, batch, repeats, device)

    rates = in_pairs(on_device(mine.lanes[0].compute), on_device(plain), rounds)
    row("the same without copies from and to the host", rates, name)
    if device == "cuda":
        print_profile(lambda: mine(images))


def print_profile(run: Callable[[], object]) -> None:
    """Where the device's time goes, into the log."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run()
    print(profile.key_averages().table(sort_by="self_device_time_total", row_limit=20))
