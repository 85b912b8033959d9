"""Every malformed render is set aside with a reason that helps, and never stops the others."""

import copy
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from factory.dataset.kinds import parse_label
from factory.dataset.records import to_json
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.domains.registry import make_source
from factory.ingestion.shards import ingested_card, record_of
from factory.sources.base import BadRender, Vanished
from schemas.eye.kind import EYE
from support.fakes import EyeGeometry, grey_picture, jpeg, unityeyes_label, write_pair
from support.pictures import encoded

GOOD = unityeyes_label()


def source_of(folder: Path) -> UnityEyesSource:
    return UnityEyesSource(folder, UnityEyesOptions())


def pil(mode: str, format: str = "JPEG") -> bytes:
    return encoded(Image.fromarray(grey_picture()).convert(mode), format)


def png_of(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def enormous_jpeg() -> bytes:
    raw = bytearray(jpeg(grey_picture()))
    size = raw.index(b"\xff\xc0") + 5
    raw[size : size + 4] = (65_500).to_bytes(2) * 2
    return bytes(raw)


def changed(path: str, value: object) -> dict:
    """The good label with one value replaced, or taken out where `value` is `...`."""
    label = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    node = label
    for name in way:
        node = node[int(name) if isinstance(node, list) else name]
    if value is ...:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return label


def nested(depth: int) -> dict:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return GOOD | {"lighting_details": value}


IMAGES = {
    "empty": (b"", r"1\.jpg is empty"),
    "text": (b"not an image", "no whole JPEG, PNG"),
    "bmp, truncated": (pil("L", "BMP")[:-9], "truncated"),
    "truncated": (jpeg(grey_picture())[:2000], "does not decode"),
    "cut at the end marker": (jpeg(grey_picture())[:-2], "does not decode"),
    "header only": (jpeg(grey_picture())[:25], "JPEG"),
    "two bytes": (b"\xff\xd8", "JPEG"),
    "cmyk": (pil("CMYK"), "CMYK"),
    "enormous": (enormous_jpeg(), "65500x65500 px; 1 to 64 million"),
    "png, truncated": (png_of(grey_picture())[:3000], "does not decode"),
    "png, signature only": (b"\x89PNG\r\n\x1a\n", "."),
    "png, 16-bit grey": (png_of(grey_picture().astype(np.uint16)), "depth is not known"),
    "another size than the label's": (jpeg(grey_picture()[:100]), "outside the 320x100 picture"),
}

LABELS = {
    "empty": (b"", r"1\.json is empty"),
    "truncated": (json.dumps(GOOD).encode()[:1500], "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not JSON"),
    "NaN literal": (b'{"a": NaN}', "not JSON"),
    "NaN literal in a field": (
        json.dumps(GOOD | {"x": math.nan}).encode(),
        r"JSON \(it holds NaN or Infinity",
    ),
    "negative infinity": (json.dumps(GOOD | {"x": -math.inf}).encode(), "holds NaN or Infinity"),
    "no-break spaces in JSON": (
        json.dumps(GOOD).replace('": ', '":\xa0').encode(),
        r"not JSON \(it has a no-break space \(U\+00A0\) outside of texts: line 1",
    ),
    "half of UTF-16": (json.dumps(GOOD).encode("utf-16")[:-1], "neither UTF-8 nor UTF-16"),
    "decimal commas": (
        re.sub(r"(\d)\.(\d)", r"\1,\2", json.dumps(GOOD)).encode(),
        "the numbers of look_vec have decimal commas, so the renderer ran in another locale",
    ),
    "decimal commas between semicolons": (
        changed("iris_2d.3", "(1,5; 2,5; 3,5)"),
        "the numbers of iris_2d have decimal commas",
    ),
    "pupil size with a decimal comma": (
        changed("eye_details.pupil_size", "0,01"),
        "the numbers of pupil_size have decimal commas",
    ),
    "minus signs": (
        changed("eye_details.look_vec", "(0.0, 0.0, \u22121.0)"),
        r"have minus signs U\+2212",
    ),
    "no-break spaces": (changed("head_pose", "(0.0\xa0180.0\xa00.0)"), "have no-break spaces"),
    "another size in the label": (GOOD | {"screen_size": "(800, 600)"}, "label is for 800x600"),
    "another width in the label": (GOOD | {"width": 800, "height": 600.0}, "for 800x600 .width"),
    "list": (b"[]", "JSON list, not an object"),
    "null": (b"null", "not an object"),
    "another schema": ({"ground_truth": {"gaze_vec": "(0, 0, -1)"}}, "not a UnityEyes label"),
    "iris missing": (changed("iris_2d", ...), "no iris_2d"),
    "31 iris points": (changed("iris_2d", GOOD["iris_2d"][1:]), "expected 32 points"),
    "no lid points": (changed("interior_margin_2d", []), "expected 16 points"),
    "NaN landmark": (changed("iris_2d.3", "(nan, 1.0, 9.8)"), "not finite"),
    "infinite landmark": (changed("iris_2d.3", "(inf, 1.0, 9.8)"), "not finite"),
    "absurd landmark": (changed("iris_2d.3", "(1e30, 1.0, 9.8)"), r"1e\+30.*outside"),
    "negative landmark": (changed("caruncle_2d.0", "(-3.0, 1.0, 9.8)"), "outside"),
    "landmark as numbers": (
        changed("iris_2d.3", [1.0, 2.0, 3.0]),
        'iris_2d holds numbers instead of texts.*expected "\\(x, y',
    ),
    "landmark as object": (changed("iris_2d.3", {"x": 1}), 'expected "\\(x, y'),
    "landmark of two numbers": (changed("iris_2d.3", "(1.0, 2.0)"), "points of 3 numbers"),
    "landmark of two in one text": (
        changed("iris_2d.3", "(1.0, 2.0, 3.0);(4.0)"),
        "could not convert",
    ),
    "landmark with a gap": (changed("iris_2d.3", "(1.0);(2.0)"), "could not convert"),
    "landmark of words": (changed("iris_2d.3", "(one, two, three)"), "could not convert"),
    "landmark without brackets": (changed("iris_2d.3", "1.0, 2.0, 3.0"), "expected"),
    "a landmark in two texts": (
        changed("iris_2d", ["(1.0, 2.0,", "3.0)", "(1, 2, 3);(4, 5, 6)", *GOOD["iris_2d"][3:]]),
        'expected "\\(x, y',
    ),
    "two landmarks in a text": (
        changed("iris_2d", ["(1, 2, 3);(4, 5, 6)", *GOOD["iris_2d"][1:]]),
        "could not convert",
    ),
    "a truth value as landmark": (changed("iris_2d.3", "(true, 1.0, 2.0)"), "could not convert"),
    "landmark beyond float64": (changed("iris_2d.3", "(1e999, 1.0, 2.0)"), "not finite"),
    "depth beyond float64": (changed("iris_2d.3", "(160.0, 120.0, 1e999)"), "not finite"),
    "landmark without its end": (changed("iris_2d.31", "(1.0, 2.0, 3.0"), 'expected "\\(x, y'),
    "landmarks as one string": (changed("iris_2d", "(1, 2, 3)"), "expected a list, found str"),
    "landmarks as null": (changed("iris_2d", None), "expected a list"),
    "all points equal": (changed("iris_2d", ["(160, 120, 9)"] * 32), "coincide"),
    "pupil outside": (GOOD | {"pupil_2d": "(1e300, 0.0, 0.0)"}, "pupil_2d.*outside"),
    "pupil NaN": (GOOD | {"pupil_2d": "(nan, 0.0, 0.0)"}, "pupil_2d: not finite"),
    "eye_details is a list": (changed("eye_details", []), "eye_details is not an object"),
    "eye_details is text": (changed("eye_details", "x"), "eye_details is not an object"),
    "no look_vec": (changed("eye_details.look_vec", ...), "no look_vec"),
    "zero gaze": (changed("eye_details.look_vec", "(0, 0, 0, 0)"), "length 0.000"),
    "long gaze": (changed("eye_details.look_vec", "(0, 0, -2, 0)"), "length 2.000"),
    "huge gaze": (changed("eye_details.look_vec", "(1e200, 0, -1e200, 0)"), "length"),
    "gaze from behind": (changed("eye_details.look_vec", "(0, 0, 1, 0)"), "away from the camera"),
    "gaze of two": (changed("eye_details.look_vec", "(0, -1)"), "3 or 4 numbers"),
    "gaze as list": (changed("eye_details.look_vec", [0, 0, -1]), "look_vec holds numbers"),
    "head pose as words": (changed("head_pose", "(up, left, none)"), "head_pose"),
    "head pose as list": (changed("head_pose", ["1", "2", "3"]), "head_pose holds"),
    "head pose of two": (changed("head_pose", "(1, 2)"), "expected 3 numbers"),
    "head pose NaN": (changed("head_pose", "(nan, 180, 0)"), "not finite"),
    "no pupil size": (changed("eye_details.pupil_size", ...), "no number pupil_size"),
    "pupil size in words": (changed("eye_details.pupil_size", "big"), "no number pupil_size"),
    "pupil size as list": (changed("eye_details.pupil_size", ["1"]), "no number pupil_size"),
    "pupil size NaN": (changed("eye_details.pupil_size", "nan"), "finite"),
    "pupil size beyond float32": (changed("eye_details.pupil_size", "1e300"), "finite float32"),
    "nested deeply": (nested(120), "nested more than"),
    "nested very deeply": (nested(300), "nested more than"),
    "crop leaves the picture": (
        unityeyes_label(EyeGeometry(inner_xy=(5, 120), outer_xy=(69, 118), iris_xy=(40, 119))),
        "crop leaves the picture",
    ),
    "tiny eye": (
        unityeyes_label(
            EyeGeometry(inner_xy=(150, 120), outer_xy=(160, 119), iris_xy=(155, 119)),
        ),
        "px wide, at least 16",
    ),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_a_malformed_image_is_set_aside(tmp_path, kind) -> None:
    raw, reason = IMAGES[kind]
    write_pair(tmp_path, "1", image=raw)
    with pytest.raises(BadRender, match=reason) as caught:
        source_of(tmp_path).load("1")
    assert caught.value.source_id == "1"


@pytest.mark.parametrize("kind", LABELS)
def test_a_malformed_label_is_set_aside(tmp_path, kind) -> None:
    label, reason = LABELS[kind]
    write_pair(tmp_path, "1", label=label)
    with pytest.raises(BadRender, match=reason):
        source_of(tmp_path).load("1")


@pytest.mark.parametrize(
    "text", ["310.9(,292.3,9.8)", "(310.9,292.3,)9.8", " (310.9,292.3,9.8)", "(310.9,292.3,9.8) "]
)
def test_numbers_and_spaces_outside_of_a_points_brackets_are_refused(tmp_path, text) -> None:
    for index in (0, 5, 31):
        write_pair(tmp_path, "1", label=changed(f"iris_2d.{index}", text))
        with pytest.raises(BadRender, match="iris_2d"):
            source_of(tmp_path).load("1")


def test_a_malformed_render_leaves_its_batch_alone(tmp_path) -> None:
    for stem in ("1", "3"):
        write_pair(tmp_path, stem)
    write_pair(tmp_path, "2", label=changed("head_pose", "up"))
    write_pair(tmp_path, "4", image=b"no picture")
    source = source_of(tmp_path)
    one, two, three, four, five = source.load_batch(["1", "2", "3", "4", "5"])
    assert np.array_equal(one.image, source.load("1").image)
    assert np.array_equal(three.image, source.load("3").image)
    assert "head_pose" in two.reason and "no whole JPEG" in four.reason
    for bad, stem in ((two, "2"), (four, "4")):
        assert bad.digests == source.digests(stem)
        assert bad.__traceback__ is None, "it would hold the files of the whole batch"
    assert isinstance(five, Vanished) and five.digests == (None, None)


def test_the_good_label_is_good(tmp_path) -> None:
    """Or none of the tests above would say anything."""
    write_pair(tmp_path, "1")
    assert source_of(tmp_path).load("1").image.shape == (35, 55)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("1.jpg",), "no label beside the image"),
        (("1.json",), "no image beside the label"),
        (("1.jpg", "1.png", "1.json"), "more than one pair"),
        (("1.jpg", "1.JPG", "1.json"), "more than one pair"),
        (("1.jpg", "1.json", "1.JSON"), "more than one pair"),
        (("1.json", "1.JSON"), "no image"),
    ],
)
def test_a_pair_that_is_not_one_is_set_aside(tmp_path, files, reason) -> None:
    write_pair(tmp_path / "good", "1")
    for name in files:
        kind = "json" if name.lower().endswith("json") else "jpg"
        shutil.copy(tmp_path / "good" / f"1.{kind}", tmp_path / name)
    source = source_of(tmp_path)
    assert [facts.id for facts in source.listing()] == ["1", "good/1"]
    with pytest.raises(BadRender, match=reason):
        source.load("1")


