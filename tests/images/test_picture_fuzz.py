"""Thousands of damaged pictures: each is refused, or is what an independent decoder makes of it."""

import io
import random
import resource
import time
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from PIL import Image

from factory.images.crop import Framing
from factory.images.jpeg import GREY_OR_RGB, crop_jpeg, is_jpeg, jpeg_size
from factory.images.picture import read_picture
from factory.images.png import UndecodableError, png_chunks
from support.pictures import encoded

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 90, 130
SECONDS_EACH = 2.0
"""of processor time, at most, for one file; a whole one takes a few milliseconds"""
GROWTH_KB = 150_000
"""by which the peak of memory may grow in a run; decoded, a picture has 35 kB"""
LEVELS = 1
"""by which two decoders may differ. All of them use libjpeg-turbo, whose IDCT gives the same bits
everywhere"""
PADDING = bytes(6400)
"""behind a JPEG. Where less follows, libjpeg-turbo changes to another Huffman decoder for the last
blocks, which reads damage that no decoder notices in another way"""


def scene() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) with edges, ramps and noise."""
    random_ = np.random.default_rng(5)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack((x * 255 / WIDTH, y * 255 / HEIGHT, (x * y) % 256), axis=2)
    picture[30:60, 40:90] = (20, 200, 90)
    return (picture + random_.normal(0, 9, picture.shape)).clip(0, 255).astype(np.uint8)


RGB = Image.fromarray(scene())
GREY = RGB.convert("L")
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) << 4)
FILES = {
    "JPEG": [
        encoded(RGB, "JPEG"),
        encoded(GREY, "JPEG", quality=90, restart_marker_blocks=4),
        encoded(RGB, "JPEG", progressive=True),
        encoded(RGB, "JPEG", subsampling=0, optimize=True),
    ],
    "PNG": [
        encoded(RGB, "PNG"),
        encoded(GREY, "PNG"),
        encoded(RGB.quantize(64), "PNG"),
        encoded(DEEP, "PNG"),
        encoded(RGB.convert("RGBA"), "PNG"),
    ],
    "WEBP": [
        encoded(RGB, "WEBP"),
        encoded(RGB, "WEBP", lossless=True),
        encoded(RGB.convert("RGBA"), "WEBP"),
    ],
    "TIFF": [
        encoded(RGB, "TIFF"),
        encoded(GREY, "TIFF", compression="tiff_lzw"),
        encoded(RGB, "TIFF", compression="tiff_adobe_deflate"),
        encoded(GREY, "TIFF", compression="packbits"),
        encoded(RGB, "TIFF", compression="jpeg"),
        encoded(DEEP, "TIFF"),
    ],
    "others": [
        encoded(RGB, "BMP"),
        encoded(GREY.quantize(32), "BMP"),
        encoded(GREY, "PPM"),
        encoded(RGB, "GIF"),
        encoded(RGB, "JPEG2000"),
        encoded(GREY, "JPEG2000", irreversible=True, quality_layers=[20]),
    ],
}
Mutation = Callable[[random.Random, bytearray], None]


def flip_bits(draw: random.Random, raw: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)


def overwrite(draw: random.Random, raw: bytearray) -> None:
    start, length = draw.randrange(len(raw)), draw.choice((1, 4, 16, 200, 2000))
    end = min(len(raw), start + length)
    raw[start:end] = draw.choice(
        (bytes(end - start), b"\xff" * (end - start), draw.randbytes(end - start))
    )


def cut(draw: random.Random, raw: bytearray) -> None:
    del raw[draw.randrange(len(raw)) :]
    raw += draw.choice((b"", b"\xff\xd9", bytes(64), b"\0\0\0\0IEND\xaeB`\x82"))


def take_out(draw: random.Random, raw: bytearray) -> None:
    start = draw.randrange(len(raw))
    del raw[start : start + draw.choice((1, 2, 17, 300))]


def double(draw: random.Random, raw: bytearray) -> None:
    start = draw.randrange(len(raw))
    part = raw[start : start + draw.choice((1, 2, 17, 300, len(raw)))]
    raw[start:start] = part


def change_header(draw: random.Random, raw: bytearray) -> None:
    """A number of the first bytes becomes a small or an enormous one."""
    start, size = draw.randrange(min(len(raw), 300)), draw.choice((1, 2, 4))
    number = draw.choice((0, 1, 7, 255, 65_535, 2**31 - 1, 2**32 - 1, draw.randrange(2**32)))
    raw[start : start + size] = (number % 256**size).to_bytes(size, draw.choice(("big", "little")))


def mend_png(raw: bytearray) -> None:
    """Make the checksums of a PNG right, so that what stands behind them is looked at too."""
    at = 8
    while at + 12 <= len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 4])
        if end + 4 > len(raw):
            break
        raw[end : end + 4] = zlib.crc32(raw[at + 4 : end]).to_bytes(4)
        at = end + 4


def repack_png(draw: random.Random, raw: bytearray) -> None:
    """Damage the lines of a PNG before they are compressed."""
    chunks = list(png_chunks(bytes(raw)))
    lines = bytearray(zlib.decompress(b"".join(part for kind, part in chunks if kind == b"IDAT")))
    draw.choice((flip_bits, overwrite, cut, take_out, double))(draw, lines)
    pixels = raw.index(b"IDAT") - 4
    packed = zlib.compress(bytes(lines))
    raw[pixels:] = len(packed).to_bytes(4) + b"IDAT" + packed + bytes(8) + b"IEND" + bytes(4)
    mend_png(raw)


MUTATIONS: tuple[Mutation, ...] = (flip_bits, overwrite, cut, take_out, double, change_header)


def mutated(kind: str, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged files, with what was done to them."""
    for number in range(count):
        draw = random.Random(f"{kind} {seed} {number}")
        index = draw.randrange(len(FILES[kind]))
        raw = bytearray(FILES[kind][index])
        done = [draw.choice(MUTATIONS) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
        if kind == "PNG" and draw.random() < 0.3:
            done = [repack_png]
        for mutation in done:
            if raw:
                mutation(draw, raw)
        if kind == "PNG" and draw.random() < 0.5:
            mend_png(raw)
        yield f"{kind} {index}, mutation {number}: {[m.__name__ for m in done]}", bytes(raw)


def independent(kind: str, raw: bytes) -> np.ndarray:
    """RGB pixels by PIL, for WebP by OpenCV; PIL goes on where a JPEG is damaged."""
    if kind == "WEBP":
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(raw, np.uint8), 1), cv2.COLOR_BGR2RGB)
    picture = Image.open(io.BytesIO(raw + PADDING if kind == "JPEG" else raw))
    exact = np.asarray(picture)
    if exact.dtype.itemsize > 1:
        top = int(exact.max())
        shift = next(bits for bits in (10, 12, 14, 16) if top >> bits == 0) - 8
        return np.repeat((exact >> shift).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(picture.convert("RGB"))


def check_both_ways(what: str, raw: bytes) -> None:
    """The source of renders, which decodes a part of a JPEG, must find the same damage."""

    def reads(read: Callable[[], object]) -> bool:
        try:
            read()
        except UndecodableError:
            return False
        return True

    def crop() -> None:
        height, width, colours = jpeg_size(raw)
        if colours not in GREY_OR_RGB:
            read_picture(raw)
        else:
            crop_jpeg(raw, Framing(0.5, -9, -9), 20, 30, height=height, width=width)

    assert reads(crop) == reads(lambda: read_picture(raw)), what


def check(kind: str, what: str, raw: bytes) -> bool:
    """Whether a file was read; if so, as the independent decoder reads it."""
    if is_jpeg(raw):
        check_both_ways(what, raw)
    started = time.process_time()
    try:
        pixels = read_picture(raw, colour=True, upright=False)
        assert read_picture(raw).size == pixels.size // 3, what
    except UndecodableError as error:
        assert str(error), what
        return False
    finally:
        assert time.process_time() - started < SECONDS_EACH, what
    expected = independent(kind, raw)
    assert pixels.shape == expected.shape, what
    difference = cv2.absdiff(pixels, expected).max()
    assert difference <= LEVELS, (what, difference)
    return True


@pytest.mark.parametrize("kind", FILES)
def test_whole_pictures_are_what_an_independent_decoder_reads(kind: str) -> None:
    for number, raw in enumerate(FILES[kind]):
        assert check(kind, f"{kind} {number}", raw)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("count", [250, pytest.param(6000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_pictures_are_refused_or_read_as_an_independent_decoder_reads_them(
    kind: str, count: int
) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    num_read = sum(check(kind, what, raw) for what, raw in mutated(kind, count, seed=1))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < GROWTH_KB
    assert num_read < count / 2
