"""PNGs of other writers than this project: of any depth, with palettes, alpha or interlacing.

`factory/images/png.py: check_png` is for what this project wrote, and knows nothing else.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from factory.images.budget import check_size
from factory.images.png import UndecodableError, png_chunks

_HEADER_BYTES = 33
"""bytes of the signature and the first chunk"""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""number of channels by PNG colour type"""
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""bits of a channel by PNG colour type"""
_GREY_TYPES = (0, 4)
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""(x, y, step in x, step in y) of the passes of an interlaced PNG"""
_INFLATED_BYTES = 1 << 20
"""how much is inflated at a time"""


class PngHeader(NamedTuple):
    """What the first chunk says."""

    width: int
    height: int
    bits: int
    """of one channel"""
    colours: int
    """PNG's colour type"""
    interlaced: int

    @property
    def in_colour(self) -> bool:
        return self.colours not in _GREY_TYPES

    def num_bytes(self) -> int:
        """Size of the inflated lines, each led by its filter."""
        bits = self.bits * _CHANNELS[self.colours]
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        return sum(
            rows * (1 + -(-columns * bits // 8))
            for x, y, across, down in passes
            if (rows := -(-(self.height - y) // down)) > 0
            and (columns := -(-(self.width - x) // across)) > 0
        )


def png_header(raw: bytes) -> PngHeader:
    """The header of bytes that begin as a PNG does.

    Raises:
        UndecodableError: it is damaged, or says what no PNG may.
    """
    kind, content = next(iter(png_chunks(raw[:_HEADER_BYTES])), (b"", b""))
    if kind != b"IHDR" or len(content) != 13:
        raise UndecodableError("a PNG without a header")
    width, height, bits, colours, compression, filters, interlaced = struct.unpack(
        ">IIBBBBB", content
    )
    if bits not in _BITS.get(colours, ()) or compression or filters or interlaced > 1:
        raise UndecodableError(f"a PNG of {bits} bits, colours {colours}, {content[10:]!r}")
    return PngHeader(width, height, bits, colours, interlaced)


def check_whole(raw: bytes) -> int | None:
    """Check that a PNG has all its pixels and holds one picture. Bytes behind its end are ignored.

    Returns:
        How many bits of each pixel are significant, where the chunk sBIT says it.

    Raises:
        UndecodableError: it is damaged or truncated, or is an animation.
    """
    header = png_header(raw)
    check_size(header.height, header.width)
    kinds: list[bytes] = []
    packed: list[bytes] = []
    significant_bits = None
    for kind, content in png_chunks(raw):
        if kind not in _CRITICAL and kind[:1].isupper():
            raise UndecodableError(f"a PNG with the chunk {kind!r}, which is not known")
        if kind == b"IDAT":
            if packed and kinds[-1] != kind:
                raise UndecodableError("a PNG whose pixels are not in one place")
            packed.append(content)
        if kind == b"sBIT" and 0 < max(content[:3], default=0) <= header.bits:
            significant_bits = max(content[:3] if header.in_colour else content[:1])
        if kind == b"acTL" and content[:4] != b"\0\0\0\1":
            raise UndecodableError(
                f"an animated PNG of {int.from_bytes(content[:4])} pictures; save each of them as "
                "a file of its own"
            )
        kinds.append(kind)
        if kind == b"IEND":
            break
    if kinds[-1:] != [b"IEND"]:
        raise UndecodableError("a PNG without its end")
    _check_inflates(packed, header.num_bytes())
    return significant_bits


def _check_inflates(packed: Iterable[bytes], num_bytes: int) -> None:
    """Check that a zlib stream in parts has a number of bytes, without ever holding them all."""
    inflate = zlib.decompressobj()
    num_inflated = 0
    try:
        for part in packed:
            while part and not inflate.eof and num_inflated <= num_bytes:
                num_inflated += len(inflate.decompress(part, _INFLATED_BYTES))
                part = inflate.unconsumed_tail
    except zlib.error as error:
        raise UndecodableError(f"a PNG whose pixels do not inflate ({error})") from error
    if num_inflated != num_bytes or not inflate.eof:
        raise UndecodableError("a PNG whose pixels end too early or too late")
