"""The hand renderer: what is drawn is where the labels say, and the files are NYU's."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

import factory.ingestion.simulate as simulate_module
from factory.dataset.dataset import CardMismatchError
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.hand.geometry import NYU_CAMERA
from factory.domains.hand.renderer.depth import Array, cast
from factory.domains.hand.renderer.pose import (
    Angles,
    Proportions,
    forearm_of,
    joints_of,
)
from factory.domains.hand.renderer.renderer import MAX_FRAMES, HandRenderer
from factory.domains.hand.renderer.shape import (
    JOINT_NAMES,
    Hand,
    body_of,
    straight_forearm,
)
from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.domains.hand.sources.nyu_files import JOINT_DATA
from factory.ingestion.simulate import enter_location, missing_batches, simulate_task
from factory.sources.renderer import STAND_IN_FILE
from factory.store.base import Store
from factory.store.open import open_store
from jobs.simulate import SimulateJob, renderer_of

RENDERER = HandRenderer(seed=3)
EVALUATED = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
TIPS = (0, 6, 12, 18, 24)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_module, "BATCH", 3)


def simulate(folder: str | Path, count: int, renderer: HandRenderer = RENDERER) -> int:
    """As jobs/simulate.py does it, in this process."""
    location = str(folder)
    enter_location(location, renderer)
    batches, num_missing = missing_batches(location, renderer, count)
    renderer.prepare(location, count)
    collect(run_here(simulate_task(renderer, location, count), batches))
    return num_missing


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".png", ".mat")}


def depth_in(raw: bytes) -> Array:
    """(480, 640) mm as NYU's readers take it out of a PNG."""
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (480, 640, 3)
    assert image.dtype == np.uint8
    blue, green, red = np.moveaxis(image.astype(int), -1, 0)
    assert not red.any()
    return np.asarray(green * 256.0 + blue)


def joints_in(folder: Path) -> dict[str, Any]:
    return scipy.io.loadmat(folder / JOINT_DATA)


def open_hand(distance_mm: float = 600.0) -> Hand:
    """Palm to camera, fingers straight and spread."""
    none = np.zeros((1, 4))
    spread = np.array([[-13.0, -5, 1, 11]])
    thumb = np.array([[60.0, 20, 5, 5]])
    angles = Angles(none, none, none, spread, thumb, np.zeros((1, 2)))
    turn = np.diag([1.0, -1, -1])
    joints = joints_of(angles, Proportions(1.0, np.ones(5), 1.0))[0] @ turn
    joints += [0, 80, distance_mm]
    return Hand(joints, turn @ forearm_of(angles)[0])


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four given poses, of which the last two lie off the renderer's own skeleton."""
    rng = np.random.default_rng(0)
    uvd = np.stack(
        [NYU_CAMERA.project(HandRenderer(seed=50).hands(k)[0].joints_mm) for k in range(4)]
    )
    uvd[2:, :, :2] += rng.normal(0, 1, (2, 36, 2))
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    np.savez(path, joint_uvd=uvd.astype(np.float32))
    return path


@pytest.mark.slow
def test_every_joint_lies_under_the_skin_that_is_drawn_over_it() -> None:
    for index in range(12):
        for hand in RENDERER.hands(index):
            body, depth = body_of(hand), cast(body_of(hand))
            u, v, z = NYU_CAMERA.project(hand.joints_mm).T
            seen = depth[np.rint(v).astype(int), np.rint(u).astype(int)]
            assert np.isfinite(seen).all(), "a joint is projected beside the hand"
            # Its own sphere is a radius in front along the ray, which is oblique and may pass the
            # joint by half a pixel.
            assert (z - seen > 0.75 * body.radii[:36]).all()


def test_the_skin_over_visible_joints_is_a_radius_away() -> None:
    hand = open_hand()
    body, depth = body_of(hand), cast(body_of(hand))
    u, v, z = NYU_CAMERA.project(hand.joints_mm).T
    over = z - depth[np.rint(v).astype(int), np.rint(u).astype(int)]
    fingers = [k for k in range(24) if k % 6 < 4] + [24, 25, 26]
    assert np.allclose(over[fingers], body.radii[fingers], rtol=0.12)
    assert (over[30:] < 40).all(), "the palm is no thicker than a palm"


