"""Hands of the NYU format: geometry, masks, and what is set aside."""

import math
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from scipy.ndimage import distance_transform_edt

from factory.domains.hand.geometry import NYU_CAMERA
from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.domains.hand.sources.nyu_joints import JointTable
from factory.sources.base import BadRender, Loaded, Vanished
from factory.sources.files import NOTHING_SEEN, Tree
from factory.sources.input_table import InputTable
from factory.sources.scan import Container, FileBatch, Seen
from factory.store import extras
from schemas.hand.sample import EVALUATED_JOINTS
from support import hands
from support.matlab import mat73

FRAME = "synthdepth_1_0000001"
RENDERS = NyuOptions()
REAL = NyuOptions(kind="real")


def load(folder: Path, source_id: str = FRAME, options: NyuOptions = RENDERS) -> Loaded:
    return NyuSource(folder, options).load(source_id)


def ids_in(folder: Path, options: NyuOptions = RENDERS) -> list[str]:
    return [facts.id for facts in NyuSource(folder, options).listing()]


def write_one(
    folder: Path, uvd: np.ndarray, depth: np.ndarray | None = None, prefix: str = "synthdepth"
) -> None:
    """Frame 1 of camera 1 alone."""
    hands.write_joints(folder, uvd[None, None])
    depth = hands.depth_picture(uvd) if depth is None else depth
    (folder / f"{prefix}_1_0000001.png").write_bytes(hands.packed(depth))


# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_px", [224, 97])
@pytest.mark.parametrize(
    ("u", "v", "near_mm"), [(300, 250, 700), (20, 30, 520), (540, 380, 1100), (280, 200, 601)]
)
def test_joints_project_with_the_stored_camera_to_where_the_label_says(
    tmp_path, u, v, near_mm, size_px
) -> None:
    uvd = hands.joints_uvd(u, v, near_mm)
    write_one(tmp_path, uvd)
    loaded = load(tmp_path, options=NyuOptions(size_px=size_px, cube_mm=400))
    labels, camera = loaded.labels, loaded.labels["camera"]
    x, y, z = labels["joints_xyz_mm"].T
    projected = np.stack(
        [
            camera["fx_px"] * x / z + camera["cx_px"],
            camera["fy_px"] * y / z + camera["cy_px"],
            z - labels["z_near_mm"] + 1,
        ],
        axis=-1,
    )
    assert np.abs(projected - labels["joints_uvd"]).max() < 1e-3
    assert np.allclose(labels["joints_xyz_mm"] * (1, -1, 1), hands.xyz_up_of(uvd), atol=1e-3)
    there = uvd[:, :2] @ loaded.crop_affine[:, :2].T + loaded.crop_affine[:, 2]
    assert np.abs(there - labels["joints_uvd"][:, :2]).max() < 1e-6
    assert np.array_equal(labels["joints14_uvd"], labels["joints_uvd"][hands.EVALUATED])
    assert np.array_equal(labels["joints14_xyz_mm"], labels["joints_xyz_mm"][hands.EVALUATED])


@pytest.mark.parametrize(("u", "v", "near_mm"), [(300, 250, 700), (100, 90, 560), (420, 300, 1100)])
def test_the_pixel_at_a_joint_has_the_joints_depth(tmp_path, u, v, near_mm) -> None:
    uvd = hands.joints_uvd(u, v, near_mm)
    write_one(tmp_path, uvd)
    loaded = load(tmp_path)
    assert loaded.image.shape == (224, 224) and loaded.image.dtype == np.uint16
    columns, rows, depth = np.round(loaded.labels["joints_uvd"]).astype(int).T
    assert np.array_equal(loaded.image[rows, columns], depth)
    assert np.array_equal(depth + loaded.labels["z_near_mm"] - 1, uvd[:, 2])


