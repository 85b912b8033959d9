"""Pixels, PNG and affine maps. Pixel centres are at integers, see docs/conventions.md.

OpenCV is imported where it is used, so that a dataset's card and index can be read without it.
"""

import base64
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Grey = NDArray[np.uint8]
"""grey pictures of 8 bits: (H, W), or (N, H, W)"""
PixelType = np.dtype[np.uint8] | np.dtype[np.uint16]
_Lines = tuple[tuple[int, ...], PixelType, NDArray[np.uint8]]
Affine = NDArray[np.float64]
"""(2, 3): maps (x, y, 1) of one picture to (x, y) of another"""


STORED_BYTES = 4096
"""bytes of pixels up to which a PNG is not compressed. Compressing eye crops would make a shard 8 %
smaller, as members fill blocks of 512 bytes, and take a third of the time of writing it"""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BITS = (8, 16)
_PNG_CHANNELS = {0: 1, 2: 3}
"""number of channels by PNG colour type: grey and RGB"""
_NUM_PNG_FILTERS = 5
_MAX_PNG_BYTES = 1 << 28
"""the largest size of inflated pixels; `encode_png` is never given a picture that large"""
_STORED = b"\x78\x01\x01"
"""beginning of a zlib stream (RFC 1950) whose only block is not compressed (RFC 1951)"""


class UndecodableError(ValueError):
    """Some bytes are not a whole picture."""


def chain(outer: Affine, inner: Affine) -> Affine:
    """The map that applies `inner`, then `outer`."""
    (a, b, c), (d, e, f) = outer.tolist()
    (p, q, r), (s, t, u) = inner.tolist()
    return np.array(
        [
            [a * p + b * s, a * q + b * t, a * r + b * u + c],
            [d * p + e * s, d * q + e * t, d * r + e * u + f],
        ]
    )


def grey(images: Pixels) -> Grey:
    """The same images in grey, once their type is checked to be uint8.

    Args:
        images: (H, W) or (N, H, W), or the same with 3 channels behind.

    Raises:
        ValueError: they have 16 bits, for which measurements of looks are not made.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"expected 8-bit images, found {images.dtype}")
    images = images.astype(np.uint8, copy=False)
    if images.shape[-1] != 3:
        return images
    if not images.size:
        return images[..., 0]
    import cv2

    lines = images.reshape(-1, images.shape[-2], 3)
    return np.asarray(cv2.cvtColor(lines, cv2.COLOR_RGB2GRAY)).reshape(images.shape[:-1])


def depth_as_grey(depth: Pixels, near: float, far: float) -> NDArray[np.uint8]:
    """Depth as a uint8 picture: `near` is white, `far` is dark grey, the background 0 is black."""
    nearness = (far - depth.astype(np.float64)) / max(1.0, far - near)
    return np.where(depth > 0, 55 + 200 * nearness.clip(0.0, 1.0), 0.0).astype(np.uint8)


def png_data_uri(png: bytes) -> str:
    """The bytes of a PNG as a data URI, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def encode_png(image: Pixels) -> bytes:
    """A lossless PNG of (h, w) uint8 or uint16 grey, or of (h, w, 3) uint8 RGB."""
    if image.nbytes <= STORED_BYTES:
        return _stored_png(image)
    import cv2

    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH)
    done, buffer = cv2.imencode(".png", image, options)
    assert done, f"PNG encoder refused {image.shape} {image.dtype}"
    return bytes(buffer)


def _stored_png(image: Pixels) -> bytes:
    """A PNG of unfiltered lines in one block that is not compressed."""
    height, width = image.shape[:2]
    big_endian = np.ascontiguousarray(image, image.dtype.newbyteorder(">"))
    pixels = big_endian.reshape(height, -1).view(np.uint8)
    lines = np.zeros((height, 1 + pixels.shape[1]), np.uint8)
    lines[:, 1:] = pixels
    colours = 0 if image.ndim == 2 else 2
    return _framed(lines.tobytes(), height, width, 8 * image.itemsize, colours)


def _framed(lines: bytes, height: int, width: int, bits: int, colours: int) -> bytes:
    """The PNG that holds these lines without compression."""
    head, end = _png_frame(height, width, bits, colours)
    block = struct.pack("<3sHH", _STORED, len(lines), len(lines) ^ 0xFFFF)
    stream = b"%b%b%b" % (block, lines, zlib.adler32(lines).to_bytes(4))
    return b"".join((head, _png_chunk(b"IDAT", stream), end))