def test_an_open_hand_has_five_fingers_and_a_palm_without_gaps() -> None:
    hand = open_hand()
    mask = np.isfinite(cast(body_of(hand))).astype(np.uint8)
    assert cv2.connectedComponents(mask)[0] == 2, "one piece"
    contours, levels = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    assert len(contours) == 1, f"no holes: {levels}"
    # Cutting off all that is thicker than a finger leaves the fingers, one by one.
    round_px = int(2 * 14 * 588 / 600) | 1
    palm = cv2.morphologyEx(
        mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round_px, round_px))
    )
    left = cv2.connectedComponentsWithStats(mask & ~cv2.dilate(palm, np.ones((3, 3), np.uint8)))
    assert (left[2][1:, cv2.CC_STAT_AREA] > 500).sum() == 5
    tips = np.rint(NYU_CAMERA.project(hand.joints_mm[list(TIPS)])[:, :2]).astype(int)
    assert len({left[1][v, u] for u, v in tips}) == 5, "each tip is on a finger of its own"


def test_a_frame_is_written_as_nyu_has_it(tmp_path: Path) -> None:
    renderer = HandRenderer(seed=3, cameras=2)
    assert simulate(tmp_path, 2, renderer) == 2
    names = {f"synthdepth_{camera}_{frame:07d}.png" for camera in (1, 2) for frame in (1, 2)}
    assert set(files(tmp_path)) == {*names, JOINT_DATA}
    for frame in (1, 2):
        for camera, hand in enumerate(renderer.hands(frame - 1)[:2], 1):
            drawn = depth_in(files(tmp_path)[f"synthdepth_{camera}_{frame:07d}.png"])
            exact = cast(body_of(hand))
            has_depth = np.isfinite(exact)
            assert np.array_equal(drawn > 0, has_depth)
            assert np.abs(drawn - exact)[has_depth].max() <= 0.5


def test_the_joints_are_written_as_nyu_has_them(tmp_path: Path) -> None:
    simulate(tmp_path, 4)
    content = joints_in(tmp_path)
    uvd, xyz = content["joint_uvd"], content["joint_xyz"]
    assert uvd.shape == xyz.shape == (3, 4, 36, 3)
    assert np.isfinite([uvd, xyz]).all()
    names = [str(cell[0]) for cell in content["joint_names"][0]]
    assert content["joint_names"].shape == (1, 36)
    assert (names[0], names[24], names[35]) == ("F1_KNU3_A", "TH_KNU3_A", "PALM_6")
    u, v, d = np.moveaxis(uvd, -1, 0)
    assert np.allclose(xyz[..., 0], (u - 320) * d / 588.03)
    assert np.allclose(xyz[..., 1], -(v - 240) * d / 587.07), "NYU's y is up"
    assert np.allclose(xyz[..., 2], d)
    for frame in range(4):
        drawn = depth_in(files(tmp_path)[f"synthdepth_1_{frame + 1:07d}.png"])
        for joint in EVALUATED:
            column, row, depth_mm = uvd[0, frame, joint]
            assert 0 < drawn[round(row), round(column)] < depth_mm


