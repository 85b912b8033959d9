"""The eye renderer, checked by construction: what was asked for is what was drawn."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from factory.domains.eye.renderer.camera import STAND_IN
from factory.domains.eye.renderer.renderer import (
    EyeRender,
    EyeRenderer,
    render_pair,
    render_scenes,
    write_renders,
)
from factory.domains.eye.renderer.scene import (
    Scenes,
    landmarks_of,
    lids_of,
    people,
    sample_scenes,
)
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.renderer import STAND_IN_FILE
from support.places import SHARED

HEIGHT, WIDTH = 240, 320
UNITYEYES_LAYOUT = {
    "interior_margin_2d": 16,
    "caruncle_2d": 7,
    "iris_2d": 32,
    "eye_details": ["look_vec", "pupil_size", "iris_size", "iris_texture"],
    "lighting_details": [
        "skybox_texture", "skybox_exposure", "skybox_rotation", "ambient_intensity",
        "light_rotation", "light_intensity",
    ],
    "eye_region_details": ["pca_shape_coeffs", "primary_skin_texture"],
    "head_pose": None,
}  # fmt: skip


def looking(
    up_deg: float, right_deg: float, count: int = 6, openness: float = 1.35, seed: int = 3
) -> Scenes:
    """Scenes of different people, face ahead, eyes wide open, gaze in one direction."""
    scenes = sample_scenes(range(count), seed, "render")
    up, right = np.radians([up_deg, right_deg])
    gaze = np.array([np.sin(right) * np.cos(up), np.sin(up), -np.cos(right) * np.cos(up)])
    return replace(
        scenes,
        gaze=np.tile(gaze, (count, 1)),
        head_deg=np.zeros((count, 2)),
        openness=np.full(count, openness),
    )


def points(label: dict[str, Any], field: str, height: int = HEIGHT) -> np.ndarray:
    """(k, 2) x right, y down, as docs/conventions.md reads a UnityEyes label."""
    values = label[field] if isinstance(label[field], list) else [label[field]]
    flat = np.array([ast.literal_eval(value) for value in values])[:, :2]
    return np.stack([flat[:, 0], height - flat[:, 1]], 1)


def grey(render: EyeRender) -> np.ndarray:
    return cv2.cvtColor(render.image, cv2.COLOR_RGB2GRAY).astype(float)


def inside(polygon: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """(HEIGHT, WIDTH) mask of a polygon scaled about its mean."""
    middle = polygon.mean(0)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.rint(middle + (polygon - middle) * scale).astype(np.int32)], 1)
    return mask.astype(bool)


def dark_centre(image: np.ndarray, around: np.ndarray, reach: float) -> np.ndarray:
    """Centroid of what is darker than halfway between the darkest and the median, near a point."""
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]]
    near = np.hypot(cols - around[0], rows - around[1]) <= reach
    low, high = np.percentile(image[near], [4, 75])
    weight = np.clip((high - image) / (high - low), 0, 1) ** 2 * near
    weight[weight < 0.3] = 0
    return np.array([(weight * cols).sum(), (weight * rows).sum()]) / weight.sum()


def test_gaze_into_the_camera_is_minus_z_and_centres_the_iris() -> None:
    scenes = looking(0, 0)
    landmarks = landmarks_of(lids_of(scenes))
    for render in render_scenes(scenes, "render", HEIGHT, WIDTH):
        vector = ast.literal_eval(render.label["eye_details"]["look_vec"])
        assert vector == (0.0, 0.0, -1.0, 0.0)
    assert np.abs(landmarks.iris.mean(1)[:, :2]).max() < 1e-9
    radii = np.hypot(*np.moveaxis(landmarks.iris[..., :2], -1, 0))
    assert np.allclose(radii, scenes.iris_mm[:, None])


@pytest.mark.slow
@pytest.mark.parametrize(("up", "right"), [(0, 20), (0, -20), (15, 0), (-15, 0), (10, 15)])
def test_gaze_moves_the_drawn_pupil_as_the_label_says(up: float, right: float) -> None:
    ahead = render_scenes(looking(0, 0), "render", HEIGHT, WIDTH)
    aside = render_scenes(looking(up, right), "render", HEIGHT, WIDTH)
    scenes = looking(up, right)
    for k, (before, after) in enumerate(zip(ahead, aside, strict=True)):
        reach = 1.25 * 0.0084 * WIDTH * scenes.zoom[k] * scenes.pupil_mm[k]
        seen = [
            dark_centre(grey(r), points(r.label, "pupil_2d")[0], reach) for r in (before, after)
        ]
        moved = seen[1] - seen[0]
        expected = (
            0.0084
            * WIDTH
            * scenes.zoom[k]
            * scenes.iris_depth_mm[k]
            * np.array(
                [np.sin(np.radians(right)) * np.cos(np.radians(up)), -np.sin(np.radians(up))]
            )
        )
        assert np.abs(moved - expected).max() < 1.0
        assert np.sign(expected[0]) == np.sign(right)
        assert np.sign(expected[1]) == -np.sign(up)


@pytest.mark.slow
def test_drawn_pupil_lies_at_the_label() -> None:
    scenes = looking(0, 0, count=12)
    for k, render in enumerate(render_scenes(scenes, "render", HEIGHT, WIDTH)):
        truth = points(render.label, "pupil_2d")[0]
        reach = 1.25 * 0.0084 * WIDTH * scenes.zoom[k] * scenes.pupil_mm[k]
        assert np.abs(dark_centre(grey(render), truth, reach) - truth).max() < 0.5


@pytest.mark.slow
def test_iris_landmarks_fit_the_drawn_iris() -> None:
    for render in render_scenes(looking(0, 0, count=12), "render", HEIGHT, WIDTH):
        image, iris = grey(render), points(render.label, "iris_2d")
        opening = inside(points(render.label, "interior_margin_2d"), 0.8)
        disc = inside(iris, 0.9)
        ring = inside(iris, 1.4) & ~inside(iris, 1.15) & opening
        assert image[disc].mean() < 0.6 * image[ring].mean()
        for scale, darker in ((0.93, True), (1.12, False)):
            edge = points(render.label, "iris_2d")
            edge = edge.mean(0) + (edge - edge.mean(0)) * scale
            cols, rows = np.rint(edge).astype(int).T
            seen = opening[rows, cols]
            assert seen.any()
            half = (image[disc].mean() + image[ring].mean()) / 2
            assert (np.median(image[rows, cols][seen]) < half) == darker


def test_lids_occlude_the_iris() -> None:
    scenes = looking(0, 0, openness=0.45)
    opened = render_scenes(looking(0, 0), "render", HEIGHT, WIDTH)
    for shut, wide in zip(render_scenes(scenes, "render", HEIGHT, WIDTH), opened, strict=True):
        iris, margin = points(shut.label, "iris_2d"), points(shut.label, "interior_margin_2d")
        assert np.allclose(iris, points(wide.label, "iris_2d")), "the label is not occluded"
        hidden = inside(iris, 0.9) & (np.arange(HEIGHT)[:, None] < margin[:, 1].min() - 1)
        assert hidden.sum() > 20
        redness = shut.image[..., 0].astype(float) - shut.image[..., 2]
        ball = redness[inside(iris, 0.35) & inside(margin, 0.6)].mean()
        assert grey(shut)[hidden].mean() > grey(wide)[hidden].mean() + 15
        assert redness[hidden].mean() > ball


@pytest.mark.slow
def test_landmarks_go_round_the_eye_as_in_unityeyes() -> None:
    for render in EyeRenderer(height=HEIGHT, width=WIDTH, seed=1).render(range(30)):
        margin, caruncle = (points(render.label, n) for n in ("interior_margin_2d", "caruncle_2d"))
        assert caruncle[:, 0].mean() < margin[:, 0].min()
        assert margin[:, 0].argmax() == 8
        assert margin[1:8, 1].mean() < margin[9:, 1].mean()
        eye_width = np.hypot(*(caruncle.mean(0) - margin[8]))
        assert 0.15 < eye_width / WIDTH < 0.28
        middle = (caruncle.mean(0) + margin[8]) / 2
        assert np.all(np.abs(middle / [WIDTH, HEIGHT] - 0.5) < 0.12)


def test_label_has_the_layout_of_unityeyes() -> None:
    label = EyeRenderer(height=60, width=80).render([0])[0].label
    assert list(label) == [*UNITYEYES_LAYOUT, "pupil_2d"]
    for name, content in UNITYEYES_LAYOUT.items():
        if isinstance(content, int):
            assert len(label[name]) == content
            assert all(len(ast.literal_eval(point)) == 3 for point in label[name])
        elif content is not None:
            assert list(label[name]) == content
    assert len(label["eye_region_details"]["pca_shape_coeffs"]) == 20
    assert len(ast.literal_eval(label["head_pose"])) == 3
    assert len(ast.literal_eval(label["pupil_2d"])) == 3

    def leaves(value: Any) -> list[Any]:
        inner = value.values() if isinstance(value, dict) else value
        return [value] if isinstance(value, str) else [leaf for v in inner for leaf in leaves(v)]

    assert all(isinstance(leaf, str) for leaf in leaves(label))


def test_label_matches_a_real_unityeyes_file() -> None:
    real = SHARED / "unityeyes-small" / "1.json"
    if not real.exists():
        pytest.skip(f"{real} is not there")
    theirs = json.loads(real.read_text())
    ours = EyeRenderer(height=60, width=80).render([0])[0].label

    def layout(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: layout(inner) for name, inner in value.items()}
        return len(value) if isinstance(value, list) else type(value)

    assert layout({name: ours[name] for name in theirs}) == layout(theirs)


def test_head_pose_turns_the_face_as_the_label_says() -> None:
    scenes = looking(0, 0)
    for yaw, pitch in ((18.0, 0.0), (-18.0, 0.0), (0.0, 11.0), (0.0, -11.0)):
        turned = replace(scenes, head_deg=np.tile([pitch, yaw], (len(scenes), 1)))
        render = render_scenes(turned, "render", 60, 80)[0]
        assert ast.literal_eval(render.label["head_pose"]) == (pitch % 360, 180 + yaw, 0)
        depth = landmarks_of(lids_of(turned))
        straight = landmarks_of(lids_of(scenes))
        # UnityEyes: yaw over 180 brings the caruncle nearer, a positive pitch the upper lid
        nearer = (depth.caruncle - straight.caruncle)[..., 2].mean()
        outer = (depth.margin - straight.margin)[:, 8, 2].mean()
        if yaw:
            assert np.sign(outer - nearer) == np.sign(yaw)
        else:
            upper = (depth.margin - straight.margin)[:, 4, 2].mean()
            lower = (depth.margin - straight.margin)[:, 12, 2].mean()
            assert np.sign(lower - upper) == np.sign(pitch)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["render", "camera"])
def test_picture_k_is_the_same_in_any_batch(style: Any) -> None:
    renderer = EyeRenderer(height=120, width=160, style=style, seed=0)
    together = {r.index: r for r in renderer.render(range(11))}
    alone = [renderer.render([k])[0] for k in (7, 0, 10)]
    backwards = renderer.render([10, 9, 7, 3])
    for render in alone + backwards:
        assert np.array_equal(render.image, together[render.index].image)
        assert render.label == together[render.index].label


def test_seed_and_number_change_the_picture() -> None:
    first = EyeRenderer(height=60, width=80).render([0, 1])
    other = EyeRenderer(height=60, width=80, seed=1).render([0])
    assert not np.array_equal(first[0].image, first[1].image)
    assert not np.array_equal(first[0].image, other[0].image)


@pytest.mark.slow
def test_both_looks_share_their_geometry() -> None:
    plain, photos = render_pair(range(6), seed=5, height=HEIGHT, width=WIDTH)
    for a, b in zip(plain, photos, strict=True):
        assert a.label == b.label
        assert a.image.shape == b.image.shape == (HEIGHT, WIDTH, 3)
        iris = inside(points(a.label, "iris_2d"), 1.6)
        assert np.abs(grey(a) - grey(b))[iris].mean() > 8, "the looks differ"


def iris_borders(render: EyeRender) -> tuple[float, float]:
    """Where grey crosses halfway between iris and sclera, left and right, below the pupil."""
    iris = points(render.label, "iris_2d")
    radius = np.hypot(*(iris[0] - iris.mean(0)))
    centre = iris.mean(0)
    rows = np.rint(centre[1] + radius * np.linspace(0.4, 0.6, 4)).astype(int)
    line = cv2.GaussianBlur(grey(render), (0, 0), 1)[rows].mean(0)
    cols = np.arange(WIDTH)
    borders_px = []
    for side in (-1, 1):
        away = np.linspace(0.45, 1.25, 100) * radius
        level = np.interp(centre[0] + side * away, cols, line)
        half = (level[:20].mean() + level[-10:].mean()) / 2
        borders_px.append(centre[0] + side * away[np.argmax(level > half)])
    return borders_px[0], borders_px[1]


@pytest.mark.slow
def test_the_iris_is_at_its_label_in_both_looks() -> None:
    scenes = looking(0, 0, count=10)
    plain = render_scenes(scenes, "render", HEIGHT, WIDTH)
    photos = render_scenes(scenes, "camera", HEIGHT, WIDTH)
    off = []
    for a, b in zip(plain, photos, strict=True):
        centre = points(a.label, "iris_2d").mean(0)
        off.append([np.mean(iris_borders(r)) - centre[0] for r in (a, b)])
    assert np.abs(off).max(0)[0] < 0.5
    assert np.abs(off).max(0)[1] < 1.0
    assert abs(np.mean(off, 0)[1]) < 0.4


def test_camera_style_is_narrow_and_shows_other_people() -> None:
    scenes = sample_scenes(range(300), 0, "camera")
    yaw = np.degrees(np.arctan2(scenes.gaze[:, 0], -scenes.gaze[:, 2]))
    pitch = np.degrees(np.arcsin(scenes.gaze[:, 1]))
    assert np.abs(yaw).max() <= 20.01
    assert pitch.min() >= -20.01
    assert pitch.max() <= 5.01
    broad = sample_scenes(range(300), 0, "render")
    assert np.abs(np.degrees(np.arctan2(broad.gaze[:, 0], -broad.gaze[:, 2]))).max() > 35
    assert not set(people("camera").names) & set(people("render").names)
    assert len(set(people("render").names)) == 20


@pytest.mark.slow
def test_camera_crops_frame_the_eye_as_real_ones_do() -> None:
    for render in EyeRenderer(style="camera").render(range(20)):
        assert render.image.shape == (36, 60)
        assert render.image.dtype == np.uint8
        margin = points(render.label, "interior_margin_2d", 36)
        caruncle = points(render.label, "caruncle_2d", 36)
        eye_width = np.hypot(*(caruncle.mean(0) - margin[8]))
        assert 0.66 <= eye_width / 60 <= 0.76
        assert np.hypot(*((caruncle.mean(0) + margin[8]) / 2 - [29.5, 17.5])) < 2.5


def test_camera_says_everywhere_that_it_is_a_stand_in(tmp_path: Path) -> None:
    renders = EyeRenderer(style="camera").render([0, 4])
    assert write_renders(tmp_path, renders, "camera") == 2
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "1.jpg",
        "5.jpg",
        STAND_IN_FILE,
    ]
    assert "stand-in" in (tmp_path / STAND_IN_FILE).read_text()
    raw = (tmp_path / "1.jpg").read_bytes()
    at = raw.index(b"\xff\xfe")
    length = int.from_bytes(raw[at + 2 : at + 4], "big")
    assert raw[at + 4 : at + 2 + length] == STAND_IN.encode()
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (36, 60)


def test_renders_are_written_in_the_unityeyes_format_and_resume(tmp_path: Path) -> None:
    renderer = EyeRenderer(height=60, width=80)
    write_renders(tmp_path, renderer.render([0, 1]))
    names = ["1.jpg", "1.json", "2.jpg", "2.json"]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == names
    assert cv2.imread(str(tmp_path / "1.jpg")).shape == (60, 80, 3)
    assert json.loads((tmp_path / "2.json").read_text()) == renderer.render([1])[0].label
    (tmp_path / "2.json").unlink()
    assert [k for k in range(4) if not (tmp_path / renderer.last_file(k)).exists()] == [1, 2, 3]
    before = (tmp_path / "2.jpg").read_bytes()
    renderer.write(tmp_path, [1])
    assert (tmp_path / "2.jpg").read_bytes() == before
    assert (tmp_path / renderer.last_file(1)).exists()


def test_the_unityeyes_source_reads_our_renders(tmp_path: Path) -> None:
    renders = EyeRenderer(height=HEIGHT, width=WIDTH).render(range(4))
    write_renders(tmp_path, renders)
    source = UnityEyesSource(tmp_path, UnityEyesOptions())
    for render in renders:
        loaded = source.load(str(render.index + 1))
        x, y, z, _ = ast.literal_eval(render.label["eye_details"]["look_vec"])
        assert np.allclose(loaded.labels["gaze"], [x, -y, z], atol=2e-4)
        assert loaded.labels["pupil_from"] == "source"
        assert loaded.labels["eye_side"] == "left"
        assert loaded.identity == render.label["eye_region_details"]["primary_skin_texture"]
        affine = np.array(loaded.crop_affine)
        pupil = affine @ [*points(render.label, "pupil_2d")[0], 1]
        assert np.allclose(loaded.labels["pupil_px"], pupil, atol=1e-3)


def test_the_picture_scales_with_its_size() -> None:
    small = EyeRenderer(height=120, width=160).render([2])[0]
    large = EyeRenderer(height=480, width=640).render([2])[0]
    a, b = points(small.label, "iris_2d", 120), points(large.label, "iris_2d", 480)
    assert np.allclose((a + 0.5) * 4 - 0.5, b, atol=1e-3)
    reduced = cv2.resize(large.image, (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - small.image).mean() < 6


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="height"):
        EyeRenderer(height=3)
    with pytest.raises(ValueError, match="extra"):
        EyeRenderer.model_validate({"colour": "red"})
    assert EyeRenderer().render([]) == []