def test_files_that_vanish_after_the_listing_are_set_aside(tmp_path) -> None:
    write_pair(tmp_path, "1")
    source = source_of(tmp_path)
    source.expect({facts.id: facts.suffixes for facts in source.listing()})
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(BadRender, match="vanished"):
        source.load("1")


def test_labels_of_another_tool_are_set_aside(shared_data) -> None:
    source = source_of(shared_data / "unityeyes-variants")
    ids = [facts.id for facts in source.listing()]
    assert ids == ["label-without-image", *(f"unityeyes2/{n}" for n in range(30, 35))]
    reasons = []
    for source_id in ids:
        with pytest.raises(BadRender) as caught:
            source.load(source_id)
        reasons.append(caught.value.reason)
    assert reasons[0] == "no image beside the label"
    assert all("not a UnityEyes label: no interior_margin_2d" in reason for reason in reasons[1:])


@pytest.mark.slow
def test_a_genuine_archive_holds_no_malformed_render_among_its_first(shared_data) -> None:
    source = source_of(shared_data / "unityeyes" / "imgs-0001-4000.tar")
    ids = [facts.id for facts in source.listing()]
    assert ids == [f"imgs/{n}" for n in range(1, 4001)]
    for source_id in ids[::200]:
        assert source.load(source_id).image.shape == (35, 55)


