"""Hands of the NYU format: what is set aside, and why."""

import math
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.domains.hand.sources.nyu_joints import JointTable
from factory.sources.base import BadRender, Vanished
from factory.sources.files import NOTHING_SEEN, Tree
from factory.sources.input_table import InputTable
from factory.sources.scan import Container, FileBatch, Seen
from factory.store import extras
from support import hands
from support.matlab import mat73
from support.nyu_frames import FRAME, REAL, RENDERS, ids_in, load, write_one


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
    folder = tmp_path_factory.mktemp("archives")
    for number in range(6):
        hands.write_frames(tmp_path / str(number))
        if number:
            (tmp_path / str(number) / hands.JOINT_DATA).write_bytes(b"")
    with tarfile.open(folder / "week.tar", "w") as tar:
        tar.add(tmp_path, "set")
    with scanned(folder) as inputs:
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
