"""JPEG decoded strictly, and no larger than needed.

Decoding takes most of the time of an ingest. Blocks outside the crop are not transformed, but the
coded data is always read to its end, because damage cannot be seen otherwise. Stopping below the
crop would save a tenth of an ingest, but let more damage pass. Of 1,000 UnityEyes renders with 512
bytes replaced by another render's coded data, 702 would pass with wrong pixels instead of 17; of
1,000 with one bit changed, 721 instead of 392.
"""

import math
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from factory.images import native
from factory.images.budget import check_size
from factory.images.crop import Framing, resample
from factory.images.jpeg_scans import check_scans
from factory.images.png import UndecodableError

FULL_SCALE = 8
"""the full scale, in eighths"""
_PADDING = bytes(64 * 8 * 10)
"""appended to a JPEG. With fewer bytes left, libjpeg-turbo changes from its fast Huffman decoder to
its careful one, which takes a tenth longer for a small file and reports other damage"""
_REASON_BYTES = 200
"""libjpeg's JMSG_LENGTH_MAX"""
GREY_OR_RGB = frozenset({"Gray", "YCbCr", "RGB"})
"""the colour spaces that become grey or RGB without a colour profile"""


def is_jpeg(raw: bytes) -> bool:
    """Whether bytes begin as a JPEG does."""
    return raw.startswith(b"\xff\xd8\xff")


def jpeg_size(raw: bytes) -> tuple[int, int, str]:
    """(height, width, colour space such as `YCbCr`) from a JPEG's header.

    Raises:
        UndecodableError: the bytes do not begin as a JPEG does, it is too large, or scans are
            missing.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
    except (ValueError, KeyError) as error:  # KeyError: a sampling that simplejpeg does not know
        raise UndecodableError(str(error)) from error
    check_size(height, width)
    check_scans(raw)
    return height, width, colours


def decode_jpeg(
    raw: bytes,
    *,
    height: int,
    width: int,
    eighths: int = FULL_SCALE,
    colours: Literal["GRAY", "RGB", "CMYK"] = "GRAY",
) -> NDArray[np.uint8]:
    """The pixels of a JPEG at a scale of some eighths, grey unless other colours are asked for.

    Args:
        height, width: of the picture, from `jpeg_size`.
        eighths: 1 to 8.
        colours: CMYK for pictures of CMYK and YCCK alone, which cannot be had in other colours.

    Returns:
        (ceil(height * eighths / 8), ceil(width * eighths / 8)[, 3 or 4]) uint8. Where a size is no
        multiple of the scale, the last pixel extends beyond the edge of the picture.

    Raises:
        UndecodableError: the JPEG is truncated, or damaged in a way that a decoder notices.
        MemoryError: there is not enough memory.
    """
    shape = tuple(math.ceil(length * eighths / FULL_SCALE) for length in (height, width))
    try:
        pixels = simplejpeg.decode_jpeg(
            raw + _PADDING,
            colorspace=colours,
            min_height=shape[0],
            min_width=shape[1],
            min_factor=1.0,
            strict=True,
        )
    except (ValueError, KeyError) as error:
        if "Insufficient memory" in str(error):
            raise MemoryError(f"not enough memory to decode {len(raw)} bytes of JPEG") from error
        raise UndecodableError(str(error)) from error
    if pixels.shape[:2] != shape:
        raise _other_size(height, width)
    return np.asarray(pixels[:, :, 0] if colours == "GRAY" else pixels)


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
    """What `resample` gives of a JPEG's picture; `crop.c` transforms only the part in the crop.

    Args:
        framing: from the pixels of the whole picture to those of the crop.
        height, width: of the picture, from `jpeg_size`.
        eighths: 1 to 8, the scale at which it is decoded.

    Returns:
        (crop_height, crop_width) uint8.

    Raises:
        UndecodableError: the JPEG is truncated, or damaged in a way that a decoder notices, inside
            the crop or outside.
        MemoryError: there is not enough memory.
    """
    scaled = framing.of_scaled(FULL_SCALE / eighths)

    def from_picture() -> NDArray[np.uint8]:
        picture = decode_jpeg(raw, height=height, width=width, eighths=eighths)
        return resample(picture, scaled, crop_height, crop_width)

    if native.crops is None:
        return from_picture()
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
        return from_picture()
    if result == library.DAMAGED:
        raise UndecodableError(ffi.string(reason).decode(errors="replace"))
    if result == library.OTHER_SIZE:
        raise _other_size(height, width)
    if result != library.DONE:
        raise MemoryError(f"not enough memory for a crop of {len(raw)} bytes of JPEG")
    return crop


def _other_size(height: int, width: int) -> UndecodableError:
    return UndecodableError(f"not the {width}x{height} px that its header says")