def test_the_cube_is_centred_on_the_joints(tmp_path) -> None:
    uvd = hands.joints_uvd()
    write_one(tmp_path, uvd)
    labels = load(tmp_path).labels
    low, high = labels["joints_xyz_mm"].min(axis=0), labels["joints_xyz_mm"].max(axis=0)
    x, y, z = (low + high) / 2
    camera = labels["camera"]
    assert math.isclose(camera["fx_px"] * x / z + camera["cx_px"], 111.5, abs_tol=1e-3)
    assert math.isclose(camera["fy_px"] * y / z + camera["cy_px"], 111.5, abs_tol=1e-3)
    assert camera["fx_px"] == camera["fy_px"], "pixels of the crop are square"
    assert math.isclose(camera["fx_px"] * 300 / z, 224, rel_tol=1e-6), "the cube fills the crop"
    assert labels["z_near_mm"] == round(z - 150) and type(labels["z_near_mm"]) is int


def test_depths_are_never_mixed_and_a_step_of_1_mm_survives(tmp_path) -> None:
    """A ramp that changes by 1 mm at every second column, magnified or reduced."""
    columns = np.arange(hands.WIDTH)
    for near_mm in (560, 900):
        uvd = hands.joints_uvd(near_mm=near_mm, step_mm=0)
        ramp = near_mm - 40 + (columns // 2) % 80
        depth = np.broadcast_to(ramp.astype(np.uint16), (hands.HEIGHT, hands.WIDTH))
        write_one(tmp_path, uvd, depth)
        loaded = load(tmp_path)
        (scale, _, shift), _ = loaded.crop_affine
        source = np.round((np.arange(224) - shift) / scale).astype(int)
        expected = ramp[source] - loaded.labels["z_near_mm"] + 1
        assert (loaded.image == expected).mean() > 0.99, "but for ties between two columns"
        steps = np.abs(np.diff(loaded.image.astype(int), axis=1))
        assert set(np.unique(steps)) <= {0, 1, 78, 79} and (steps == 1).sum() > 5000


def test_what_is_before_and_behind_the_cube_is_background(tmp_path) -> None:
    uvd = hands.joints_uvd(step_mm=0)
    depth = hands.depth_picture(uvd)
    near = 700 - 150
    for place, depth_mm in enumerate((near - 1, near, near + 300, near + 301, 65535, 1)):
        depth[200:210, 300 + 10 * place : 310 + 10 * place] = depth_mm
    write_one(tmp_path, uvd, depth)
    loaded = load(tmp_path)
    found = []
    for place in range(6):
        u, v = loaded.crop_affine @ [304.5 + 10 * place, 204.5, 1]
        found.append(int(loaded.image[round(v), round(u)]))
    assert found == [0, 1, 301, 0, 0, 0]


def test_what_the_frame_does_not_show_is_background(tmp_path) -> None:
    uvd = hands.joints_uvd(u=5, v=5)
    depth = np.full((hands.HEIGHT, hands.WIDTH), 720, np.uint16)
    write_one(tmp_path, uvd, depth)
    loaded = load(tmp_path)
    corner = np.ceil(loaded.crop_affine @ [-0.5, -0.5, 1]).astype(int)
    shown = loaded.image > 0
    assert not shown[: corner[1]].any() and not shown[:, : corner[0]].any()
    assert shown[corner[1] :, corner[0] :].all() and (corner > 30).all()


# --- renders and camera frames --------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path) -> Path:
    """Two frames of three cameras, each as a render and as a camera frame before a near wall."""
    hands.write_frames(tmp_path, prefixes={"synthdepth": 0, "depth": 760})
    (tmp_path / "rgb_1_0000001.png").write_bytes(b"colours are no business of ours")
    return tmp_path


def test_every_picture_of_its_kind_is_an_input_and_a_frame_is_an_identity(pairs) -> None:
    for options, prefix in ((NyuOptions(), "synthdepth"), (REAL, "depth")):
        expected = [f"{prefix}_{camera}_{frame:07d}" for camera in (1, 2, 3) for frame in (1, 2)]
        assert ids_in(pairs, options) == expected
        source = NyuSource(pairs, options)
        assert [source.identity(name) for name in expected] == [
            "frame-0000001",
            "frame-0000002",
        ] * 3
        assert source.load(expected[1]).identity == "frame-0000002"
        assert source.load(expected[3]).extra == {"nyu_camera": 2, "nyu_frame": 2}
    assert ids_in(pairs, NyuOptions(cameras=(3, 1))) == [
        f"synthdepth_{camera}_{frame:07d}" for camera in (1, 3) for frame in (1, 2)
    ]


def test_renders_are_labelled_and_camera_frames_only_where_asked_for(pairs) -> None:
    always = {"z_near_mm", "cube_mm", "camera"}
    joints = {"joints_uvd", "joints_xyz_mm", "joints14_uvd", "joints14_xyz_mm"}
    for kind, source_id in (("synthetic", FRAME), ("real", "depth_1_0000001")):
        for labelled in (None, True, False):
            options = NyuOptions(kind=kind, labelled=labelled)
            expected = kind == "synthetic" if labelled is None else labelled
            source = NyuSource(pairs, options)
            assert source.labelled is expected and source.kind == kind
            assert set(source.load(source_id).labels) == (always | joints if expected else always)


def test_a_camera_frame_keeps_only_what_its_render_shows(pairs) -> None:
    render = load(pairs)
    masked = load(pairs, "depth_1_0000001", REAL)
    assert np.array_equal(masked.image, render.image), "the wall is within the cube, and gone"
    whole = load(pairs, "depth_1_0000001", NyuOptions(kind="real", mask="cube"))
    assert (whole.image > 0).all()
    assert np.array_equal(whole.image[render.image > 0], render.image[render.image > 0])


def test_a_render_may_have_a_far_background(pairs) -> None:
    before = load(pairs).image, load(pairs, "depth_1_0000001", REAL).image
    depth = hands.depth_picture(hands.all_joints(2)[0, 0], background_mm=5000)
    (pairs / f"{FRAME}.png").write_bytes(hands.packed(depth))
    assert np.array_equal(load(pairs).image, before[0])
    assert np.array_equal(load(pairs, "depth_1_0000001", REAL).image, before[1])


def test_suffixes_may_be_spelled_in_capitals(pairs) -> None:
    before = load(pairs).image, load(pairs, "depth_1_0000001", REAL).image
    for name, suffix in ((FRAME, ".PNG"), ("depth_1_0000001", ".pnG")):
        (pairs / f"{name}.png").rename(pairs / f"{name}{suffix}")
    for options, source_id, expected in (
        (RENDERS, FRAME, before[0]),
        (REAL, "depth_1_0000001", before[1]),
    ):
        source = NyuSource(pairs, options)
        listing = source.listing()
        assert source_id in {facts.id for facts in listing}
        assert np.array_equal(source.load(source_id).image, expected), "as before it is announced"
        source.expect({facts.id: facts.suffixes for facts in listing})
        assert np.array_equal(source.load(source_id).image, expected)


def test_two_spellings_of_one_frame_are_set_aside(pairs) -> None:
    shutil.copy(pairs / f"{FRAME}.png", pairs / f"{FRAME}.PNG")
    source = NyuSource(pairs, RENDERS)
    listing = source.listing()
    assert [facts.id for facts in listing].count(FRAME) == 1
    source.expect({facts.id: facts.suffixes for facts in listing})
    with pytest.raises(BadRender, match=r"more than one picture: .*\.PNG, .*\.png"):
        source.load(FRAME)


def test_the_mask_grows_by_its_margin_in_pixels_of_the_frame(tmp_path) -> None:
    uvd = hands.joints_uvd()
    write_one(tmp_path, uvd)
    write_one(tmp_path, uvd, np.full((hands.HEIGHT, hands.WIDTH), 750, np.uint16), prefix="depth")
    away_px = distance_transform_edt(hands.depth_picture(uvd) == 0)
    for margin_px in (0, 1, 4):
        options = NyuOptions(kind="real", mask_margin_px=margin_px)
        masked = load(tmp_path, "depth_1_0000001", options)
        expected = np.where(away_px <= margin_px, 750, 0).astype(np.uint16)
        write_one(tmp_path / "expected", uvd, expected)
        assert np.array_equal(masked.image, load(tmp_path / "expected").image)


def test_holes_of_the_camera_stay_holes(pairs) -> None:
    name = "depth_1_0000001"
    u, v, _ = hands.all_joints(2)[0, 0, 14]
    depth = hands.depth_picture(hands.all_joints(2)[0, 0], background_mm=760)
    depth[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2] = 0
    (pairs / f"{name}.png").write_bytes(hands.packed(depth))
    masked, render = load(pairs, name, REAL).image, load(pairs).image
    assert 4 <= ((render > 0) & (masked == 0)).sum() <= 25


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "tar", "zip", "tar in a folder", "below"])
def test_the_same_samples_come_out_of_folders_and_archives(pairs, tmp_path_factory, place) -> None:
    there = tmp_path_factory.mktemp("place")
    files = sorted(path for path in pairs.iterdir() if path.name != "rgb_1_0000001.png")
    prefix = ""
    if place == "zip":
        there /= "frames.zip"
        with zipfile.ZipFile(there, "w") as archive:
            for path in files:
                archive.write(path, path.name)
    elif "tar" in place:
        inner = there / "frames.tar"
        with tarfile.open(inner, "w") as tar:
            for path in files:
                tar.add(path, path.name)
        prefix = "frames.tar/" if "folder" in place else ""
        there = there if "folder" in place else inner
    else:
        prefix = "" if place == "folder" else "test/"
        shutil.copytree(pairs, there / prefix, dirs_exist_ok=True)
    for options in (NyuOptions(), REAL):
        names = ids_in(pairs, options)
        assert ids_in(there, options) == [prefix + name for name in names]
        for name in names[::4]:
            ours, theirs = load(pairs, name, options), load(there, prefix + name, options)
            assert np.array_equal(ours.image, theirs.image)
            assert (ours.image_sha256, ours.label_sha256) == (
                theirs.image_sha256,
                theirs.label_sha256,
            )