def test_names_of_joints_are_nyus() -> None:
    assert len(set(JOINT_NAMES)) == 36
    assert [JOINT_NAMES[k] for k in (3, 23, 25, 32)] == [
        "F1_KNU2_B", "F4_KNU1_B", "TH_KNU3_B", "PALM_3",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_larger_count_adds_frames_and_rewrites_the_joints(tmp_path: Path) -> None:
    simulate(tmp_path / "whole", 5)
    simulate(tmp_path / "parts", 2)
    first = files(tmp_path / "parts")
    assert simulate(tmp_path / "parts", 5) == 3
    after = files(tmp_path / "parts")
    assert after == files(tmp_path / "whole")
    assert all(after[name] == raw for name, raw in first.items() if name != JOINT_DATA)


def test_joints_that_are_missing_are_written_again(tmp_path: Path) -> None:
    simulate(tmp_path, 2)
    complete = files(tmp_path)
    (tmp_path / JOINT_DATA).unlink()
    assert simulate(tmp_path, 2) == 0
    assert files(tmp_path) == complete


def test_a_rerun_or_a_smaller_count_leaves_the_joints_alone(tmp_path: Path) -> None:
    simulate(tmp_path, 3)
    before = (tmp_path / JOINT_DATA).stat()
    for count in (3, 1):
        assert simulate(tmp_path, count) == 0
        after = (tmp_path / JOINT_DATA).stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert joints_in(tmp_path)["joint_uvd"].shape[1] == 3


def test_joints_are_there_before_the_pictures_and_as_many_as_those(tmp_path: Path) -> None:
    enter_location(str(tmp_path), RENDERER)
    RENDERER.prepare(tmp_path, 2)
    assert set(files(tmp_path)) == {JOINT_DATA}
    simulate(tmp_path, 4)
    (tmp_path / JOINT_DATA).unlink()
    simulate(tmp_path, 1)
    assert joints_in(tmp_path)["joint_uvd"].shape[1] == 4, "there are pictures of four frames"


def test_joints_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    simulate(tmp_path, 1)
    complete = (tmp_path / JOINT_DATA).read_bytes()
    for raw in (b"", b"no joints", complete[:200], complete[:128] + bytes(64)):
        (tmp_path / JOINT_DATA).write_bytes(raw)
        with pytest.raises(ValueError, match=r"joint_data\.mat: .*remove the file"):
            simulate(tmp_path, 2)


@pytest.mark.slow
def test_frames_are_ingested_as_nyus(tmp_path: Path) -> None:
    simulate(tmp_path, 3, HandRenderer(seed=3, style="camera", cameras=2))
    for kind in ("synthetic", "real"):
        source = NyuSource(tmp_path, NyuOptions(kind=kind, cameras=(1, 2), labelled=True))
        ids = [facts.id for facts in source.listing()]
        assert len(ids) == 6
        for source_id in ids:
            loaded = source.load(source_id)
            assert loaded.image.shape == (224, 224)
            assert (loaded.image > 0).mean() > 0.05
            depth = np.asarray(loaded.labels["joints_uvd"])[:, 2]
            assert (depth > 1).all()
            assert (depth < 301).all()


def test_a_frame_without_its_last_view_is_made_again(tmp_path: Path) -> None:
    renderer = HandRenderer(seed=3, cameras=3)
    simulate(tmp_path, 1, renderer)
    complete = files(tmp_path)
    (tmp_path / "synthdepth_3_0000001.png").unlink()
    assert simulate(tmp_path, 1, renderer) == 1
    assert files(tmp_path) == complete


def test_an_object_store_is_filled_as_a_folder_is(any_location: str, tmp_path: Path) -> None:
    assert simulate(any_location, 1) == 1
    assert simulate(any_location, 2) == 1
    simulate(tmp_path, 2)
    store = open_store(any_location)
    for name, raw in files(tmp_path).items():
        assert store.read(name) == raw


@pytest.mark.slow
def test_given_joints_are_kept_to_the_bit_and_taken_in_turn(tmp_path: Path, poses: Path) -> None:
    renderer = HandRenderer(poses=str(poses), cameras=2)
    simulate(tmp_path, 5, renderer)
    given = np.load(poses)["joint_uvd"]
    uvd = joints_in(tmp_path)["joint_uvd"]
    for frame in range(5):
        assert np.array_equal(uvd[0, frame], given[frame % 4])
    assert not np.allclose(uvd[1, 0], uvd[0, 0]), "the second camera sees it turned"
    again = files(tmp_path)
    assert again["synthdepth_1_0000001.png"] == again["synthdepth_1_0000005.png"]


def test_a_moved_file_of_poses_is_known_and_a_changed_one_refused(
    tmp_path: Path, poses: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.npz"
    simulate(out, 1, HandRenderer(poses=str(poses)))
    mine.write_bytes(poses.read_bytes())
    moved = HandRenderer(poses=str(mine))
    assert simulate(out, 2, moved) == 1
    np.savez(mine, joint_uvd=np.load(poses)["joint_uvd"] + 1)
    with pytest.raises(CardMismatchError, match="poses_sha256"):
        simulate(out, 3, HandRenderer(poses=str(mine)))
    with pytest.raises(CardMismatchError, match="poses_sha256"):
        simulate(out, 3)


def test_poses_may_lie_in_a_store_or_at_a_relative_path(
    any_store: Store, tmp_path: Path, poses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_store.put("given/poses.npz", poses.read_bytes())
    stored = HandRenderer(poses=f"{any_store.location}/given/poses.npz")
    monkeypatch.chdir(poses.parent)
    relative = HandRenderer(poses=poses.name)
    monkeypatch.chdir(tmp_path)
    for renderer in (stored, relative):
        assert renderer.labels(2) == HandRenderer(poses=str(poses)).labels(2)


def test_poses_that_change_during_a_run_stop_it(tmp_path: Path, poses: Path) -> None:
    mine = tmp_path / "mine.npz"
    mine.write_bytes(poses.read_bytes())
    renderer = HandRenderer(poses=str(mine))
    np.savez(mine, joint_uvd=np.load(poses)["joint_uvd"] + 1)
    with pytest.raises(ValueError, match=r"mine\.npz has changed"):
        renderer.hands(0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"joints": np.ones((1, 36, 3))}, "joint_uvd"),
        ({"joint_uvd": np.ones((36, 3))}, r"\(n, 36, 3\), found \(36, 3\)"),
        ({"joint_uvd": np.ones((0, 36, 3))}, "found"),
        ({"joint_uvd": np.full((2, 36, 3), np.nan)}, r"joint_uvd\[0\].*not finite"),
        ({"joint_uvd": np.full((2, 36, 3), 0.7)}, "nearer than 300 mm"),
        ({"joint_uvd": np.array([None])}, "no .npz file"),
        ({"joint_uvd": np.array(["a"])}, "no .npz file"),
    ],
)
def test_files_that_hold_no_poses_are_refused_by_name(
    tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "poses.npz"
    np.savez(path, **content)
    with pytest.raises(ValueError, match=rf"poses\.npz.*{reason}"):
        HandRenderer(poses=str(path))


def test_a_file_that_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "poses.npz"
    for raw in (b"", b"PK\x03\x04 broken", b"\x93NUMPY"):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"poses\.npz: no \.npz file"):
            HandRenderer(poses=str(path))
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        HandRenderer(poses=str(tmp_path / "absent.npz"))


