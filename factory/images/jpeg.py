"""JPEG in grey, at the scale that is needed, and strictly.

Decoding is most of an ingest. What is not needed is not transformed; but the coded data is always
read to its end, for only that tells damage. (Stopping below the crop would save a tenth of an
ingest. Of 1,000 UnityEyes renders with 512 bytes of another one's coded data in them it would then
let 702 pass as wrong pixels, where reading to the end lets 17; with one bit changed, 721 instead of
392.)
"""

import math

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from factory.images import native
from factory.images.crop import Framing, resample
from factory.images.png import UndecodableError

FULL_SCALE = 8
"""eighths"""
_PADDING = bytes(64 * 8 * 10)
"""after a JPEG: where less is left, libjpeg-turbo's fast Huffman decoder gives way to its careful
one, which costs a tenth of a small file's time; and the two differ in what damage they tell"""
_REASON_BYTES = 200
"""libjpeg's JMSG_LENGTH_MAX"""


def jpeg_size(raw: bytes) -> tuple[int, int, str]:
    """(height, width, colour space such as `YCbCr`) as the header has them.

    Raises:
        UndecodableError: not the beginning of a JPEG.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
    except (ValueError, KeyError) as error:  # KeyError: a sampling that simplejpeg does not know
        raise UndecodableError(str(error)) from error
    return height, width, colours


def decode_jpeg(
    raw: bytes, *, height: int, width: int, eighths: int = FULL_SCALE
) -> NDArray[np.uint8]:
    """Grey pixels of a JPEG at a scale of some eighths.

    Args:
        height, width: of the picture, from `jpeg_size`.
        eighths: 1 to 8.

    Returns:
        (ceil(height * eighths / 8), ceil(width * eighths / 8)) uint8. Where a size is no multiple
        of the scale, the last pixel hangs over the edge.

    Raises:
        UndecodableError: truncated, or damaged so that a decoder can tell.
        MemoryError: there is not enough.
    """
    shape = tuple(math.ceil(length * eighths / FULL_SCALE) for length in (height, width))
    try:
        grey = simplejpeg.decode_jpeg(
            raw + _PADDING,
            colorspace="GRAY",
            min_height=shape[0],
            min_width=shape[1],
            min_factor=1.0,
            strict=True,
        )[:, :, 0]
    except (ValueError, KeyError) as error:
        if "Insufficient memory" in str(error):
            raise MemoryError(f"decoding {len(raw)} bytes of JPEG") from error
        raise UndecodableError(str(error)) from error
    if grey.shape != shape:
        raise _other_size(height, width)
    return np.asarray(grey)


def crop_jpeg(
    raw: bytes,
    framing: Framing,
    crop_height: int,
    crop_width: int,
    *,
    height: int,
    width: int,
    eighths: int = FULL_SCALE,
) -> NDArray[np.uint8]:
    """`resample` of a JPEG's picture, of which only the crop is transformed where C is at hand.

    Args:
        framing: from the pixels of the whole picture to those of the crop.
        height, width: of the picture, from `jpeg_size`.
        eighths: 1 to 8, the scale at which it is decoded.

    Returns:
        (crop_height, crop_width) uint8.

    Raises:
        UndecodableError: truncated, or damaged so that a decoder can tell, in the crop or outside.
    """
    scaled = framing.of_scaled(FULL_SCALE / eighths)

    def from_the_whole() -> NDArray[np.uint8]:
        picture = decode_jpeg(raw, height=height, width=width, eighths=eighths)
        return resample(picture, scaled, crop_height, crop_width)

    if native.crops is None:
        return from_the_whole()
    ffi, library = native.crops.ffi, native.crops.lib
    crop, padded = np.empty((crop_height, crop_width), np.uint8), raw + _PADDING
    reason = ffi.new("char[]", _REASON_BYTES)
    result = library.crop_jpeg(
        ffi.from_buffer(padded),
        len(padded),
        width,
        height,
        eighths,
        *scaled,
        crop_width,
        crop_height,
        ffi.from_buffer("uint8_t[]", crop),
        reason,
    )
    if result == library.OTHER_KIND:
        return from_the_whole()
    if result == library.DAMAGED:
        raise UndecodableError(ffi.string(reason).decode(errors="replace"))
    if result == library.OTHER_SIZE:
        raise _other_size(height, width)
    if result != library.DONE:
        raise MemoryError(f"a crop of {len(raw)} bytes of JPEG")
    return crop


def _other_size(height: int, width: int) -> UndecodableError:
    return UndecodableError(f"not the {width}x{height} px that its header says")