@pytest.mark.s3
def test_frames_in_a_bucket_are_known_by_the_etags_of_all_their_files(pairs, moto_store) -> None:
    for path in pairs.iterdir():
        moto_store.put(f"in/{path.name}", path.read_bytes())
    location = f"{moto_store.location}/in"
    source = NyuSource(location, REAL)
    before = {facts.id: facts.etag for facts in source.listing()}
    assert list(before) == ids_in(pairs, REAL) and len(before["depth_1_0000001"].split()) == 3
    assert np.array_equal(
        source.load("depth_1_0000001").image, load(pairs, "depth_1_0000001", REAL).image
    )
    moto_store.put("in/synthdepth_1_0000001.png", b"another render")
    after = {facts.id: facts.etag for facts in NyuSource(location, REAL).listing()}
    assert [name for name in before if before[name] != after[name]] == ["depth_1_0000001"]
    hands.write_joints(pairs, hands.all_joints(2) + 1)
    moto_store.put(f"in/{hands.JOINT_DATA}", (pairs / hands.JOINT_DATA).read_bytes())
    last = {facts.id: facts.etag for facts in NyuSource(location, REAL).listing()}
    assert [name for name in before if after[name] != last[name]] == list(before)


# --- what is set aside ----------------------------------------------------------------------------


