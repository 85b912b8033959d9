"""Folders and archives of unlabelled pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from factory.domains.eye.options import EyeIngestOptions, eye_source_options
from factory.domains.eye.pupil.camera_pairs import camera_pairs
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.pictures import PicturesOptions, PicturesSource
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.ingestion.shards import ingested_card
from factory.sources.base import BadRender
from schemas.dataset import ImageSpec
from schemas.eye.kind import EYE
from support import fakes
from support.pictures import encoded


def source_of(folder: Path) -> PicturesSource:
    return PicturesSource(folder, PicturesOptions())


GREY = cv2.GaussianBlur(fakes.grey_picture()[:36, :60].copy(), (0, 0), 2)
ENORMOUS = bytearray(encoded(GREY, "JPEG"))
SIZE_AT = ENORMOUS.index(b"\xff\xc0") + 5
ENORMOUS[SIZE_AT : SIZE_AT + 4] = (65_000).to_bytes(2) * 2

BAD = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"hello", "does not decode"),
    "cut.jpg": (encoded(GREY, "JPEG")[:-30], "Premature end"),
    "cut.png": (encoded(GREY, "PNG")[:-300], "damaged in the chunk"),
    "cut.webp": (encoded(GREY, "WEBP")[:-30], "does not decode"),
    "tiny.png": (encoded(GREY[:8, :8], "PNG"), "too small"),
    "enormous.jpg": (bytes(ENORMOUS), "does not decode"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_picture_is_set_aside(tmp_path, name) -> None:
    raw, reason = BAD[name]
    (tmp_path / name).write_bytes(raw)
    source = source_of(tmp_path)
    assert [facts.id for facts in source.listing()] == [Path(name).stem]
    with pytest.raises(BadRender, match=reason):
        source.load(Path(name).stem)


def test_colour_and_16_bit_pictures_read_as_the_grey_one_does(tmp_path) -> None:
    (tmp_path / "grey.png").write_bytes(encoded(GREY, "PNG"))
    (tmp_path / "colour.png").write_bytes(encoded(np.repeat(GREY[:, :, None], 3, 2), "PNG"))
    (tmp_path / "alpha.png").write_bytes(encoded(Image.fromarray(GREY).convert("RGBA"), "PNG"))
    (tmp_path / "deep.png").write_bytes(bytes(cv2.imencode(".png", GREY.astype("u2") * 257)[1]))
    source = source_of(tmp_path)
    grey = source.load("grey").image
    assert grey.shape == (35, 55) and np.ptp(grey) > 40
    for name in ("colour", "alpha", "deep"):
        assert np.abs(source.load(name).image.astype(int) - grey).max() <= 1, name


def test_pictures_of_every_kind_are_inputs_whatever_the_case_of_their_suffix(tmp_path) -> None:
    kinds = {"bmp": "BMP", "TIF": "TIFF", "tiff": "TIFF", "webp": "WEBP", "pgm": "PPM"}
    kinds |= {"jp2": "JPEG2000", "Jfif": "JPEG", "JPE": "JPEG", "gif": "GIF", "PNG": "PNG"}
    for suffix, kind in kinds.items():
        (tmp_path / f"as-{suffix}.{suffix}").write_bytes(encoded(GREY, kind))
    source = source_of(tmp_path)
    ids = [facts.id for facts in source.listing()]
    assert sorted(ids) == sorted(f"as-{suffix}" for suffix in kinds)
    exact = source.load("as-PNG").image.astype(int)
    for source_id in ids:
        assert np.abs(source.load(source_id).image - exact).max() <= 6, source_id


def test_crops_are_in_colour_where_that_is_asked_for(tmp_path) -> None:
    rgb = np.dstack((fakes.grey_picture(), fakes.grey_picture()[::-1], fakes.grey_picture() // 3))
    fakes.write_pair(tmp_path, "1", image=encoded(rgb, "JPEG"))
    fakes.write_pair(tmp_path, "2", image=encoded(rgb, "PNG"))
    crop = EyeCrop(colour=True)
    for make, options in (
        (PicturesSource, PicturesOptions(crop=crop)),
        (UnityEyesSource, UnityEyesOptions(crop=crop)),
    ):
        card = ingested_card(EYE, "eyes", make("", options), shard_size=8, splits={"train": 1})
        assert card.image == ImageSpec(height=35, width=55, channels=3)
        grey = [make(tmp_path, type(options)()).load(source_id) for source_id in "12"]
        coloured = [make(tmp_path, options).load(source_id) for source_id in "12"]
        for loaded, before in zip(coloured, grey, strict=True):
            assert loaded.image.shape == (35, 55, 3)
            red, green, blue = np.moveaxis(loaded.image.astype(int), 2, 0)
            assert np.abs(red - green).max() > 60 and np.abs(red - 3 * blue).mean() < 12
            assert np.abs(0.299 * red + 0.587 * green + 0.114 * blue - before.image).max() < 4
            assert np.array_equal(loaded.crop_affine, before.crop_affine)
            assert loaded.labels.keys() == before.labels.keys()


def test_colour_is_refused_where_there_is_none_and_leaves_other_cards_as_they_were() -> None:
    assert "colour" not in PicturesOptions().model_dump(mode="json")["crop"]
    with pytest.raises(ValueError, match="equalise is for grey crops"):
        EyeCrop(colour=True, equalise=True)
    given = EyeIngestOptions(crop=EyeCrop(colour=True))
    with pytest.raises(ValueError, match="images are grey"):
        eye_source_options("mpiigaze", given, location="", recorded=None)


def test_the_depth_of_a_camera_holds_for_the_whole_run(tmp_path) -> None:
    """A dark picture stays as dark beside a bright one as the camera saw it."""
    seen = fakes.grey_picture().astype(np.uint16)
    for name, values in (("1", seen << 4), ("2", seen << 2)):
        fakes.write_pair(tmp_path, name, image=encoded(values, "PNG"))
    assert "depth_bits" not in PicturesOptions().model_dump(mode="json")["crop"]
    crop = EyeCrop(depth_bits=12)
    for source in (
        PicturesSource(tmp_path, PicturesOptions(crop=crop)),
        UnityEyesSource(tmp_path, UnityEyesOptions(crop=crop)),
    ):
        bright, dark = (source.load(name).image.astype(float) for name in "12")
        assert np.abs(bright / 4 - dark).max() < 1.5 and bright.max() > 100
    given = EyeIngestOptions(crop=crop)
    with pytest.raises(ValueError, match="have 8 bits"):
        eye_source_options("mpiigaze", given, location="", recorded=None)


def test_both_sources_find_the_same_damage(tmp_path) -> None:
    """A picture with grey halves is no picture, whatever stands behind the cut."""
    raw = fakes.jpeg(fakes.grey_picture())
    damaged = {
        "cut": raw[: len(raw) // 3] + b"\xff\xd9",
        "rotten": raw[: len(raw) // 2] + bytes(200) + raw[len(raw) // 2 + 200 :],
        "trailer": raw + b"SEFT" + bytes(4096),
    }
    for name, changed in damaged.items():
        fakes.write_pair(tmp_path, name, image=changed)
    sources = source_of(tmp_path), UnityEyesSource(tmp_path, UnityEyesOptions())
    for source in sources:
        for name in ("cut", "rotten"):
            with pytest.raises(BadRender, match="does not decode"):
                source.load(name)
        assert source.load("trailer").image.shape == (35, 55)


def test_a_picture_of_the_crops_size_comes_through_unchanged(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (35, 55), dtype=np.uint8)
    (tmp_path / "1.png").write_bytes(encoded(image, "PNG"))
    loaded = source_of(tmp_path).load("1")
    assert np.array_equal(loaded.image, image)
    assert np.allclose(loaded.crop_affine, [[1, 0, 0], [0, 1, 0]])
    assert loaded.labels == {} and loaded.label_sha256 is None and loaded.identity is None


def test_the_middle_of_a_larger_picture_fills_the_crop(tmp_path) -> None:
    y, x = np.mgrid[:120, :240]
    image = (250 * np.exp(-((x - 119.5) ** 2 + (y - 59.5) ** 2) / 200)).astype(np.uint8)
    (tmp_path / "1.png").write_bytes(encoded(image, "PNG"))
    loaded = source_of(tmp_path).load("1")
    rows, columns = np.mgrid[:35, :55]
    weight = loaded.image.astype(float)
    assert np.isclose((columns * weight).sum() / weight.sum(), 27, atol=0.05)
    assert np.isclose((rows * weight).sum() / weight.sum(), 17, atol=0.05)


def test_other_files_are_no_inputs(tmp_path) -> None:
    for name in ("STAND-IN.txt", "labels.json", ".hidden.png", "a.mat", "index.csv"):
        (tmp_path / name).write_bytes(b"text")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "2.png").write_bytes(encoded(GREY, "PNG"))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "1.JPG").write_bytes(encoded(GREY, "JPEG"))
    assert [facts.id for facts in source_of(tmp_path).listing()] == ["deep/er/1"]


def test_two_pictures_of_one_name_are_set_aside(tmp_path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(GREY, "PNG"))
    (tmp_path / "1.jpg").write_bytes(encoded(GREY, "JPEG"))
    source = source_of(tmp_path)
    assert len(source.listing()) == 1
    with pytest.raises(BadRender, match=r"more than one picture: 1\.jpg, 1\.png"):
        source.load("1")


def test_genuine_crops_are_all_read(shared_data) -> None:
    source = source_of(shared_data / "mpiigaze" / "real-55x35.tar")
    listing = source.listing()
    assert len(listing) == 144
    assert {source.load(facts.id).image.shape for facts in listing[::12]} == {(35, 55)}


def test_the_pupil_finder_is_calibrated_in_grey_whatever_the_crops_colours() -> None:
    grey, colour = (camera_pairs(EyeCrop(colour=colour), 2, seed=0) for colour in (False, True))
    assert np.array_equal(grey[0], colour[0]) and np.array_equal(grey[1], colour[1])
