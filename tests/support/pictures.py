"""Files of pictures as other programs write them, whole or put together from their parts."""

import io
import zlib

import numpy as np
from PIL import Image


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    """A file of PIL's.

    Args:
        kind: a format of PIL's, such as "JPEG".
        options: of that format.
    """
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def png_with(header: bytes, packed: bytes) -> bytes:
    """A PNG of these contents of IHDR and IDAT, its checksums right whatever they hold."""
    parts = (b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
