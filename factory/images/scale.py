"""The stored pixel value that becomes 1 in the networks: x = 2 v / full_scale - 1."""

import numpy as np

from schemas.dataset import BYTES_FULL_SCALE


def full_scale_for(full_scale: float | None, dtype: np.dtype) -> float:
    """The full scale of a configuration, or 255 for 8-bit pixels where it gives none.

    Raises:
        ValueError: the configuration gives none for 16-bit pixels, or a larger value than 8-bit
            pixels can hold.
    """
    if dtype == np.uint8:
        if full_scale is not None and full_scale > BYTES_FULL_SCALE:
            raise ValueError(f"full_scale = {full_scale:g} for 8-bit pixels, which end at 255")
        return full_scale if full_scale is not None else BYTES_FULL_SCALE
    if full_scale is None:
        raise ValueError(
            f"{dtype} pixels need a full_scale, the value that becomes 1 in the networks: for "
            "depth, the side of the cube in mm plus 1, e.g. 301 for 300 mm"
        )
    return full_scale
