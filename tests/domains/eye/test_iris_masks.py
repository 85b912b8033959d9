"""Eyes with hand-made masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.iris_masks import (
    EYE_WIDTH_SHARE,
    IrisMasksOptions,
    IrisMasksSource,
    limbus_center,
    opening_corners,
)
from factory.sources.base import BadRender, LeftOut, Vanished
from factory.sources.files import NOTHING_SEEN
from factory.sources.input_table import InputTable
from support.looking_eyes import write_pictures

CENTER = (148.0, 121.0)
MIDDLE = (160, 120)


def mask_of(turned_deg: float = 0.0, center: tuple[float, float] = CENTER) -> np.ndarray:
    """(240, 320) uint8: an opening of 160 x 60 px around `MIDDLE`, turned, with iris and pupil."""
    opening = np.zeros((240, 320), np.uint8)
    axes = (80, 30)
    cv2.ellipse(opening, MIDDLE, axes, turned_deg, 0, 360, 1, -1)
    rows, columns = np.mgrid[:240, :320]
    distance = np.hypot(columns - center[0], rows - center[1])
    mask = opening.copy()
    mask[(distance < 32) & (opening > 0)] = 2
    mask[(distance < 10) & (opening > 0)] = 3
    return mask


def picture_of(mask: np.ndarray) -> np.ndarray:
    return np.array([150, 220, 80, 20, 150], np.uint8)[mask]


def source_of(folder: Path, **options: object) -> IrisMasksSource:
    return IrisMasksSource(folder, IrisMasksOptions.model_validate(options))


@pytest.fixture
def folder(tmp_path) -> Path:
    mask = mask_of(25.0)
    write_pictures(tmp_path, {"a.png": picture_of(mask), "a.mask.png": mask})
    return tmp_path


def test_the_iris_centre_is_known_in_the_crop(folder) -> None:
    loaded = source_of(folder).load("a")
    x, y = loaded.extra["iris_center_px"]
    assert np.allclose((x, y), loaded.crop_affine @ [*CENTER, 1], atol=0.15)
    dark = np.argwhere(loaded.image < 45)[:, ::-1].mean(axis=0)
    assert np.allclose(dark, (x, y), atol=0.5), "the pupil of the crop is there"
    assert loaded.labels == {} and loaded.identity is None
    assert loaded.extra["outside_share"] == 0


@pytest.mark.parametrize("turned_deg", [-30.0, 0.0, 25.0])
def test_the_corners_of_the_opening_are_level_and_as_far_apart_as_in_renders(turned_deg) -> None:
    left, right = opening_corners(mask_of(turned_deg))
    turn = np.radians(turned_deg)
    end = 80 * np.array([np.cos(turn), np.sin(turn)])
    assert np.allclose(right, MIDDLE + end, atol=1.5) and np.allclose(left, MIDDLE - end, atol=1.5)


def test_the_crop_is_level_and_of_one_eye_width(folder) -> None:
    affine = source_of(folder, crop=EyeCrop(eye_width_px=30)).load("a").crop_affine
    end = 80 * np.array([np.cos(np.radians(25)), np.sin(np.radians(25))])
    left, right = (affine @ [*(MIDDLE + sign * end), 1] for sign in (-1, 1))
    assert abs(left[1] - right[1]) < 0.4
    assert np.allclose((left + right) / 2, (27, 17), atol=0.4)
    assert np.isclose(EYE_WIDTH_SHARE * np.hypot(*(right - left)), 30, atol=0.5)


def test_a_crop_that_leaves_its_picture_says_so(tmp_path) -> None:
    mask = mask_of()
    write_pictures(tmp_path, {"a.png": picture_of(mask)[85:], "a.mask.png": mask[85:]})
    assert 0.1 < source_of(tmp_path).load("a").extra["outside_share"] < 0.4


def test_a_colour_crop_has_the_same_place(folder) -> None:
    grey, colour = (source_of(folder, crop=EyeCrop(colour=c)).load("a") for c in (False, True))
    assert colour.image.shape == (35, 55, 3) and grey.image.shape == (35, 55)
    assert np.array_equal(colour.image[:, :, 0], grey.image)


def one_sided() -> np.ndarray:
    mask = mask_of()
    mask[:, :140][mask[:, :140] == 1] = 0
    return mask


GOOD = mask_of()
BAD = {
    "no mask (.mask.png) beside the picture": (picture_of(GOOD), None),
    "no picture beside the mask": (None, GOOD),
    "the mask has 320x239 px, its picture 320x240 px": (picture_of(GOOD), GOOD[:-1]),
    "the mask has no opening": (picture_of(GOOD), 0 * GOOD),
    "on both sides of the iris": (picture_of(GOOD), one_sided()),
    "the mask is in colour": (
        picture_of(GOOD),
        np.stack([GOOD, 0 * GOOD, GOOD], axis=2),
    ),
    "at least 16 needed": (
        picture_of(GOOD)[::12, ::12].copy(),
        GOOD[::12, ::12].copy(),
    ),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_malformed_pair_is_rejected_with_its_reason(folder, reason) -> None:
    image, mask = BAD[reason]
    given = {"b.png": image, "b.mask.png": mask}
    write_pictures(folder, {n: pixels for n, pixels in given.items() if pixels is not None})
    source = source_of(folder)
    assert [facts.id for facts in source.listing()] == ["a", "b"]
    with pytest.raises(BadRender) as caught:
        source.load("b")
    assert reason in caught.value.reason
    assert source.load("a").image.shape == (35, 55)


def test_damaged_and_doubled_files_are_rejected_and_missing_ones_vanished(folder) -> None:
    source = source_of(folder)
    with pytest.raises(Vanished):
        source.load("c")
    (folder / "a.mask.png").write_bytes(b"")
    with pytest.raises(BadRender, match=r"a\.mask\.png is empty"):
        source.load("a")
    (folder / "a.mask.png").write_bytes(b"text")
    with pytest.raises(BadRender, match="mask does not decode"):
        source.load("a")
    (folder / "a.jpg").write_bytes(b"text")
    with pytest.raises(BadRender, match=r"more than one pair: a\.jpg, a\.mask\.png, a\.png"):
        source_of(folder).load("a")


def test_a_listing_tells_which_files_are_read(folder) -> None:
    source = source_of(folder)
    with InputTable(source.scan(NOTHING_SEEN)) as inputs:
        (known,) = inputs.in_natural_order().to_pylist()
    assert (known["id"], known["suffixes"]) == ("a", ".mask.png .png")
    source.expect({"a": known["suffixes"]})
    assert np.array_equal(source.load("a").image, source_of(folder).load("a").image)


def test_names_that_are_not_wanted_are_left_out(folder) -> None:
    with pytest.raises(LeftOut, match=r"its name is not like r\*"):
        source_of(folder, only_names="r*").load("a")
    assert source_of(folder, only_names="a*").load("a").image_sha256


def test_a_centre_is_found_below_an_eyelid_and_stray_values_do_not_matter() -> None:
    mask = mask_of(center=(160.0, 105.0))
    mask[5:9, 5:9] = 4
    assert np.allclose(limbus_center(mask), (160, 105), atol=0.5)


@pytest.mark.slow
def test_the_photographs_with_masks_are_read(shared_data) -> None:
    tar = shared_data / "eye-masks" / "eyes-with-masks.tar"
    source = source_of(tar, only_names="r1*")
    num_read = 0
    for facts in source.listing():
        try:
            x, y = source.load(facts.id).extra["iris_center_px"]
        except BadRender as bad:
            assert isinstance(bad, LeftOut) or "both sides" in bad.reason
            continue
        num_read += 1
        assert 3 < x < 52 and 0 < y < 34
    assert num_read > 10
