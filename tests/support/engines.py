"""What the tests of engines refine, and with what."""

import numpy as np

from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig

EYE = ImageSpec(height=35, width=55)
SMALL = RefinerConfig(maps=6, blocks=2)


def images(count: int, height: int = 35, width: int = 55, seed: int = 0) -> np.ndarray:
    """(count, height, width) uint8 of noise."""
    shape = (count, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
