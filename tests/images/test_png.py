"""Pixels and affine maps, checked against slow loops and PIL."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from factory.images.png import (
    UndecodableError,
    chain,
    check_png,
    decode_png,
    encode_png,
    grey,
)
from support.pictures import encoded, png_chunk, png_with

SHAPES = [
    ((35, 55), np.uint8),
    ((35, 55, 3), np.uint8),
    ((35, 55), np.uint16),
    ((1, 1), np.uint8),
    ((9, 13, 3), np.uint8),
    ((224, 224), np.uint16),
]
"""up to 4,096 bytes are stored, more are compressed"""


def random_image(shape, dtype) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def png(mode: str = "L", format: str = "PNG") -> bytes:
    return encoded(Image.fromarray(random_image((35, 55), np.uint8)).convert(mode), format)


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
def test_png_is_lossless_and_read_alike_by_pil(shape, dtype) -> None:
    image = random_image(shape, dtype)
    raw = encode_png(image)
    assert np.array_equal(decode_png(raw), image) and decode_png(raw).dtype == dtype
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), image)


@pytest.mark.parametrize("length", [0, 1, 8, 30, 60, 500, 1200, -13, -1])
def test_a_truncated_png_is_refused(length: int) -> None:
    with pytest.raises(UndecodableError):
        decode_png(png()[:length])


def test_a_png_with_a_changed_byte_is_refused() -> None:
    raw = bytearray(png())
    raw[len(raw) // 2] ^= 0x55
    with pytest.raises(UndecodableError):
        decode_png(bytes(raw))


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
def test_a_whole_png_is_of_the_shape_that_pil_reads(shape, dtype) -> None:
    raw = encode_png(random_image(shape, dtype))
    assert check_png(raw) == (shape, dtype)
    assert np.asarray(Image.open(io.BytesIO(raw))).shape == shape
    assert check_png(png()) == ((35, 55), np.uint8), "as another encoder writes it"


@pytest.mark.parametrize("shape", [(9, 13), (70, 60)])
def test_a_change_of_any_byte_of_a_png_is_found(shape) -> None:
    """Stored or compressed."""
    image = (np.indices(shape).sum(0) % 7).astype(np.uint8)
    raw = encode_png(image)
    for position in range(len(raw)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(raw)
            changed[position] ^= flip
            with pytest.raises(UndecodableError):
                check_png(bytes(changed))


def test_a_png_that_is_cut_or_followed_by_something_is_not_whole() -> None:
    raw = encode_png(random_image((9, 13), np.uint8))
    for spoilt in (*(raw[:length] for length in range(len(raw))), raw + b"\0", raw + raw):
        with pytest.raises(UndecodableError):
            check_png(spoilt)


def png_of(
    lines: bytes, *, header: bytes = bytes([0, 0, 0, 3, 0, 0, 0, 2, 8, 0, 0, 0, 0])
) -> bytes:
    """A PNG of 3x2 px, its checksums right whatever it holds."""
    return png_with(header, zlib.compress(lines))


LINES = b"\0abc\1def"
CONSISTENT_BUT_WRONG = {
    "a line too few": png_of(LINES[:4]),
    "a byte too few": png_of(LINES[:-1]),
    "a byte too many": png_of(LINES + b"x"),
    "a bomb": png_of(bytes(10_000_000)),
    "an unknown filter": png_of(b"\0abc\5def"),
    "no picture": png_of(b"", header=bytes([0, 0, 0, 0, 0, 0, 0, 2, 8, 0, 0, 0, 0])),
    "interlaced": png_of(LINES, header=bytes([0, 0, 0, 3, 0, 0, 0, 2, 8, 0, 0, 0, 1])),
    "with a palette": png(mode="P"),
    "with alpha": png(mode="LA"),
    "of one bit": png(mode="1"),
    "a short header": png_of(LINES, header=bytes(12)),
    "two headers": png_of(LINES)[:33] + png_of(LINES)[8:],
    "without pixels": png_of(LINES)[:33] + png_chunk(b"IEND", b""),
    "transparent": png_of(LINES)[:33] + png_chunk(b"tRNS", b"\0\0") + png_of(LINES)[33:],
    "pixels after the end of pixels": png_of(LINES)[:33]
    + png_chunk(b"IDAT", zlib.compress(LINES) + b"x")
    + png_chunk(b"IEND", b""),
    "the signature alone": png_of(LINES)[:8],
}


@pytest.mark.parametrize("kind", CONSISTENT_BUT_WRONG)
def test_a_png_that_is_not_what_its_header_says_is_refused(kind: str) -> None:
    assert check_png(png_of(LINES)) == ((2, 3), np.uint8)
    with pytest.raises(UndecodableError):
        check_png(CONSISTENT_BUT_WRONG[kind])


def test_chunks_that_change_no_pixel_are_passed_over() -> None:
    raw = png_of(LINES)[:33] + png_chunk(b"tEXt", b"Comment\0hello") + png_of(LINES)[33:]
    assert check_png(raw) == ((2, 3), np.uint8)


@pytest.mark.parametrize("shape", [(35, 55), (9, 13, 3)])
def test_a_damaged_small_png_is_not_decoded(shape) -> None:
    raw = encode_png(random_image(shape, np.uint8))
    for position in range(40, len(raw) - 12, 97):
        changed = bytearray(raw)
        changed[position] ^= 0x10
        with pytest.raises(UndecodableError):
            decode_png(bytes(changed))


def test_stored_pngs_of_other_writers_decode_too() -> None:
    """Filtered lines, a palette: what the short way cannot read goes the long way."""
    filtered = zlib.compress(b"\1\5\1\1" + b"\2\1\1\1", 0)
    assert filtered.startswith(b"\x78\x01\x01")
    raw = png_of(b"")[:33] + png_chunk(b"IDAT", filtered) + png_chunk(b"IEND", b"")
    assert decode_png(raw).tolist() == [[5, 6, 7], [6, 7, 8]]
    header = bytes([0, 0, 0, 3, 0, 0, 0, 2, 4, 0, 0, 0, 0])  # grey of 4 bits
    raw = png_of(b"", header=header)[:33]
    raw += png_chunk(b"IDAT", zlib.compress(b"\0\x12\x30" * 2, 0)) + png_chunk(b"IEND", b"")
    assert decode_png(raw).tolist() == [[17, 34, 51]] * 2
    picture = Image.fromarray(random_image((35, 55), np.uint8)).convert("P")
    assert decode_png(encoded(picture, "PNG", compress_level=0)).shape == (35, 55, 3)


def test_other_pictures_are_no_png() -> None:
    with pytest.raises(UndecodableError, match="PNG"):
        decode_png(png(format="JPEG"))


def test_a_png_that_claims_to_be_enormous_is_refused() -> None:
    raw = bytearray(png())
    raw[16:24] = (60_000).to_bytes(4) * 2
    raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4)
    with pytest.raises(UndecodableError):
        decode_png(bytes(raw))


def test_maps_chain() -> None:
    first = np.array([[2.0, 0.5, 3.0], [-0.5, 1.5, -7.0]])
    second = np.array([[0.7, 0.1, 1.0], [0.2, 0.9, 2.0]])
    for point in np.random.default_rng(1).normal(size=(10, 2)) * 50:
        one_by_one = second @ [*(first @ [*point, 1]), 1]
        assert np.allclose(chain(second, first) @ [*point, 1], one_by_one)


def test_colours_are_measured_in_grey() -> None:
    colours = random_image((4, 35, 55, 3), np.uint8)
    weighted = colours @ np.array((0.299, 0.587, 0.114))
    assert np.abs(grey(colours) - weighted).max() <= 0.51
    assert np.array_equal(grey(colours[0]), grey(colours)[0])
    assert grey(colours[:0]).shape == (0, 35, 55)
    assert np.array_equal(grey(colours[..., 0]), colours[..., 0]), "as they are"
