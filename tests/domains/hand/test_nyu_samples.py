"""Hands of the NYU format: geometry, masks, renders and camera frames."""

import math
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from factory.domains.hand.geometry import NYU_CAMERA
from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.sources.base import BadRender
from schemas.hand.sample import EVALUATED_JOINTS
from support import hands
from support.nyu_frames import FRAME, REAL, RENDERS, ids_in, load, write_one

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
    cropped_px = uvd[:, :2] @ loaded.crop_affine[:, :2].T + loaded.crop_affine[:, 2]
    assert np.abs(cropped_px - labels["joints_uvd"][:, :2]).max() < 1e-6
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
    for number, depth_mm in enumerate((near - 1, near, near + 300, near + 301, 65535, 1)):
        depth[200:210, 300 + 10 * number : 310 + 10 * number] = depth_mm
    write_one(tmp_path, uvd, depth)
    loaded = load(tmp_path)
    stored = []
    for number in range(6):
        u, v = loaded.crop_affine @ [304.5 + 10 * number, 204.5, 1]
        stored.append(int(loaded.image[round(v), round(u)]))
    assert stored == [0, 1, 301, 0, 0, 0]


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
    in_cube = load(pairs, "depth_1_0000001", NyuOptions(kind="real", mask="cube"))
    assert (in_cube.image > 0).all()
    assert np.array_equal(in_cube.image[render.image > 0], render.image[render.image > 0])


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
@pytest.mark.parametrize("container", ["folder", "tar", "zip", "tar in a folder", "below"])
def test_the_same_samples_come_out_of_folders_and_archives(
    pairs, tmp_path_factory, container
) -> None:
    location = tmp_path_factory.mktemp("place")
    files = sorted(path for path in pairs.iterdir() if path.name != "rgb_1_0000001.png")
    prefix = ""
    if container == "zip":
        location /= "frames.zip"
        with zipfile.ZipFile(location, "w") as archive:
            for path in files:
                archive.write(path, path.name)
    elif "tar" in container:
        inner = location / "frames.tar"
        with tarfile.open(inner, "w") as tar:
            for path in files:
                tar.add(path, path.name)
        prefix = "frames.tar/" if "folder" in container else ""
        location = location if "folder" in container else inner
    else:
        prefix = "" if container == "folder" else "test/"
        shutil.copytree(pairs, location / prefix, dirs_exist_ok=True)
    for options in (NyuOptions(), REAL):
        names = ids_in(pairs, options)
        assert ids_in(location, options) == [prefix + name for name in names]
        for name in names[::4]:
            ours, theirs = load(pairs, name, options), load(location, prefix + name, options)
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
