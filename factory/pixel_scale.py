"""Which stored pixel value becomes 1 in the networks: x = 2 v / full_scale - 1."""

import numpy as np

from schemas.base import FormatError
from schemas.dataset import DatasetCard

BYTES = 255.0


def scale_of_bytes(card: DatasetCard) -> float:
    """Of 8-bit images."""
    return BYTES


def scale_of_depth(card: DatasetCard) -> float:
    """Of depth in whole mm, cut by a cube: stored values go from 0, the background, to its side
    and 1.

    Raises:
        FormatError: the card names no cube.
    """
    options = card.config.get("options")
    cube_mm = options.get("cube_mm") if isinstance(options, dict) else None
    if not isinstance(cube_mm, int | float) or card.image.bits != 16:
        raise FormatError(
            f"dataset {card.name!r} should hold 16-bit depth and name the cube that it was cut by, "
            f"config.options.cube_mm; it has {card.image.bits} bits and cube_mm = {cube_mm!r}"
        )
    return float(cube_mm) + 1.0


def full_scale_for(full_scale: float | None, dtype: np.dtype) -> float:
    """What a configuration gives, or 255 for 8-bit pixels.

    Raises:
        ValueError: none is given for 16-bit pixels, or more than 8-bit ones can hold.
    """
    if dtype == np.uint8:
        if full_scale is not None and full_scale > BYTES:
            raise ValueError(f"full_scale = {full_scale:g} for 8-bit pixels, which end at 255")
        return full_scale if full_scale is not None else BYTES
    if full_scale is None:
        raise ValueError(
            f"{dtype} pixels need a full_scale, the value that becomes 1 in the networks: for "
            "depth the side of the cube in mm and 1, so 301 for 300 mm"
        )
    return full_scale
