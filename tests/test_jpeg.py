"""Scaled decoding keeps the geometry, and what a decoder can tell to be damaged is refused."""

import io
import math

import cv2
import numpy as np
import pytest
from fakes import grey_picture
from PIL import Image

from factory.images import UndecodableError
from factory.jpeg import decode_jpeg, jpeg_size

SIZES = [(96, 128), (101, 77), (240, 320), (33, 500)]
"""height, width"""
KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
}


def picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3), smooth, different in every channel."""
    return np.stack([cv2.resize(grey_picture(seed=s), (width, height)) for s in range(3)], -1)


def jpeg(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **{"quality": 95} | options)
    return buffer.getvalue()


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
    whole = grey(raw).astype(float)
    rows, columns = size[0] // cell, size[1] // cell
    cells = whole[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
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
    for place in range(start, len(raw) - 600, 1500):
        with pytest.raises(UndecodableError):
            grey(raw[:place] + bytes(512) + raw[place + 512 :], eighths)


@pytest.mark.parametrize("raw", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"no picture", b"\x89PNG\r\n"])
def test_other_bytes_are_no_jpeg(raw) -> None:
    with pytest.raises(UndecodableError):
        jpeg_size(raw)
    with pytest.raises(UndecodableError):
        decode_jpeg(raw, height=100, width=100)


def test_a_header_that_is_not_the_one_given_is_refused() -> None:
    with pytest.raises(UndecodableError, match="not the 100x96 px"):
        decode_jpeg(jpeg(picture(96, 128)), height=96, width=100)
