"""Scaled decoding keeps the geometry, and what a decoder can tell to be damaged is refused."""

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from factory.images import native
from factory.images.crop import Framing, resample
from factory.images.jpeg import crop_jpeg, decode_jpeg, jpeg_size
from factory.images.png import UndecodableError
from support.fakes import grey_picture
from support.pictures import encoded

SIZES = [(96, 128), (101, 77), (240, 320), (33, 500)]
"""height, width"""
KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
}


PLACES = [(0.4, 0.5, 0.5), (1.0, 0, 0), (0.9, 1, 1), (0.3, 0.5, 0), (0.05, 0.5, 0.5), (9, 1, 0)]
"""scale of a crop, and where its middle lies across and down the picture"""
WAYS = [
    "simplejpeg",
    pytest.param("compiled", marks=pytest.mark.skipif(native.crops is None, reason=native.how())),
]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch) -> str:
    """How crops are made."""
    if request.param == "simplejpeg":
        monkeypatch.setattr(native, "crops", None)
    return request.param


def picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3), smooth, different in every channel."""
    return np.stack([cv2.resize(grey_picture(seed=s), (width, height)) for s in range(3)], -1)


def jpeg(image: np.ndarray, **options) -> bytes:
    return encoded(image, "JPEG", **{"quality": 95} | options)


def grey(raw: bytes, eighths: int = 8) -> np.ndarray:
    height, width, _ = jpeg_size(raw)
    return decode_jpeg(raw, height=height, width=width, eighths=eighths)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_grey_is_the_luma_that_pil_reads(kind, size) -> None:
    raw = jpeg(picture(*size), **KINDS[kind])
    assert jpeg_size(raw) == (*size, "YCbCr")
    luma = np.asarray(Image.open(io.BytesIO(raw)).convert("YCbCr"))[:, :, 0]
    assert np.abs(grey(raw).astype(int) - luma).max() <= 3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("eighths", [1, 2, 4])
def test_a_scaled_pixel_is_the_mean_of_those_it_covers(size, eighths) -> None:
    raw = jpeg(picture(*size))
    small, cell = grey(raw, eighths), 8 // eighths
    assert small.shape == tuple(math.ceil(length * eighths / 8) for length in size)
    unscaled = grey(raw).astype(float)
    rows, columns = size[0] // cell, size[1] // cell
    cells = unscaled[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    assert np.abs(small[:rows, :columns] - cells.mean((1, 3))).mean() < 1


@pytest.mark.parametrize("eighths", range(1, 9))
def test_every_scale_has_the_size_that_its_name_says(eighths) -> None:
    for size in SIZES:
        expected = tuple(math.ceil(length * eighths / 8) for length in size)
        assert grey(jpeg(picture(*size)), eighths).shape == expected


@pytest.mark.parametrize("eighths", [1, 2, 8])
def test_a_truncated_file_is_refused_wherever_it_ends(eighths) -> None:
    raw = jpeg(picture(240, 320))
    for length in (*range(0, len(raw), 997), len(raw) - 2, len(raw) - 1):
        with pytest.raises(UndecodableError):
            decode_jpeg(raw[:length], height=240, width=320, eighths=eighths)


@pytest.mark.parametrize("eighths", [2, 8])
def test_a_block_of_zeros_inside_is_found(eighths) -> None:
    """As a crash leaves it. It lies anywhere, also far below or above an eye."""
    raw = jpeg(picture(240, 320))
    start = raw.index(b"\xff\xda") + 14
    for position in range(start, len(raw) - 600, 1500):
        with pytest.raises(UndecodableError):
            grey(raw[:position] + bytes(512) + raw[position + 512 :], eighths)


@pytest.mark.parametrize("raw", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"no picture", b"\x89PNG\r\n"])
def test_other_bytes_are_no_jpeg(raw) -> None:
    with pytest.raises(UndecodableError):
        jpeg_size(raw)
    with pytest.raises(UndecodableError):
        decode_jpeg(raw, height=100, width=100)


def test_a_header_that_is_not_the_one_given_is_refused() -> None:
    with pytest.raises(UndecodableError, match="not the 100x96 px"):
        decode_jpeg(jpeg(picture(96, 128)), height=96, width=100)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("eighths", [1, 2, 3, 5, 8])
def test_a_crop_is_that_of_the_decoded_picture(kind, size, eighths, way) -> None:
    """Wherever it lies: in a corner, in the middle, over the border, all of it."""
    raw = jpeg(picture(*size), **KINDS[kind])
    decoded = grey(raw, eighths)
    for scale, across, down in PLACES:
        middle = across * (size[1] - 1), down * (size[0] - 1)
        framing = Framing(scale, 12 - scale * middle[0], 8 - scale * middle[1])
        crop = crop_jpeg(raw, framing, 16, 25, height=size[0], width=size[1], eighths=eighths)
        expected = resample(decoded, framing.of_scaled(8 / eighths), 16, 25)
        assert np.array_equal(crop, expected), (scale, across, down)


@pytest.mark.parametrize("down", [0, 0.5, 1])
def test_damage_is_found_above_and_below_a_crop(down, way) -> None:
    raw = jpeg(picture(240, 320))
    framing = Framing(0.5, -0.25 * 320, 5 - 0.5 * down * 239)

    def crop(raw: bytes) -> np.ndarray:
        return crop_jpeg(raw, framing, 10, 10, height=240, width=320, eighths=4)

    assert crop(raw).shape == (10, 10)
    start = raw.index(b"\xff\xda") + 14
    for position in range(start, len(raw) - 600, 1500):
        with pytest.raises(UndecodableError):
            crop(raw[:position] + bytes(512) + raw[position + 512 :])
    for length in (*range(0, len(raw), 997), len(raw) - 2, len(raw) - 1):
        with pytest.raises(UndecodableError):
            crop(raw[:length])


def test_bytes_after_the_end_are_no_damage(way) -> None:
    """Some cameras write them."""
    raw, framing = jpeg(picture(96, 128)), Framing(0.5, 0, 0)
    for tail in (b"", b"\0" * 100, b"\xff\xd9", b"more" * 5000):
        crop = crop_jpeg(raw + tail, framing, 20, 30, height=96, width=128)
        assert np.array_equal(crop, resample(grey(raw), framing, 20, 30))


def test_a_crop_of_another_size_than_the_header_says_is_refused(way) -> None:
    with pytest.raises(UndecodableError, match="not the 100x96 px"):
        crop_jpeg(jpeg(picture(96, 128)), Framing(1, 0, 0), 9, 9, height=96, width=100)
    with pytest.raises(UndecodableError):
        crop_jpeg(b"", Framing(1, 0, 0), 9, 9, height=96, width=100)


@pytest.mark.slow
@pytest.mark.skipif(native.crops is None, reason=native.how())
def test_both_ways_refuse_the_same_bytes_for_the_same_reason(monkeypatch) -> None:
    """Bits turned, bytes cut out, cut off and overwritten, anywhere in the file."""
    random = np.random.default_rng(3)
    intact = [jpeg(picture(240, 320), **options) for options in KINDS.values()]
    framing = Framing(0.4, -30.0, -25.0)

    def crop(raw: bytes) -> tuple[bytes, str]:
        try:
            height, width, _ = jpeg_size(raw)
            crop = crop_jpeg(raw, framing, 35, 55, height=height, width=width, eighths=4)
            return crop.tobytes(), ""
        except UndecodableError as error:
            return b"", str(error)

    damaged, crops = [], []
    for number in range(1200):
        raw = bytearray(intact[number % len(intact)])
        position = int(random.integers(len(raw)))
        match number % 3:
            case 0:
                raw[position] ^= 1 << int(random.integers(8))
            case 1:
                raw[position : position + 64] = random.bytes(64)
            case _:
                del raw[position : position + int(random.integers(1, 400))]
        damaged.append(bytes(raw))
        crops.append(crop(damaged[-1]))
    refused = sum(bool(reason) for _, reason in crops)
    assert 300 < refused < 1150, "some pass as other pixels"
    monkeypatch.setattr(native, "crops", None)
    for raw, before in zip(damaged, crops, strict=True):
        assert crop(raw) == before


def test_a_sampling_that_simplejpeg_does_not_know_is_refused() -> None:
    raw = bytearray(jpeg(picture(96, 128)))
    start = raw.index(b"\xff\xc0")
    raw[start + 11] = 0x14  # of luma: 1 x 4
    with pytest.raises(UndecodableError):
        jpeg_size(bytes(raw))