def _png(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


PICTURES: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "empty": (lambda depth: b"", "no PNG"),
    "text": (lambda depth: b"not a picture", "no PNG"),
    "truncated": (lambda depth: hands.packed(depth)[:-200], "damaged"),
    "cut at its end": (lambda depth: hands.packed(depth)[:-12], "a PNG of the chunks"),
    "damaged": (lambda depth: _flipped(hands.packed(depth)), "damaged|inflate"),
    "red": (lambda depth: hands.packed(depth, red=1), "red is not 0"),
    "16 bits": (_png, "640x480 px, grey, 16 bits, expected"),
    "8 bits grey": (lambda depth: _png(depth.astype(np.uint8)), "grey, 8 bits, expected"),
    "half the size": (lambda depth: hands.packed(depth[::2, ::2]), "320x240 px, RGB, 8 bits"),
    "jpeg": (lambda depth: bytes(cv2.imencode(".jpg", depth.astype(np.uint8))[1]), "no PNG"),
    "nothing": (lambda depth: hands.packed(depth * 0), "nothing of the hand"),
    "a wall": (lambda depth: hands.packed(depth * 0 + 3000), "nothing of the hand"),
    "elsewhere": (lambda depth: hands.packed(np.roll(depth, 100, axis=1)), "nothing|only 0 of 36"),
    "half of it": (lambda depth: hands.packed(_below(depth, 268)), "only 6 of 36 joints"),
}


