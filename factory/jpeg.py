"""JPEG in grey, at the scale that is needed, and strictly.

Decoding is most of an ingest. What is not needed at full size is not transformed at full size; but
the coded data is always read to its end, for only that tells damage. (Stopping below the crop
would save a fifth of an ingest. Of 1,000 UnityEyes renders with 512 bytes of another one's coded
data in them it would then let 702 pass as wrong pixels, where reading to the end lets 17; with one
bit changed, 721 instead of 392.)
"""

import math

import numpy as np
import simplejpeg

from factory.images import Pixels, UndecodableError

FULL_SCALE = 8
"""eighths"""


def jpeg_size(raw: bytes) -> tuple[int, int, str]:
    """(height, width, colour space such as `YCbCr`) as the header has them.

    Raises:
        UndecodableError: not the beginning of a JPEG.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
    except ValueError as error:
        raise UndecodableError(str(error)) from error
    return height, width, colours


def decode_jpeg(raw: bytes, *, height: int, width: int, eighths: int = FULL_SCALE) -> Pixels:
    """Grey pixels of a JPEG at a scale of some eighths.

    Args:
        height, width: of the picture, from `jpeg_size`.
        eighths: 1 to 8.

    Returns:
        (ceil(height * eighths / 8), ceil(width * eighths / 8)) uint8. Where a size is no multiple
        of the scale, the last pixel hangs over the edge.

    Raises:
        UndecodableError: truncated, or damaged so that a decoder can tell.
    """
    shape = tuple(math.ceil(length * eighths / FULL_SCALE) for length in (height, width))
    try:
        grey = simplejpeg.decode_jpeg(
            raw,
            colorspace="GRAY",
            min_height=shape[0],
            min_width=shape[1],
            min_factor=1.0,
            strict=True,
        )[:, :, 0]
    except ValueError as error:
        raise UndecodableError(str(error)) from error
    if grey.shape != shape:
        raise UndecodableError(f"not the {width}x{height} px that its header says")
    return np.asarray(grey)
