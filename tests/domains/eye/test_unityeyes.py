"""Geometry and conversions of UnityEyes labels, against drawings and a reading of the raw JSON."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.base import BadRender
from support.fakes import EyeGeometry, grey_picture, jpeg, unityeyes_label, write_pair
from support.pictures import encoded

FIELDS = {"iris_px": "iris_2d", "lid_px": "interior_margin_2d", "caruncle_px": "caruncle_2d"}
SIZES = [(640, 480), (800, 600), (801, 601), (1003, 757)]
"""width, height; odd sizes make a scaled decode hang over the edge"""


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.strip("()").split(",")]


def image_points(label: dict, name: str, height: int) -> np.ndarray:
    """An independent reading of landmarks: y is counted from the bottom in the file."""
    return np.array([[x, height - y] for x, y, _ in map(numbers, label[name])])


def load(folder: Path, stem: str = "1", **options):
    return UnityEyesSource(folder, UnityEyesOptions(**options)).load(stem)


def scaled_eye(width: int, height: int) -> EyeGeometry:
    """The same eye in a picture of any size, near its right edge where scale errors are largest."""
    s = width / 320
    return EyeGeometry(
        width=width,
        height=height,
        inner_xy=(200.3 * s, 166.2 * s),
        outer_xy=(272.9 * s, 160.1 * s),
        iris_xy=(236.0 * s, 161.4 * s),
        iris_radius_px=15 * s,
    )


def draw_dots(geometry: EyeGeometry, points: np.ndarray, radius_px: float) -> np.ndarray:
    """Smooth bright dots, drawn analytically: pixel centres at integers."""
    x, y = np.arange(geometry.width), np.arange(geometry.height)
    picture = np.zeros((geometry.height, geometry.width))
    for px, py in points:
        across = np.exp(-((x - px) ** 2) / (2 * radius_px**2))
        picture += 230 * np.outer(np.exp(-((y - py) ** 2) / (2 * radius_px**2)), across)
    return (picture + 10).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_dots_drawn_at_landmarks_are_found_where_the_labels_say(tmp_path, size, suffix) -> None:
    """Pixels and labels take the same way through a scaled decode and a crop."""
    eye = scaled_eye(*size)
    names = {"iris_2d": (0, 8, 16, 24), "interior_margin_2d": (8,)}
    drawn = np.concatenate([eye.points()[name][list(which)] for name, which in names.items()])
    picture = draw_dots(eye, drawn, radius_px=0.006 * eye.width)
    write_pair(tmp_path, "1", image=jpeg(picture, 98), label=unityeyes_label(eye))
    if suffix == ".png":
        (tmp_path / "1.jpg").unlink()
        cv2.imwrite(str(tmp_path / "1.png"), picture)
    loaded = load(tmp_path)
    labelled = np.concatenate(
        [
            np.asarray(loaded.labels[field])[list(names[raw])]
            for field, raw in FIELDS.items()
            if raw in names
        ]
    )
    rows, columns = np.mgrid[: loaded.image.shape[0], : loaded.image.shape[1]]
    for x, y in labelled:
        weight = np.where(
            (rows - y) ** 2 + (columns - x) ** 2 < 3.6**2, loaded.image.astype(float) - 10, 0
        ).clip(0)
        found_px = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        assert np.abs(found_px - (x, y)).max() < 0.05


def test_crop_affine_carries_the_raw_landmarks_to_the_labels(renders) -> None:
    for stem in map(str, range(1, 25)):
        label = json.loads((renders / f"{stem}.json").read_text())
        loaded = load(renders, stem)
        check_landmarks(label, loaded, height=240)


def test_errors_of_the_corners_move_and_scale_crops_and_their_labels_alike(tmp_path) -> None:
    error_px, num = 1.5, 60
    middles, widths = [], []
    for stem in map(str, range(num)):
        write_pair(tmp_path, stem)
        moved, again, exact = (
            load(tmp_path, stem, corner_error_px=error) for error in (error_px, error_px, 0)
        )
        assert (moved.image == again.image).all()
        assert (moved.labels["gaze"] == exact.labels["gaze"]).all()
        # The labels belong to the pixels: the two crops show the same points of one picture.
        to_moved, to_exact = (np.vstack([one.crop_affine, [0, 0, 1]]) for one in (moved, exact))
        iris = np.column_stack([exact.labels["iris_px"], np.ones(32)])
        expected = (to_moved @ np.linalg.inv(to_exact) @ iris.T)[:2].T
        np.testing.assert_allclose(moved.labels["iris_px"], expected, atol=1e-9)
        scale = to_moved[0, 0] / to_exact[0, 0]
        assert moved.labels["eye_width_px"] == pytest.approx(scale * exact.labels["eye_width_px"])
        middles.append(moved.labels["iris_px"].mean(0) - exact.labels["iris_px"].mean(0))
        widths.append(moved.labels["eye_width_px"])
    assert np.std(middles) == pytest.approx(error_px / math.sqrt(2), rel=0.3)
    assert np.std(widths) == pytest.approx(error_px * math.sqrt(2), rel=0.3)


def test_genuine_renders_agree_with_their_raw_json(shared_data) -> None:
    folder = shared_data / "unityeyes-small"
    for stem in map(str, range(1, 129, 8)):
        assert Image.open(folder / f"{stem}.jpg").size == (800, 600)
        label = json.loads((folder / f"{stem}.json").read_text())
        loaded = load(folder, stem)
        check_landmarks(label, loaded, height=600)
        iris = image_points(label, "iris_2d", 600)
        assert loaded.labels["pupil_from"] == "iris_mean"
        centre = loaded.crop_affine @ [*iris.mean(0), 1]
        assert np.allclose(loaded.labels["pupil_px"], centre, atol=1e-5)


def check_landmarks(label: dict, loaded, height: int) -> None:
    for field, raw in FIELDS.items():
        points = image_points(label, raw, height)
        mapped = points @ loaded.crop_affine[:, :2].T + loaded.crop_affine[:, 2]
        assert np.array_equal(np.float32(mapped), np.float32(loaded.labels[field])), field
    caruncle = np.asarray(loaded.labels["caruncle_px"]).mean(0)
    outer = np.asarray(loaded.labels["lid_px"])[8]
    assert np.allclose((caruncle + outer) / 2, (27, 17), atol=1e-6), "centred between the corners"
    assert math.isclose(np.hypot(*(outer - caruncle)), 40, abs_tol=1e-6), "scaled to one eye width"
    assert math.isclose(loaded.labels["eye_width_px"], 40, abs_tol=1e-6)


def test_genuine_irises_are_darker_than_the_skin_beside_them(shared_data) -> None:
    """The picture is not upside down: the labelled iris centre lies on the iris."""
    folder = shared_data / "unityeyes-small"
    darker = 0
    for stem in map(str, range(1, 49)):
        loaded = load(folder, stem)
        x, y = np.round(loaded.labels["pupil_px"]).astype(int)
        darker += loaded.image[y - 1 : y + 2, x - 1 : x + 2].mean() < np.median(loaded.image)
    assert darker >= 40


def test_the_y_axis_is_flipped(tmp_path) -> None:
    high = EyeGeometry(inner_xy=(130, 84), outer_xy=(194, 80), iris_xy=(160, 82))
    picture = draw_dots(high, np.array([high.iris_xy]), 4)
    write_pair(tmp_path, "1", image=jpeg(picture), label=unityeyes_label(high))
    loaded = load(tmp_path)
    brightest = np.unravel_index(loaded.image.argmax(), loaded.image.shape)[::-1]
    assert np.abs(brightest - np.asarray(loaded.labels["pupil_px"])).max() < 1.5


def test_a_pupil_that_the_source_states_is_taken(tmp_path) -> None:
    label = unityeyes_label() | {"pupil_2d": "(161.5000, 120.2500, 9.8000)"}
    write_pair(tmp_path, "1", label=label)
    loaded = load(tmp_path)
    assert loaded.labels["pupil_from"] == "source"
    expected = loaded.crop_affine @ [161.5, 240 - 120.25, 1]
    assert np.allclose(loaded.labels["pupil_px"], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("look_vec", "yaw_deg", "pitch_deg"),
    [
        ("(0, 0, -1, 0)", 0, 0),
        ("(0.5, 0, -0.8660254, 0)", -30, 0),  # to image right: yaw is positive to the left
        ("(-0.5, 0, -0.8660254, 0)", 30, 0),
        ("(0, 0.5, -0.8660254, 0)", 0, 30),  # y is up in the file: up is positive
        ("(0, -0.5, -0.8660254)", 0, -30),
        ("(1.1E-17, 0.34202014, -9.396926E-1, 0)", 0, 20),
    ],
)
def test_gaze_is_turned_to_the_camera_frame(tmp_path, look_vec, yaw_deg, pitch_deg) -> None:
    label = unityeyes_label()
    label["eye_details"]["look_vec"] = look_vec
    write_pair(tmp_path, "1", label=label)
    labels = load(tmp_path).labels
    x, y, z = numbers(look_vec)[:3]
    assert np.allclose(labels["gaze"], (x, -y, z), atol=1e-6)
    assert math.isclose(math.degrees(labels["gaze_yaw_rad"]), yaw_deg, abs_tol=1e-4)
    assert math.isclose(math.degrees(labels["gaze_pitch_rad"]), pitch_deg, abs_tol=1e-4)


@pytest.mark.parametrize(
    ("head_pose", "yaw_deg", "pitch_deg"),
    [
        ("(0, 180, 0)", 0, 0),
        ("(350, 180, 0)", 0, 10),
        ("(10, 180, 0)", 0, -10),
        ("(360, 180, 0)", 0, 0),
        ("(0, 150, 0)", 30, 0),
        ("(0, 215, 0)", -35, 0),
    ],
)
def test_head_pose_is_unwrapped(tmp_path, head_pose, yaw_deg, pitch_deg) -> None:
    write_pair(tmp_path, "1", label=unityeyes_label() | {"head_pose": head_pose})
    labels = load(tmp_path).labels
    assert math.isclose(math.degrees(labels["head_yaw_rad"]), yaw_deg, abs_tol=1e-9)
    assert math.isclose(math.degrees(labels["head_pitch_rad"]), pitch_deg, abs_tol=1e-9)


def test_numbers_in_any_spelling_are_the_same_numbers(tmp_path) -> None:
    write_pair(tmp_path, "1")
    plain = load(tmp_path)
    label = unityeyes_label()
    for name in FIELDS.values():
        for index, text in enumerate(label[name]):
            x, y, z = numbers(text)
            spelt = f"( +{x:.9e} ,0{y!r},{z}0 )", f"({x!r},{y!r},.5)", f"({x!r}, {y!r}, 9.)"
            label[name][index] = spelt[index % 3]
    write_pair(tmp_path, "1", label=label)
    for field in (*FIELDS, "pupil_px", "eye_width_px"):
        assert np.array_equal(load(tmp_path).labels[field], plain.labels[field]), field


def test_fields_of_the_source_are_kept_as_they_came(tmp_path) -> None:
    label = unityeyes_label() | {"new_field": {"a": [1, "two", None]}}
    write_pair(tmp_path, "1", label=label)
    loaded = load(tmp_path)
    assert loaded.extra == {k: v for k, v in label.items() if k not in FIELDS.values()}
    assert loaded.identity == "m04_color"


def test_the_side_of_the_eye_follows_its_inner_corner(tmp_path) -> None:
    right = EyeGeometry(inner_xy=(194, 124), outer_xy=(130, 118))
    write_pair(tmp_path, "1")
    write_pair(tmp_path, "2", label=unityeyes_label(right))
    assert load(tmp_path, "1").labels["eye_side"] == "left"
    assert load(tmp_path, "2").labels["eye_side"] == "right"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_png_of_every_colour_mode_reads_as_its_luma(tmp_path, mode) -> None:
    picture = Image.fromarray(grey_picture()).convert(mode)
    write_pair(tmp_path, "1")
    write_pair(tmp_path, "2")
    (tmp_path / "1.jpg").unlink()
    (tmp_path / "2.jpg").unlink()
    picture.save(tmp_path / "1.png")
    cv2.imwrite(str(tmp_path / "2.png"), grey_picture())
    difference = load(tmp_path, "1").image.astype(int) - load(tmp_path, "2").image
    assert np.abs(difference).max() <= 1


def test_a_lower_decode_scale_changes_no_label_and_few_grey_levels(renders) -> None:
    sharp, fast = load(renders, min_decode_scale=8.0), load(renders, min_decode_scale=1.0)
    assert np.array_equal(sharp.labels["iris_px"], fast.labels["iris_px"])
    assert np.abs(sharp.image.astype(int) - fast.image).mean() < 3


def test_equalising_spreads_the_grey_values(renders) -> None:
    crop = load(renders, crop=EyeCrop(equalise=True)).image
    assert np.array_equal(crop, cv2.equalizeHist(load(renders).image))
    assert crop.min() == 0 and crop.max() == 255


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be with mark"])
def test_a_label_with_a_byte_order_mark_is_read(tmp_path, encoding) -> None:
    label = unityeyes_label()
    text = json.dumps(label | {"image_size": [320, 240]})
    raw = b"\xfe\xff" + text.encode("utf-16-be") if "be" in encoding else text.encode(encoding)
    write_pair(tmp_path, "1", label=raw)
    write_pair(tmp_path, "2", label=text.encode())
    source = UnityEyesSource(tmp_path, UnityEyesOptions())
    one, two = source.load("1"), source.load("2")
    assert np.array_equal(one.labels["iris_px"], two.labels["iris_px"])
    assert np.array_equal(one.image, two.image)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "is_refused"), [(1, False), (3, True), (6, True)])
def test_a_picture_that_exif_turns_is_refused(tmp_path, orientation, is_refused, kind) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    write_pair(tmp_path, "1", image=encoded(grey_picture(), kind, exif=exif))
    if not is_refused:
        assert load(tmp_path).image.shape == (35, 55)
        return
    with pytest.raises(BadRender, match="turned by its EXIF data"):
        load(tmp_path)