def _flipped(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0xFF]) + raw[middle + 1 :]


def _below(depth: np.ndarray, row: int) -> np.ndarray:
    return np.where(np.arange(len(depth))[:, None] < row - 10, depth, 0).astype(np.uint16)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_malformed_picture_is_set_aside_with_its_reason(tmp_path, kind) -> None:
    make, reason = PICTURES[kind]
    uvd = hands.joints_uvd()
    write_one(tmp_path, uvd)
    (tmp_path / f"{FRAME}.png").write_bytes(make(hands.depth_picture(uvd)))
    with pytest.raises(BadRender, match=reason) as caught:
        load(tmp_path)
    assert caught.value.digests == NyuSource(tmp_path, NyuOptions()).digests(FRAME)


def test_a_malformed_render_takes_its_camera_frame_along(pairs) -> None:
    (pairs / f"{FRAME}.png").write_bytes(b"")
    with pytest.raises(BadRender, match="its render is no depth picture"):
        load(pairs, "depth_1_0000001", REAL)
    (pairs / f"{FRAME}.png").unlink()
    with pytest.raises(BadRender, match=r"no render .* mask cube needs none"):
        load(pairs, "depth_1_0000001", REAL)
    assert "depth_1_0000001" in ids_in(pairs, REAL)
    assert load(pairs, "depth_1_0000001", NyuOptions(kind="real", mask="cube")).image.any()


def _moved(change: Callable[[np.ndarray, np.ndarray], None]) -> tuple[np.ndarray, np.ndarray]:
    uvd = hands.joints_uvd()
    xyz = hands.xyz_up_of(uvd)
    change(uvd, xyz)
    return uvd, xyz


def _set(joint: int, axis: int, value: float) -> Callable[[np.ndarray, np.ndarray], None]:
    """One number of a joint's uvd, its xyz following."""

    def change(uvd: np.ndarray, xyz: np.ndarray) -> None:
        uvd[joint, axis] = value
        xyz[:] = hands.xyz_up_of(uvd)

    return change


def _negate_y(uvd: np.ndarray, xyz: np.ndarray) -> None:
    xyz[:, 1] *= -1


def _in_metres(uvd: np.ndarray, xyz: np.ndarray) -> None:
    xyz /= 1000


def _near(uvd: np.ndarray, xyz: np.ndarray) -> None:
    uvd[:, 2] -= 600
    xyz[:] = hands.xyz_up_of(uvd)