@lru_cache(maxsize=4)
def _png_frame(height: int, width: int, bits: int, colours: int) -> tuple[bytes, bytes]:
    """The bytes of a PNG before and after its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return _PNG_SIGNATURE + _png_chunk(b"IHDR", header), _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return b"%b%b%b" % (len(content).to_bytes(4), checked, zlib.crc32(checked).to_bytes(4))


def is_png(raw: bytes) -> bool:
    """Whether bytes begin as a PNG does."""
    return raw.startswith(_PNG_SIGNATURE)


def decode(raw: bytes, flags: int) -> Pixels | None:
    """The picture that OpenCV decodes; None where it cannot, or finds the picture too large.

    Raises:
        MemoryError: there is not enough memory.
    """
    import cv2

    try:
        return cast("Pixels | None", cv2.imdecode(np.frombuffer(raw, np.uint8), flags))
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"not enough memory to decode {len(raw)} bytes") from error
        return None


def decode_png(raw: bytes) -> Pixels:
    """The picture that `encode_png` was given.

    Raises:
        UndecodableError: the bytes are truncated, or not a PNG.
    """
    stored = _stored_pixels(raw)
    if stored is not None:
        return stored
    import cv2

    image = decode(raw, cv2.IMREAD_UNCHANGED) if is_png(raw) else None
    if image is None:
        raise UndecodableError(f"{len(raw)} bytes that do not decode as PNG")
    if image.ndim == 3:
        return cast("Pixels", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return image


def check_png(raw: bytes) -> tuple[tuple[int, ...], PixelType]:
    """Shape and dtype of the picture in a PNG, once every checksum and every line is checked.

    This is stricter than decoders, which ignore a damaged end and bytes after it, and cheaper, as
    the filters of the lines are not undone.

    Raises:
        UndecodableError: the PNG is damaged, truncated, or of a layout that `encode_png` does not
            write.
    """
    shape, dtype, _ = _stored_lines(raw) or _png_lines(raw)
    return shape, dtype


def _stored_pixels(raw: bytes) -> Pixels | None:
    """The picture of a PNG that `_stored_png` wrote, at a third of the cost; None for others."""
    stored = _stored_lines(raw)
    if stored is None or stored[2][:, 0].any():
        return None
    shape, dtype, lines = stored
    pixels = np.ascontiguousarray(lines[:, 1:]).view(dtype.newbyteorder(">"))
    return cast("Pixels", pixels.reshape(shape).astype(dtype))


def _stored_lines(raw: bytes) -> _Lines | None:
    """What `_png_lines` gives, for a PNG that has exactly the bytes that `_framed` writes."""
    if raw[37:44] != b"IDAT" + _STORED:
        return None
    width, height, bits, colours = struct.unpack(">IIBB", raw[16:26])
    lines = raw[48:-20]
    if bits not in _PNG_BITS or colours not in _PNG_CHANNELS or len(lines) > 0xFFFF:
        return None
    if raw != _framed(lines, height, width, bits, colours):
        return None
    return _laid_out(lines, height, width, bits, colours)


def _png_lines(raw: bytes) -> _Lines:
    """Shape and dtype of a picture, and its (height, bytes) lines, each led by its filter."""
    if not is_png(raw):
        raise UndecodableError(f"{len(raw)} bytes that are no PNG")
    chunks = list(png_chunks(raw))
    kinds = [kind for kind, _ in chunks]
    changes_pixels = {kind for kind in kinds[1:-1] if kind[:1].isupper() or kind == b"tRNS"}
    if kinds[:1] != [b"IHDR"] or chunks[-1] != (b"IEND", b"") or changes_pixels != {b"IDAT"}:
        raise UndecodableError(f"a PNG of the chunks {b' '.join(kinds)!r:.80}")
    if len(chunks[0][1]) != 13:
        raise UndecodableError(f"a PNG with a header of {len(chunks[0][1])} bytes")
    width, height, bits, colours, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if any(rest):
        raise UndecodableError(f"a PNG of compression, filters and interlacing {rest}")
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    inflate = zlib.decompressobj()
    try:
        lines = inflate.decompress(packed, _MAX_PNG_BYTES)
    except zlib.error as error:
        raise UndecodableError(f"a PNG whose pixels do not inflate ({error})") from error
    if not inflate.eof or inflate.unused_data:
        raise UndecodableError("a PNG whose pixels end too early or too late")
    return _laid_out(lines, height, width, bits, colours)


def png_chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of every chunk, whose checksum is compared."""
    start = len(_PNG_SIGNATURE)
    while start < len(raw):
        end = start + 12 + int.from_bytes(raw[start : start + 4])
        checked = raw[start + 4 : end - 4]
        if end > len(raw) or zlib.crc32(checked) != int.from_bytes(raw[end - 4 : end]):
            raise UndecodableError(f"a PNG that is damaged in the chunk at byte {start}")
        yield checked[:4], checked[4:]
        start = end


def _laid_out(raw: bytes, height: int, width: int, bits: int, colours: int) -> _Lines:
    """Shape, dtype and lines, once it is checked that none is missing and every filter exists."""
    channels = _PNG_CHANNELS.get(colours)
    if channels is None or bits not in _PNG_BITS or not width * height:
        raise UndecodableError(f"a PNG of {width}x{height} px, {bits} bits, colours {colours}")
    line_bytes = 1 + width * channels * bits // 8
    if len(raw) != height * line_bytes or max(raw[::line_bytes]) >= _NUM_PNG_FILTERS:
        raise UndecodableError(f"a PNG whose pixels are not {height} whole lines")
    shape = (height, width) if channels == 1 else (height, width, channels)
    dtype = cast("PixelType", np.dtype(np.uint8 if bits == 8 else np.uint16))
    return shape, dtype, np.frombuffer(raw, np.uint8).reshape(height, line_bytes)
