"""The traces of JPEG are found in pictures that were compressed, and in no others."""

import cv2
import numpy as np
import pytest

from factory.domains.eye.pupil.calibration import looks
from factory.measures.looks.blocks import block_trace
from support.drawn_eyes import drawn_eyes


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    return drawn_eyes()


def compressed(images, quality):
    return np.stack(
        [
            cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)
            for image in images
        ]
    )


@pytest.mark.parametrize(("quality", "least"), [(8, 0.4), (20, 0.3), (50, 0.15)])
def test_compression_leaves_a_trace(eyes, quality, least):
    assert (block_trace(compressed(eyes, quality)) > least).all()
    cut = np.ascontiguousarray(compressed(np.pad(eyes, ((0, 0), (5, 5), (3, 3))), quality))
    assert (block_trace(cut[:, 5:-5, 3:-3]) > least).all()


def test_what_was_never_compressed_has_next_to_none(eyes):
    assert (block_trace(eyes) < 0.12).all()
    for name, changed in looks(eyes, np.random.default_rng(0)).items():
        assert name == "jpeg" or (block_trace(changed) < 0.12).all(), name
    soft = np.stack([cv2.GaussianBlur(image, (0, 0), 3.0) for image in eyes])
    assert (block_trace(soft) < 0.2).all()


def test_a_flat_picture_vanishes_on_every_grid_alike():
    assert block_trace(np.full((2, 35, 55), 90, np.uint8)).tolist() == [0, 0]
    assert block_trace(np.zeros((0, 35, 55), np.uint8)).shape == (0,)


def test_pictures_smaller_than_two_blocks_are_refused():
    with pytest.raises(ValueError, match="no grid of blocks"):
        block_trace(np.zeros((1, 14, 55), np.uint8))