ROWS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], None], str]] = {
    "NaN": (_set(3, 2, math.nan), "not finite"),
    "infinite": (_set(3, 0, math.inf), "not finite"),
    "beyond float32": (_set(3, 0, 1e300), "not finite"),
    "depth 0": (_set(7, 2, 0), "joint 7 is at depth 0.0 mm"),
    "behind": (_set(7, 2, -700), "joint 7 is at depth -700.0 mm"),
    "left of it": (_set(5, 0, -3), r"joint 5 lies outside the picture, at \(-3, 250\)"),
    "below it": (_set(35, 1, 480), "joint 35 lies outside the picture"),
    "spread": (_set(0, 2, 300), "the joints span 4.* mm, more than the cube of 300 mm"),
    "y down": (_negate_y, "joint_uvd and joint_xyz are .* mm apart"),
    "metres": (_in_metres, "joint_uvd and joint_xyz are .* mm apart"),
    "too near": (_near, "the cube begins .* mm behind the camera"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_malformed_row_is_set_aside_alone(tmp_path, kind) -> None:
    change, reason = ROWS[kind]
    uvd, xyz = _moved(change)
    good = hands.joints_uvd()
    hands.write_joints(tmp_path, np.array([[uvd, good]]), np.array([[xyz, hands.xyz_up_of(good)]]))
    for frame in (1, 2):
        path = tmp_path / f"synthdepth_1_{frame:07d}.png"
        path.write_bytes(hands.packed(hands.depth_picture(good)))
    with pytest.raises(BadRender, match=reason) as caught:
        load(tmp_path)
    assert caught.value.digests == NyuSource(tmp_path, NyuOptions()).digests(FRAME)
    assert load(tmp_path, "synthdepth_1_0000002").image.any()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("synthdepth_1_0000003", r"frame 3 is none of its frames 1\.\.2"),
        ("synthdepth_1_0000000", "frame 0 is none of its frames"),
        ("synthdepth_4_0000001", "camera 4 is none of NYU's"),
        ("synthdepth_0_0000001", "camera 0 is none of NYU's"),
    ],
)
def test_a_picture_without_a_row_is_set_aside(tmp_path, name, reason) -> None:
    hands.write_frames(tmp_path)
    shutil.copy(tmp_path / f"{FRAME}.png", tmp_path / f"{name}.png")
    assert name in ids_in(tmp_path)
    with pytest.raises(BadRender, match=reason):
        load(tmp_path, name)
    assert len(ids_in(tmp_path, NyuOptions(kind="real"))) == 0


def _mat(folder: Path, **variables: object) -> None:
    scipy.io.savemat(folder / hands.JOINT_DATA, variables)


def _cut(folder: Path) -> None:
    path = folder / hands.JOINT_DATA
    path.write_bytes(path.read_bytes()[:-50])


UVD = hands.all_joints(2)
MATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: (folder / hands.JOINT_DATA).unlink(), "missing; it has to lie"),
    "empty": (lambda folder: (folder / hands.JOINT_DATA).write_bytes(b""), "is empty"),
    "text": (lambda folder: (folder / hands.JOINT_DATA).write_text("x" * 300), "not a MATLAB file"),
    "hdf5": (
        lambda folder: (folder / hands.JOINT_DATA).write_bytes(
            b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 50
        ),
        "cut short or damaged",
    ),
    "cut": (_cut, "cut short|has no joint_xyz"),
    "without xyz": (lambda folder: _mat(folder, joint_uvd=UVD), "has no joint_xyz"),
    "other": (lambda folder: _mat(folder, something=UVD), "has no joint_uvd"),
    "14 joints": (
        lambda folder: _mat(folder, joint_uvd=UVD[:, :, :14], joint_xyz=UVD[:, :, :14]),
        r"joint_uvd is \(3, 2, 14, 3\), expected",
    ),
    "one frame less": (
        lambda folder: _mat(folder, joint_uvd=UVD, joint_xyz=UVD[:, :1]),
        r"joint_uvd is \(3, 2, 36, 3\), joint_xyz \(3, 1, 36, 3\)",
    ),
    "five cameras": (
        lambda folder: _mat(folder, joint_uvd=np.zeros((5, 2, 36, 3)), joint_xyz=UVD),
        r"joint_uvd is \(5, 2, 36, 3\)",
    ),
    "texts": (
        lambda folder: _mat(folder, joint_uvd=np.array([["a"]], object), joint_xyz=UVD),
        "joint_uvd is not an array of real numbers",
    ),
}


