"""Does an engine do what PyTorch does with this very refiner?"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.images.png import Pixels
from factory.refinement.engines.base import (
    EngineUnavailableError,
    RefinerEngine,
    Values,
    to_planes,
)
from schemas.dataset import ImageSpec


class CheckedEngine(RefinerEngine, Protocol):
    """An engine that also shows what it has before rounding."""

    full_scale: float
    """the pixel value that becomes 1 in the network"""
    empty_below: float
    """refined values below it become 0"""

    def values(self, images: Pixels) -> Values:
        """(n, C, H, W) float32 in [-1, 1]."""


@dataclass(frozen=True)
class Parity:
    """How far two engines are apart on the same images."""

    max_value: float
    """largest difference before rounding, in the network's [-1, 1]"""
    max_levels: int
    """largest difference of stored pixels, in grey levels; those that are emptied count as none,
    so that the step from the background to the first that is not is one level"""
    mean_levels: float
    share_changed: float
    """of pixels that are not stored alike, though PyTorch does not put them on the edge between two
    levels. A value of 0 is on one, so a refiner with dead maps has whole areas there"""

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


SAME_FLOAT32 = Tolerance(max_value=1e-4, max_levels=1, mean_levels=1.0, share_changed=1e-3)
"""for another float32 engine: only pixels near the edge between two levels may fall otherwise.
Winograd convolutions differ by 1e-6 to 1e-5, half-precision weights by 6e-4"""
SAME_DEPTH = SAME_FLOAT32._replace(max_value=1e-3)
"""the same for depth, a sixth of a mm in a cube of 300: refiners that started as the exact identity
are as steep as 80 near the background, and magnify what convolutions differ by (5e-4 was seen)"""
_ON_EDGE = 1e-5
"""on [-1, 1]: so near to the edge between two levels, rounding may go either way"""
BFLOAT16 = Tolerance(max_value=0.06, max_levels=8, mean_levels=0.75, share_changed=1.0)
"""for bfloat16, four times what refiners trained for eyes and the paper's show (0.014, 2, 0.25)"""


def probe_images(image: ImageSpec, full_scale: float = 255.0) -> Pixels:
    """A few fixed images to try engines on: noise, of all levels, dark and light, and shading; of
    deep pixels, half of it on an empty background.

    Args:
        full_scale: the largest pixel value.

    Returns:
        (n, height, width[, 3]), 8 of the size of an eye, at least 4 of larger ones.
    """
    rng = np.random.default_rng(20161)
    top = full_scale
    shape = (image.height, image.width) + ((3,) if image.channels == 3 else ())
    count = int(np.clip(2**14 // (image.height * image.width), 4, 8))
    images = rng.uniform(0, top, (count, *shape))
    images[1] *= 0.1
    images[2] = top - 0.1 * images[2]
    for smooth in images[3:]:
        coarse = rng.uniform(0, top, (5, 7, *shape[2:]))
        shading = cv2.resize(coarse, (image.width, image.height), interpolation=cv2.INTER_LINEAR)
        smooth[:] = 0.95 * shading + 0.05 * smooth
        if image.bits > 8:
            smooth[:, : image.width // 2] = 0
    return np.asarray(images.round().astype(np.uint8 if image.bits == 8 else np.uint16))


def compare(engine: CheckedEngine, reference: CheckedEngine, images: Pixels) -> Parity:
    """Refine images with both.

    Raises:
        EngineUnavailableError: the engine makes values that are not finite.
    """
    found, expected = engine.values(images), reference.values(images)
    if not np.isfinite(found).all():
        raise EngineUnavailableError(f"{engine.name} makes values that are not finite")
    levels = np.abs(_levels(engine, images) - _levels(reference, images))
    half = reference.full_scale / 2
    place = (expected.astype(np.float64) + 1.0) * half
    clear = np.abs(place - np.floor(place) - 0.5) > _ON_EDGE * half
    return Parity(
        max_value=float(np.abs(found - expected).max()),
        max_levels=int(levels.max()),
        mean_levels=float(levels.mean()),
        share_changed=float(((levels > 0) & clear).mean()),
    )


def _levels(engine: CheckedEngine, images: Pixels) -> NDArray[np.int32]:
    """Stored pixels, counted without those that are emptied."""
    stored = to_planes(engine(images)).astype(np.int32)
    num_emptied = max(0, math.ceil(engine.empty_below) - 1)
    return np.maximum(stored - num_emptied, 0)


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
