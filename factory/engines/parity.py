"""Does an engine do what PyTorch does with this very refiner, and which of the two is faster?"""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from factory.engines.base import EngineUnavailableError, RefinerEngine, Values
from factory.images import Pixels
from schemas.dataset import ImageSpec


class CheckedEngine(RefinerEngine, Protocol):
    """An engine that also shows what it has before rounding."""

    def values(self, images: Pixels) -> Values:
        """(n, C, H, W) float32 in [-1, 1]."""


@dataclass(frozen=True)
class Parity:
    """How far two engines are apart on the same images."""

    max_value: float
    """largest difference before rounding, in the network's [-1, 1]"""
    max_levels: int
    """largest difference of stored pixels, in grey levels"""
    mean_levels: float
    share_changed: float
    """of pixels that are not stored alike"""

    def __str__(self) -> str:
        return (
            f"max |Δ| {self.max_value:.1e} on [-1, 1]; stored: max {self.max_levels}, "
            f"mean {self.mean_levels:.2g} grey levels, {self.share_changed:.2%} of pixels differ"
        )


class Tolerance(NamedTuple):
    """The largest `Parity` that counts as agreement."""

    max_value: float
    max_levels: int
    mean_levels: float
    share_changed: float


SAME_FLOAT32 = Tolerance(max_value=2e-4, max_levels=1, mean_levels=1e-3, share_changed=1e-3)
"""for another float32 engine: only pixels on the edge between two levels may fall otherwise.
Winograd convolutions differ by 1e-6 to 1e-5, half-precision weights by 6e-4"""
BFLOAT16 = Tolerance(max_value=0.06, max_levels=8, mean_levels=0.75, share_changed=1.0)
"""for bfloat16, four times what refiners trained for eyes and the paper's show (0.014, 2, 0.25)"""


def probe_images(image: ImageSpec) -> Pixels:
    """A few fixed images to try engines on: noise, smooth shading, all dark, all light.

    Returns:
        (n, height, width[, 3]), 8 of the size of an eye, fewer of larger ones.
    """
    rng = np.random.default_rng(20161)
    dtype, top = (np.uint8, 255) if image.bits == 8 else (np.uint16, 65535)
    shape = (image.height, image.width) + ((3,) if image.channels == 3 else ())
    count = int(np.clip(2**14 // (image.height * image.width), 2, 8))
    images = rng.integers(0, top, (count, *shape), dtype=dtype, endpoint=True)
    for smooth in images[count // 2 :]:
        coarse = rng.uniform(0, top, (5, 7, *shape[2:])).astype(np.float32)
        resized = cv2.resize(coarse, (image.width, image.height), interpolation=cv2.INTER_LINEAR)
        smooth[:] = resized.round()
    if count > 4:
        images[0], images[1] = 0, top
    return np.asarray(images)


def compare(engine: CheckedEngine, reference: CheckedEngine, images: Pixels) -> Parity:
    """Refine images with both.

    Raises:
        EngineUnavailableError: the engine makes values that are not finite.
    """
    found, expected = engine.values(images), reference.values(images)
    if not np.isfinite(found).all():
        raise EngineUnavailableError(f"{engine.name} makes values that are not finite")
    levels = np.abs(engine(images).astype(np.int32) - reference(images).astype(np.int32))
    return Parity(
        max_value=float(np.abs(found - expected).max()),
        max_levels=int(levels.max()),
        mean_levels=float(levels.mean()),
        share_changed=float((levels > 0).mean()),
    )


def require_parity(
    engine: CheckedEngine, reference: CheckedEngine, images: Pixels, tolerance: Tolerance
) -> Parity:
    """`compare`, and refuse an engine that is too far off.

    Raises:
        EngineUnavailableError: it does not agree with the reference.
    """
    parity = compare(engine, reference, images)
    allowed = (tolerance.max_value, tolerance.max_levels, tolerance.mean_levels)
    found = (parity.max_value, parity.max_levels, parity.mean_levels)
    if parity.share_changed > tolerance.share_changed or any(
        value > most for value, most in zip(found, allowed, strict=True)
    ):
        raise EngineUnavailableError(
            f"{engine.name} does not agree with {reference.name} on this refiner: {parity}; "
            f"allowed {tolerance.max_value:.0e}, {tolerance.max_levels}, "
            f"{tolerance.mean_levels:g}, {tolerance.share_changed:.2%}"
        )
    return parity


def race(engines: tuple[RefinerEngine, ...], images: Pixels, rounds: int = 2) -> list[float]:
    """Images per second of each engine: the best of a few rounds in turn, after a first use."""
    best = [float("inf")] * len(engines)
    for _ in range(rounds):
        for place, engine in enumerate(engines):
            start = time.perf_counter()
            engine(images)
            best[place] = min(best[place], time.perf_counter() - start)
    return [len(images) / seconds for seconds in best]