@pytest.mark.parametrize("kind", MATS)
def test_without_usable_joints_every_picture_is_set_aside_with_the_reason(tmp_path, kind) -> None:
    make, reason = MATS[kind]
    hands.write_frames(tmp_path)
    ids = ids_in(tmp_path)
    assert len(ids) == 6
    make(tmp_path)
    source = NyuSource(tmp_path, NyuOptions())
    for source_id in ids:
        with pytest.raises(BadRender, match=f"joint_data.mat: .*{reason}"):
            source.load(source_id)
        with pytest.raises(BadRender):
            source.digests(source_id)


def scanned(root: Path, options: NyuOptions = RENDERS, seen: Seen = NOTHING_SEEN) -> InputTable:
    return InputTable(NyuSource(root, options).scan(seen))


def problems_of(inputs: InputTable) -> list[str]:
    return [c.problem for c in inputs.containers if c.problem is not None]


@pytest.mark.parametrize("kind", [kind for kind in MATS if kind != "missing"])
def test_joints_that_cannot_be_read_are_named_once_and_other_folders_are_inputs(
    tmp_path, kind
) -> None:
    make, reason = MATS[kind]
    hands.write_frames(tmp_path / "good")
    hands.write_frames(tmp_path / "bad")
    make(tmp_path / "bad")
    with scanned(tmp_path) as inputs:
        assert {id.split("/")[0] for (id,) in inputs.rows("SELECT id FROM listed")} == {"good"}
        (problem,) = problems_of(inputs)
    assert re.match(f"bad/joint_data.mat: .*({reason}).*; the frames beside it wait", problem)


def test_joints_of_matlab_7_3_without_h5py_are_named_with_what_to_install(
    tmp_path, monkeypatch
) -> None:
    hands.write_frames(tmp_path)
    raw = mat73({"joint_uvd": UVD, "joint_xyz": hands.xyz_up_of(UVD)})
    (tmp_path / hands.JOINT_DATA).write_bytes(raw)
    with scanned(tmp_path) as inputs:
        assert len(inputs) == 6 and not problems_of(inputs)
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with scanned(tmp_path) as inputs:
        (problem,) = problems_of(inputs)
        assert len(inputs) == 0 and "pip install 'simgan-factory[hdf5]'" in problem


def test_joints_in_an_archive_make_it_one_that_cannot_be_read_whole(
    tmp_path, tmp_path_factory
) -> None:
    place = tmp_path_factory.mktemp("archives")
    for number in range(6):
        hands.write_frames(tmp_path / str(number))
        if number:
            (tmp_path / str(number) / hands.JOINT_DATA).write_bytes(b"")
    with tarfile.open(place / "week.tar", "w") as tar:
        tar.add(tmp_path, "set")
    with scanned(place) as inputs:
        assert len(inputs) == 6
        (problem,) = problems_of(inputs)
        assert [c.name for c in inputs.containers] == ["week.tar"], "so it is opened again"
    assert problem.count("joint_data.mat: is empty") == 3 and problem.endswith("; and 2 more")


def test_joints_that_were_read_are_not_read_again_while_unchanged(tmp_path, monkeypatch) -> None:
    hands.write_frames(tmp_path)
    with scanned(tmp_path) as inputs:
        (joints,) = inputs.containers
        assert not inputs.would_repeat and joints.name == hands.JOINT_DATA
    seen = {joints.name: replace(joints, num_inputs=0)}
    monkeypatch.setattr(JointTable, "read", lambda raw: pytest.fail("is read"))
    with scanned(tmp_path, seen=seen) as inputs:
        assert len(inputs) == 6 and inputs.would_repeat


