"""Pictures of any kind that cameras and their software write, decoded strictly to 8 bits.

Decoders fill in what a damaged file lacks. So each file is first checked to be whole, in the way of
its kind, and to hold no more pixels than are allowed; then OpenCV or libjpeg gives the pixels.
"""

import io
import math
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory.images.budget import MAX_PICTURE_PX, check_size
from factory.images.foreign_png import check_whole, png_header
from factory.images.jpeg import GREY_OR_RGB, decode_jpeg, is_jpeg, jpeg_size
from factory.images.jpeg_scans import frame_and_scan
from factory.images.png import Pixels, UndecodableError, decode, is_png

if TYPE_CHECKING:
    from PIL import Image

_PILLOW_FORMATS = ("WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "GIF")
"""kinds that Pillow checks: it raises where data is missing, while OpenCV goes on"""
_EXIF = b"Exif\0\0"
_TIFF = b"II*\0", b"MM\0*"
_ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width"""
_DEPTHS_BITS = (10, 12, 14, 16)
"""depths of cameras whose pictures are stored with 16 bits"""
_SAMPLES_PER_PIXEL = 277
"""a tag of TIFF"""
_BMP_FILE_HEADER_BYTES = 14
_PGM_HEADER = re.compile(rb"P[25](?:\s+|#[^\n]*\n){1,99}\d+\s+\d+\s+(\d+)\s")


def picture_size(raw: bytes) -> tuple[int, int]:
    """(height, width) of a picture as it lies in its file, read from its header.

    Raises:
        UndecodableError: it is of no kind that is read, or of a size that is not decoded.
    """
    if is_png(raw):
        header = png_header(raw)
        check_size(header.height, header.width)
        return header.height, header.width
    if is_jpeg(raw):
        return jpeg_size(raw)[:2]
    return _pillow_size(raw, load=False)


def is_turned(raw: bytes) -> bool:
    """Whether a picture, whose size is known to be allowed, says that it has to be turned or
    mirrored.

    Readers differ where EXIF data is damaged, so both Pillow and OpenCV are asked.
    """
    is_tiff = raw.startswith(_TIFF)
    mark = _EXIF if is_jpeg(raw) else b"eXIf" if is_png(raw) else b"EXIF"
    end = _start_of_scans(raw) if is_jpeg(raw) else len(raw)
    if raw.find(mark, 0, end) < 0 and not is_tiff:
        return False
    if _orientation(raw) not in (0, 1):
        return True
    if is_tiff:  # OpenCV turns it in any case
        return False
    import cv2

    turned, lying = (
        decode(raw, cv2.IMREAD_GRAYSCALE | flags) for flags in (0, cv2.IMREAD_IGNORE_ORIENTATION)
    )
    return turned is not None and lying is not None and not np.array_equal(turned, lying)


def _start_of_scans(raw: bytes) -> int:
    """Where the scans of a JPEG begin, before which its EXIF data is; its length where it ends in
    its header."""
    try:
        return frame_and_scan(raw)[1]
    except IndexError:
        return len(raw)


def _orientation(raw: bytes) -> object:
    """What Pillow finds in a picture's EXIF data or tags: from 1 to 8 where it is not damaged, 1
    where nothing is found."""
    from PIL import ExifTags, Image

    try:
        with Image.open(io.BytesIO(raw)) as picture:
            return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - what is damaged is refused where it is decoded
        return 1


def read_picture(
    raw: bytes,
    *,
    colour: bool | None = False,
    upright: bool = True,
    camera_bits: int | None = None,
) -> NDArray[np.uint8]:
    """The pixels of a picture, once it is checked that its file is whole.

    Bytes behind the end of a JPEG or a PNG are ignored: phones put a film, a second picture or
    padding there. What a picture says about transparency is ignored too.

    Args:
        colour: True for RGB, False for grey, None for what the file has.
        upright: whether the picture is turned as its EXIF data says.
        camera_bits: see `eight_bits`.

    Returns:
        (h, w) grey or (h, w, 3) RGB. Pixels of 16 bits are made 8 by `eight_bits`.

    Raises:
        UndecodableError: the file is truncated, damaged, too large, of no kind that is read, or
            holds several pictures.
        MemoryError: there is not enough memory.
    """
    if is_jpeg(raw):
        return _read_jpeg(raw, colour, upright)
    import cv2

    if is_png(raw):
        named_bits = check_whole(raw)
        header = png_header(raw)
        wanted = header.in_colour if colour is None else colour
        flags = cv2.IMREAD_COLOR if wanted else cv2.IMREAD_GRAYSCALE
        if header.bits == 16:
            flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        size = header.height, header.width
    else:
        size = _pillow_size(raw, load=True)
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        named_bits = _pgm_bits(raw)
    pixels = _decoded(raw, flags, size, upright)
    return _in_colour(eight_bits(pixels, named_bits, camera_bits), colour)


def eight_bits(
    pixels: Pixels, named_bits: int | None, camera_bits: int | None = None
) -> NDArray[np.uint8]:
    """Pixels of 8 bits, of those that a camera of some depth wrote with 16.

    The depth is `named_bits` where the file says it, else `camera_bits` where the caller knows it,
    else the smallest of 10, 12, 14 and 16 that holds the brightest pixel. Of each value the 8
    highest bits of that depth are kept. Writers that scale values up to 16 bits, as PNG's
    specification asks for, are recognised by such values where the file names its depth.

    Args:
        pixels: of 8 bits, which are given back, or of 16.
        camera_bits: the depth of all pictures whose files name none; a dark picture then stays as
            dark beside a bright one as the camera saw it.

    Raises:
        UndecodableError: no value has more than 8 bits, and the depth is not known; or a value has
            more than `camera_bits`; or pixels are neither of 8 bits nor of 16.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype != np.uint16:
        raise UndecodableError(f"pixels of the type {pixels.dtype}, expected 8 or 16 bits")
    brightest = int(pixels.max())
    if named_bits is not None:
        depth = max(8, named_bits) if brightest >> named_bits == 0 else 16
    elif camera_bits is not None:
        if brightest >> camera_bits:
            raise UndecodableError(
                f"a pixel of {brightest}, which is more than a camera of {camera_bits} bits gives; "
                "correct crop.depth_bits, or leave it out"
            )
        depth = camera_bits
    elif brightest > 0xFF:
        depth = next(bits for bits in _DEPTHS_BITS if brightest >> bits == 0)
    else:
        raise UndecodableError(
            f"pixels of 16 bits of which none is above {brightest}, so that the camera's depth is "
            "not known; give it as crop.depth_bits, or write them with 8 bits, or as PNG with the "
            "chunk sBIT"
        )
    return (pixels >> (depth - 8)).astype(np.uint8)


def _read_jpeg(raw: bytes, colour: bool | None, upright: bool) -> NDArray[np.uint8]:
    height, width, colours = jpeg_size(raw)
    in_colour = colours != "Gray" if colour is None else colour
    if colours in GREY_OR_RGB and not (upright and _EXIF in raw):
        return decode_jpeg(raw, height=height, width=width, colours="RGB" if in_colour else "GRAY")
    import cv2

    decode_jpeg(  # finds damage, and takes little memory
        raw,
        height=height,
        width=width,
        eighths=1,
        colours="GRAY" if colours in GREY_OR_RGB else "CMYK",
    )
    flags = cv2.IMREAD_COLOR if in_colour else cv2.IMREAD_GRAYSCALE
    pixels = _decoded(raw, flags, (height, width), upright)
    if upright and height != width:
        is_on_its_side = pixels.shape[:2] != (height, width)
        if is_on_its_side != (_orientation(raw) in _ON_ITS_SIDE):
            raise UndecodableError(
                "its EXIF data is damaged, and readers differ in whether it turns the picture; "
                "turn the pixels themselves, and leave the EXIF data out"
            )
    return _in_colour(eight_bits(pixels, None), in_colour)


def _pillow_size(raw: bytes, *, load: bool) -> tuple[int, int]:
    """(height, width) of a picture of the kinds in `_PILLOW_FORMATS`.

    Args:
        load: whether to look for damage, and for further pictures.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw), formats=_PILLOW_FORMATS) as picture:
            height, width = _size_in_file(picture)
            check_size(height, width)
            if load:
                _check_covered(picture, raw)
                picture.load()
                _check_alone(picture)
    except (UndecodableError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit is higher
        raise UndecodableError(f"{error}; {MAX_PICTURE_PX / 1e6:g} million are decoded") from error
    except UnidentifiedImageError as error:
        raise UndecodableError(
            f"{len(raw)} bytes that are no whole JPEG, PNG, WebP, TIFF, BMP, PGM, JP2 or GIF"
        ) from error
    except Exception as error:  # Pillow does not say what a damaged file may raise
        raise UndecodableError(f"{error}" or type(error).__name__) from error
    return height, width


def _size_in_file(picture: "Image.Image") -> tuple[int, int]:
    """(height, width); of a TIFF that says it is turned, Pillow exchanges them."""
    from PIL import TiffImagePlugin as Tiff

    width, height = picture.size
    if isinstance(picture, Tiff.TiffImageFile):
        width = picture.tag_v2.get(Tiff.IMAGEWIDTH, width)
        height = picture.tag_v2.get(Tiff.IMAGELENGTH, height)
    return height, width


def _check_covered(picture: "Image.Image", raw: bytes) -> None:
    """Raise where strips or tiles of a TIFF are missing, which Pillow leaves black, or where the
    pixels of a BMP are said to lie in its header, which OpenCV believes."""
    from PIL import TiffImagePlugin as Tiff

    if picture.format == "BMP":
        pixels_at, header_bytes = (int.from_bytes(raw[at : at + 4], "little") for at in (10, 14))
        if pixels_at < _BMP_FILE_HEADER_BYTES + header_bytes:
            raise UndecodableError(f"a BMP whose pixels begin at byte {pixels_at}, in its header")
    if not isinstance(picture, Tiff.TiffImageFile):
        return
    tags, (height, width) = picture.tag_v2, _size_in_file(picture)
    if Tiff.TILEOFFSETS in tags:
        across, down = tags[Tiff.TILEWIDTH], tags[Tiff.TILELENGTH]
        check_size(down, across)
        num_parts = len(tags[Tiff.TILEOFFSETS])
    else:
        across, down = width, min(height, tags.get(Tiff.ROWSPERSTRIP, height))
        num_parts = len(tags[Tiff.STRIPOFFSETS])
    planes = tags.get(_SAMPLES_PER_PIXEL, 1) if tags.get(Tiff.PLANAR_CONFIGURATION, 1) == 2 else 1
    needed = math.ceil(width / across) * math.ceil(height / down) * planes
    if num_parts != needed:
        raise UndecodableError(
            f"a TIFF of {num_parts} strips or tiles, where its size needs {needed}"
        )


def _check_alone(picture: "Image.Image") -> None:
    try:
        picture.seek(1)
    except EOFError:
        return
    raise UndecodableError("a file of several pictures; save each of them as a file of its own")


def _pgm_bits(raw: bytes) -> int | None:
    """The depth of a PGM or PPM of more than 8 bits, unless it says no more than that it has 16."""
    header = _PGM_HEADER.match(raw[:4096])
    bits = int(header[1]).bit_length() if header is not None else 16
    return bits if bits < 16 else None


def _decoded(raw: bytes, flags: int, size: tuple[int, int], upright: bool) -> Pixels:
    """The pixels that OpenCV finds in a picture that is known to be whole; colours are BGR.

    Args:
        size: (height, width) as they lie in the file.
    """
    import cv2

    pixels = decode(raw, flags if upright else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise UndecodableError(f"{len(raw)} bytes that OpenCV does not decode")
    if pixels.shape[:2] != size and (not upright or pixels.shape[1::-1] != size):
        height, width = pixels.shape[:2]
        raise UndecodableError(f"{width}x{height} px, not the {size[1]}x{size[0]} of its header")
    return pixels


def _in_colour(pixels_bgr: NDArray[np.uint8], colour: bool | None) -> NDArray[np.uint8]:
    """Grey or BGR pixels as `read_picture` gives them."""
    import cv2

    if pixels_bgr.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels_bgr, cv2.COLOR_GRAY2RGB)) if colour else pixels_bgr
    to = cv2.COLOR_BGR2GRAY if colour is False else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels_bgr, to))