texts = ["(1, 2, 3)", "(nan, 0, 0)", "(1e308, -1e308, 0)", "(0, 0, -1, 0)", "1e39", "()"]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(
    scalars | st.sampled_from(texts),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
paths = st.sampled_from(
    [
        *GOOD,
        "iris_2d.0",
        "interior_margin_2d.8",
        "caruncle_2d.6",
        *(f"eye_details.{name}" for name in GOOD["eye_details"]),
        "eye_region_details.primary_skin_texture",
        "pupil_2d",
    ]
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    write_pair(folder, "1")
    return folder


def check_loads_or_is_set_aside(folder: Path) -> None:
    """Whatever is loaded is a record that the commit accepts, all of it finite."""
    source = source_of(folder)
    try:
        loaded = source.load("1")
    except BadRender as bad:
        assert bad.reason and len(bad.reason) < 400
        return
    card = ingested_card(
        EYE, "x", make_source("", UnityEyesOptions()), shard_size=1, splits={"train": 1}
    )
    made = {"config": card.config_digest, "writer": "test"}
    raw = to_json(
        record_of(
            loaded,
            key="000000-000000",
            schema=EYE.schema,
            source="unityeyes",
            source_id="1",
            split="train",
            made=made,
        )
    )
    record = parse_label(EYE, raw, labelled=True, where="fuzzed")
    numbers = [record[name] for name in ("gaze_yaw_rad", "head_pitch_rad", "pupil_size")]
    points = np.concatenate([record["iris_px"], record["lid_px"], [record["pupil_px"]]])
    assert all(math.isfinite(number) for number in numbers) and np.isfinite(points).all()


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=paths, value=junk)
def test_no_label_value_breaks_more_than_its_own_sample(fuzzed, path, value) -> None:
    label = changed(path, value)
    (fuzzed / "1.json").write_text(json.dumps(label))
    check_loads_or_is_set_aside(fuzzed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(fraction=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_no_label_byte_breaks_more_than_its_own_sample(fuzzed, fraction, byte) -> None:
    raw = bytearray(json.dumps(GOOD).encode())
    raw[int(fraction * len(raw))] = byte
    (fuzzed / "1.json").write_bytes(raw)
    check_loads_or_is_set_aside(fuzzed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(fraction=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), png=st.booleans())
def test_no_image_byte_breaks_more_than_its_own_sample(fuzzed, fraction, byte, png) -> None:
    raw = bytearray((png_of if png else jpeg)(grey_picture()))
    raw[int(fraction**4 * len(raw))] = byte  # the header is near the start
    (fuzzed / "1.json").write_text(json.dumps(GOOD))
    (fuzzed / "1.jpg").write_bytes(raw)
    check_loads_or_is_set_aside(fuzzed)
    (fuzzed / "1.jpg").write_bytes(jpeg(grey_picture()))