def test_joints_without_permission_are_named_and_their_frames_are_not_set_aside(
    tmp_path, monkeypatch
) -> None:
    why = "joint_data.mat: Permission denied"
    hands.write_frames(tmp_path)
    walk = Tree.walk

    def refusing(self: Tree, suffixes: Set[str], seen: Seen) -> Iterator[object]:
        for item in walk(self, suffixes, seen):
            if isinstance(item, FileBatch) and hands.JOINT_DATA in item.names:
                kept = FileBatch()
                for file in item.files():
                    if file.name != hands.JOINT_DATA:
                        kept.add(file)
                yield kept
            else:
                yield item
        yield Container(hands.JOINT_DATA, 0, 0, problem=why)

    monkeypatch.setattr(Tree, "walk", refusing)  # root may read everything
    with scanned(tmp_path) as inputs:
        assert len(inputs) == 0 and problems_of(inputs) == [why]


def test_files_that_are_no_frames_and_frames_that_are_not_asked_for_are_counted(pairs) -> None:
    (pairs / "other.mat").write_bytes(b"")
    (pairs / "depth_1_0000001_old.PNG").write_bytes(b"")
    with scanned(pairs) as inputs:
        assert len(inputs) == 6
        assert inputs.ignored == {".png": 2, ".mat": 1, "frames that the options leave out": 6}
    with scanned(pairs, NyuOptions(kind="real", cameras=(2,))) as inputs:
        assert len(inputs) == 2
        assert inputs.ignored == {".png": 2, ".mat": 1, "frames that the options leave out": 4}


def test_a_frame_that_is_gone_is_vanished_and_its_joints_are_read_once(
    tmp_path, monkeypatch
) -> None:
    hands.write_frames(tmp_path)
    source = NyuSource(tmp_path, NyuOptions())
    ids = ids_in(tmp_path)
    read = []
    files = type(source.files)
    original = files.read

    def counted(self, name: str) -> bytes:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(files, "read", counted)
    for source_id in ids:
        source.load(source_id)
    assert sorted(read) == sorted([hands.JOINT_DATA, *(f"{source_id}.png" for source_id in ids)])
    (tmp_path / f"{FRAME}.png").unlink()
    with pytest.raises(Vanished):
        source.load(FRAME)


@pytest.mark.parametrize(
    "options",
    [{"cameras": ()}, {"cameras": (4,)}, {"cube_mm": 0}, {"size_px": 3}, {"mask": "hand"}],
)
def test_nonsense_options_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        NyuOptions(**options)


# --- the genuine frame ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_joints_of_the_genuine_frame_lie_on_the_hand(shared_data, tmp_path) -> None:
    """Measured: the 14 joints are 3..33 mm behind the hand's surface, 10 mm in the median."""
    name = "depth_1_0000001"
    folder = shared_data / "nyu"
    uvd = np.load(folder / "test_joints_uvd_cam1.npz")["joint_uvd"].astype(np.float64)
    hands.write_joints(tmp_path, uvd[None])
    shutil.copy(folder / f"{name}.png", tmp_path)
    loaded = load(tmp_path, name, NyuOptions(kind="real", mask="cube", labelled=True))
    columns, rows, depth = np.round(loaded.labels["joints14_uvd"]).astype(int).T
    surface = loaded.image[rows, columns].astype(int)
    assert (surface > 0).all()
    behind_mm = depth - surface
    assert (behind_mm >= 0).all() and behind_mm.max() <= 40 and np.median(behind_mm) <= 15
    assert tuple(hands.EVALUATED) == EVALUATED_JOINTS
    assert np.allclose(NYU_CAMERA.project(loaded.labels["joints_xyz_mm"]), uvd[0], atol=1e-3)
