"""Tiles of noise for skin, sclera and iris. Each is made once and sampled for every picture."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

TILE = 256
"""side of a tile of skin or vessels in pixels"""
NUM_SKINS = 8
"""number of skin tiles of a population; people who share a tile use different parts of it"""
SKIN_MM = 36.0
"""width on the skin that one tile covers; tiles repeat"""
VEIN_MM = 20.0
"""width on the sclera that one tile of vessels covers"""


def _noise(rng: np.random.Generator, low: float, high: float, shape: tuple[int, int]) -> Field:
    """Periodic noise of mean 0 and deviation 1, with `low` to `high` cycles per tile."""
    rows = np.fft.fftfreq(shape[0])[:, None] * shape[0]
    cols = np.fft.fftfreq(shape[1])[None] * shape[1]
    cycles = np.hypot(rows, cols)
    band = np.exp(-((cycles / high) ** 2)) - np.exp(-((cycles / low) ** 2))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) * band).real
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


@lru_cache
def skin_tile(person: int) -> Field:
    """(256, 256, 2) pores with fine wrinkles, and blotches; each has a deviation of about 1."""
    rng = np.random.default_rng([7, person])
    pores = _noise(rng, 18, 70, (TILE, TILE))
    lines = _noise(rng, 6, 40, (TILE, TILE))
    wrinkles = -np.maximum(0, 0.35 - np.abs(cv2.blur(lines, (9, 1))) * 3)
    blotches = _noise(rng, 1.5, 7, (TILE, TILE))
    return np.stack([0.8 * pores + 1.5 * wrinkles, blotches], -1).astype(np.float32)


@lru_cache
def vein_tile(kind: int) -> Field:
    """(256, 256) cover of the blood vessels of the sclera in [0, 1]."""
    rng = np.random.default_rng([8, kind])
    bend = _noise(rng, 2, 9, (TILE, TILE))
    fine = _noise(rng, 5, 22, (TILE, TILE))
    veins = np.exp(-((bend / 0.10) ** 2)) * 0.7 + np.exp(-((fine / 0.08) ** 2)) * 0.3
    return np.asarray(np.clip(veins, 0, 1), np.float32)


@lru_cache
def iris_tile(kind: int) -> Field:
    """(64, 512) over radius and angle: the radial fibres and the collarette of an iris, mean 0."""
    rng = np.random.default_rng([9, kind])
    fibres = _noise(rng, 20, 120, (64, 512))
    fibres = np.asarray(cv2.blur(np.vstack([fibres] * 3), (1, 21))[64:128], np.float32)
    crypts = _noise(rng, 4, 14, (64, 512))
    radius = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    ring = np.exp(-(((radius - 0.55) / 0.06) ** 2)).astype(np.float32)
    tile = 1.1 * fibres / fibres.std() * 0.5 - 0.35 * np.maximum(crypts, 0) + 0.45 * ring
    return np.asarray(tile - tile.mean(), np.float32)


def sample(tile: Field, col: Field, row: Field) -> Field:
    """The values of a tile, which repeats without end, at fractional positions.

    Args:
        col, row: (H, W) positions in the tile, pixels.

    Returns:
        (H, W) or (H, W, channels) float32.
    """
    return np.asarray(
        cv2.remap(tile, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32
    )


def spread_tile(tile: Field, tile_mm: float, x_mm: Field, y_mm: Field) -> Field:
    """The values of a tile, which repeats without end, on an evenly spaced grid.

    Args:
        tile_mm: the width that one tile covers.
        x_mm, y_mm: (w,) positions of the columns and (h,) of the rows.

    Returns:
        (h, w) or (h, w, channels) float32.
    """
    scale = TILE / tile_mm
    step_x = float(x_mm[-1] - x_mm[0]) / (len(x_mm) - 1) * scale
    step_y = float(y_mm[-1] - y_mm[0]) / (len(y_mm) - 1) * scale
    start = float(x_mm[0]) * scale % TILE, float(y_mm[0]) * scale % TILE
    matrix = np.array([[step_x, 0, start[0]], [0, step_y, start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (len(x_mm), len(y_mm))
    return np.asarray(
        cv2.warpAffine(tile, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP), np.float32
    )
