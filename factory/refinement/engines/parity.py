"""Whether an engine gives what PyTorch gives with the same refiner."""

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.images.png import Pixels
from factory.refinement.engines.base import (
    EngineUnavailableError,
    PixelCodec,
    RefinerEngine,
    Values,
    to_planes,
)
from schemas.dataset import ImageSpec


class CheckedEngine(RefinerEngine, Protocol):
    """An engine that also gives the network's output before rounding."""

    codec: PixelCodec

    def values(self, images: Pixels) -> Values:
        """(n, C, H, W) float32 in [-1, 1], for (n, H, W) or (n, H, W, C) images."""


class Parity(NamedTuple):
    """How far two engines are apart on the same images, or how far they may be."""

    max_value: float
    """largest difference before rounding, in the network's [-1, 1]"""
    max_levels: int
    """largest difference of stored pixels, in grey levels; emptied levels are not counted, so that
    the step from the background to the smallest value that is not emptied is one level, and a pixel
    that only one engine emptied because it changed too much counts with its value"""
    mean_levels: float
    """mean difference of stored pixels, in grey levels"""
    share_changed: float
    """share of pixels that are stored differently, without those that PyTorch puts on the edge
    between two levels. A value of 0 is on such an edge, so a refiner with dead maps has whole areas
    there"""

    def __str__(self) -> str:
        return (
            f"max |Δ| {self.max_value:.1e} on [-1, 1]; stored: max {self.max_levels}, "
            f"mean {self.mean_levels:.2g} grey levels, {self.share_changed:.2%} of pixels differ"
        )


SAME_FLOAT32 = Parity(max_value=1e-4, max_levels=1, mean_levels=1.0, share_changed=1e-3)
"""for another float32 engine, where only pixels near the edge between two levels may be rounded to
the other one. Winograd convolutions differ by 1e-6 to 1e-5, half-precision weights by 6e-4"""
SAME_DEPTH = SAME_FLOAT32._replace(max_value=1e-3)
"""the same for depth, a sixth of a mm in a cube of 300 mm: refiners that started as the exact
identity have slopes of up to 80 near the background, which magnify the differences of convolutions
(5e-4 was seen)"""
_ON_EDGE = 1e-5
"""distance from the edge between two levels, on [-1, 1], within which rounding may go either way"""
BFLOAT16 = Parity(max_value=0.06, max_levels=8, mean_levels=0.75, share_changed=1.0)
"""for bfloat16: four times the differences of refiners trained for eyes and of the paper's (0.014,
2, 0.25)"""


def probe_images(image: ImageSpec, full_scale: float = 255.0) -> Pixels:
    """A few fixed images to try engines on: noise of all levels, dark noise, light noise, shading.

    In images of 16 bits, the left half of each shading is empty background.

    Args:
        full_scale: the largest pixel value.

    Returns:
        (n, height, width[, 3]) uint8 or uint16: 8 of the size of an eye, at least 4 of larger ones.
    """
    import cv2  # here, as comparing engines on other images needs no OpenCV

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
    """Refine the same images with two engines and measure how far they are apart.

    Raises:
        EngineUnavailableError: one of them gives values that are not finite. An engine may make
            finite numbers of those on some processors, so both are asked.
    """
    values, expected = engine.values(images), reference.values(images)
    for tried, its_values in ((engine, values), (reference, expected)):
        if not np.isfinite(its_values).all():
            raise EngineUnavailableError(f"{tried.name} gives values that are not finite")
    stored, wanted = _levels(engine, images), _levels(reference, images)
    if reference.codec.empty_beyond > 0:
        # A pixel at that limit may be emptied by one engine alone; its value counts then.
        lone = (stored == 0) != (wanted == 0)
        stored, wanted = (
            np.where(lone, np.rint((those + 1.0) * (reference.codec.full_scale / 2)), levels)
            for those, levels in ((values, stored), (expected, wanted))
        )
    levels = np.abs(stored - wanted)
    half_scale = reference.codec.full_scale / 2
    unrounded = (expected.astype(np.float64) + 1.0) * half_scale
    clear = np.abs(unrounded - np.floor(unrounded) - 0.5) > _ON_EDGE * half_scale
    return Parity(
        max_value=float(np.abs(values - expected).max()),
        max_levels=int(levels.max()),
        mean_levels=float(levels.mean()),
        share_changed=float(((levels > 0) & clear).mean()),
    )


def _levels(engine: CheckedEngine, images: Pixels) -> NDArray[np.int32]:
    """Stored pixels, numbered without the levels that are emptied."""
    stored = to_planes(engine(images)).astype(np.int32)
    num_emptied = max(0, math.ceil(engine.codec.empty_below) - 1)
    return np.maximum(stored - num_emptied, 0)


def require_parity(
    engine: CheckedEngine, reference: CheckedEngine, images: Pixels, tolerance: Parity
) -> Parity:
    """Compare an engine with the reference, and refuse one that is too far off.

    Raises:
        EngineUnavailableError: the engine does not agree with the reference.
    """
    parity = compare(engine, reference, images)
    # NaN is not at most anything, so what could not be measured is no agreement.
    if not all(value <= most for value, most in zip(parity, tolerance, strict=True)):
        raise EngineUnavailableError(
            f"{engine.name} does not agree with {reference.name} on this refiner: {parity}; "
            f"allowed {tolerance.max_value:.0e}, {tolerance.max_levels}, "
            f"{tolerance.mean_levels:g}, {tolerance.share_changed:.2%}"
        )
    return parity
