"""Crops against Pillow's filter and against truths that need none; both ways to make them."""

import numpy as np
import pytest
from PIL import Image

from factory.images import native
from factory.images.crop import Framing, resample

HEIGHT, WIDTH = 35, 55
needs_compiled = pytest.mark.skipif(native.crops is None, reason=native.how())


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_compiled)], autouse=True)
def way(request, monkeypatch) -> str:
    """Every test runs both ways."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "crops", None)
    return request.param


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.21, 0.5, 0.73, 1.0, 1.6])
def test_inside_a_picture_it_is_pillows_bicubic_filter(scale: float) -> None:
    # Of middling greys, as Pillow's levels may not leave the scale between its passes.
    picture = 85 + noise(int(50 / scale) + 20, int(70 / scale) + 20) // 3
    left, top = 6.3, 5.8  # of the crop's outline, from the picture's corner
    box = (left, top, left + WIDTH / scale, top + HEIGHT / scale)
    expected = Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box)
    framing = Framing(scale, -0.5 - scale * (left - 0.5), -0.5 - scale * (top - 0.5))
    crop = resample(picture, framing, HEIGHT, WIDTH).astype(int)
    reach = int(np.ceil(2 * max(1.0, scale)))  # Pillow's filter ends at the box, ours does not
    inside = np.abs(crop - np.asarray(expected))[reach:-reach, reach:-reach]
    assert inside.max() <= 1


@pytest.mark.parametrize("scale", [0.19, 0.37, 0.8, 1.0, 1.7])
@pytest.mark.parametrize("centre", [(61.3, 40.8), (70.0, 52.5)])
def test_a_dot_lands_where_the_map_says(scale: float, centre: tuple[float, float]) -> None:
    y, x = np.mgrid[:100, :140]
    radius = max(2.0, 1.5 / scale)
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    picture = (250 * np.exp(-square / (2 * radius**2))).round().astype(np.uint8)
    framing = Framing(scale, 40 - scale * 66, 30 - scale * 45)
    crop = resample(picture, framing, 61, 81).astype(float)
    rows, columns = np.mgrid[:61, :81]
    found_px = (columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()
    assert np.allclose(found_px, framing.place([centre[0]], [centre[1]])[0], atol=0.05)


def test_a_whole_shift_copies_and_repeats_the_edge() -> None:
    picture = noise(20, 30)
    shifted = resample(picture, Framing(1.0, 10, -5), 20, 30)
    assert np.array_equal(shifted[:15, 10:], picture[5:, :20])
    assert (shifted[:15, :10] == picture[5:, :1]).all()
    assert (shifted[15:, 10:] == picture[-1:, :20]).all()


@pytest.mark.parametrize("level", [0, 1, 137, 255])
def test_a_plain_picture_stays_plain(level: int) -> None:
    picture = np.full((40, 50), level, np.uint8)
    for scale in (0.13, 0.613, 1.0, 2.9):
        assert (resample(picture, Framing(scale, -3.2, 1.7), 20, 25) == level).all()


def test_stripes_finer_than_the_crop_become_grey() -> None:
    stripes = np.zeros((200, 300), np.uint8)
    stripes[:, ::2] = 200
    crop = resample(stripes, Framing(0.3, 0.1, -3.0), 30, 50)[4:-4, 4:-4]
    assert np.abs(crop.astype(int) - 100).max() <= 2


def test_a_sharp_edge_overshoots_into_the_ends_of_the_scale_and_no_further() -> None:
    picture = np.zeros((40, 60), np.uint8)
    picture[:, 30:] = 255
    crop = resample(picture, Framing(1.3, -4.4, -3.0), HEIGHT, WIDTH)
    assert set(np.unique(crop)) >= {0, 255}
    middle = crop[20].astype(int)
    assert (np.diff(middle) >= 0).all(), "what leaves the scale must not wrap round"


def test_the_map_of_a_scaled_picture_is_that_of_the_whole_one() -> None:
    framing = Framing(0.23, -31.0, -40.5)
    for factor in (1.0, 8 / 3, 4.0):
        x, y = np.array([10.0, 77.5]), np.array([20.0, 3.0])
        unscaled = framing.place(
            ((x + 0.5) * factor - 0.5).tolist(), ((y + 0.5) * factor - 0.5).tolist()
        )
        assert np.allclose(framing.of_scaled(factor).place(x.tolist(), y.tolist()), unscaled)
    assert np.allclose(framing.affine() @ [10, 20, 1], framing.place([10.0], [20.0])[0])


def test_parts_of_other_arrays_are_taken_as_they_look() -> None:
    pixels = noise(60, 80)
    framing = Framing(0.9, -2.0, -1.0)
    for view in (pixels[::2, ::2], pixels[:, ::-1], pixels.T):
        assert np.array_equal(
            resample(view, framing, 20, 30), resample(view.copy(), framing, 20, 30)
        )


@needs_compiled
def test_both_ways_make_the_same_bits(way, monkeypatch) -> None:
    """Whatever the sizes and the map, crops that lie outside of the picture too."""
    if way == "numpy":
        return
    random = np.random.default_rng(7)
    cases, made = [], []
    for number in range(400):
        picture = noise(*random.integers(1, 90, 2), seed=number)
        if number % 3 == 0:
            picture = (picture > 127).astype(np.uint8) * 255
        framing = Framing(*np.exp(random.normal(0, 0.7, 1)), *random.normal(0, 30, 2))
        cases.append((picture, framing, *map(int, random.integers(1, 60, 2))))
        made.append(resample(*cases[-1]))
    monkeypatch.setattr(native, "crops", None)
    for case, crop in zip(cases, made, strict=True):
        assert np.array_equal(resample(*case), crop), case[1:]