def test_camera_frames_lie_beside_their_renders(tmp_path: Path) -> None:
    simulate(tmp_path, 2, HandRenderer(style="camera", seed=3))
    assert "stand-in" in (tmp_path / STAND_IN_FILE).read_text().lower()
    for frame in (1, 2):
        clean = depth_in(files(tmp_path)[f"synthdepth_1_{frame:07d}.png"])
        seen = depth_in(files(tmp_path)[f"depth_1_{frame:07d}.png"])
        hand = clean > 0
        both = hand & (seen > 0) & (seen < 1400)
        assert both.sum() > 0.85 * hand.sum()
        assert np.median(np.abs(seen - clean)[both]) < 4
        assert (seen[hand] == 0).mean() > 0.001
        assert (seen[~hand] > 1400).mean() > 0.7
        assert ((seen > 0) & (seen < 1400) & ~hand).any(), "the outline is ragged"


def test_camera_frames_show_other_hands() -> None:
    ours = HandRenderer(seed=3).labels(2)
    theirs = HandRenderer(seed=3, style="camera").labels(2)
    uvd = [scipy.io.loadmat(io.BytesIO(raw))["joint_uvd"] for raw in (ours, theirs)]
    assert np.abs(uvd[0] - uvd[1]).max() > 10


def test_a_frame_is_the_same_in_any_batch(tmp_path: Path) -> None:
    renderer = HandRenderer(style="camera", seed=1)
    renderer.write(tmp_path / "one", [0, 1])
    renderer.write(tmp_path / "two", [1])
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert two
    assert all(one[name] == raw for name, raw in two.items())
    assert one["depth_1_0000001.png"] != one["depth_1_0000002.png"]


def test_more_frames_than_the_joints_file_can_hold_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="1,000,000"):
        RENDERER.last_file(MAX_FRAMES)


def test_the_job_makes_the_renderer_that_was_asked_for(poses: Path) -> None:
    job = SimulateJob.model_validate(
        {"output": "x", "count": 1, "domain": "hand", "seed": 4, "style": "camera",
         "hand": {"cameras": 3, "poses": str(poses)}}
    )  # fmt: skip
    wanted = HandRenderer(seed=4, style="camera", cameras=3, poses=str(poses))
    assert renderer_of(job) == wanted
    assert wanted.poses_sha256 is not None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"domain": "hand", "height": 240}, "leave out --height"),
        ({"domain": "hand", "width": 320}, "leave out --width"),
        ({"hand": {"cameras": 2}}, "give --domain hand"),
        ({"hand": {"poses": "a.npz"}}, "give --domain hand"),
    ],
)
def test_options_of_the_other_domain_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SimulateJob.model_validate({"output": "x", "count": 1, **options})


def test_a_genuine_pose_is_drawn_much_as_the_camera_saw_it(shared_data: Path) -> None:
    raw = (shared_data / "nyu" / "depth_1_0000001.png").read_bytes()
    genuine = depth_in(raw)
    uvd = np.load(shared_data / "nyu" / "test_joints_uvd_cam1.npz")["joint_uvd"][0]
    joints = NYU_CAMERA.unproject(uvd.astype(float))
    drawn = cast(body_of(Hand(joints, straight_forearm(joints))))
    near = np.abs(genuine - uvd[:, 2].mean()) < 60
    pieces = cv2.connectedComponents(near.astype(np.uint8))[1]
    hand = pieces == pieces[round(float(uvd[32, 1])), round(float(uvd[32, 0]))]
    above_wrist = np.arange(480)[:, None] < uvd[30:, 1].max()
    ours, theirs = np.isfinite(drawn) & above_wrist, hand & above_wrist
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.88
    assert np.median(np.abs(drawn - genuine)[ours & theirs]) < 3
