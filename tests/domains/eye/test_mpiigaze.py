"""MPIIGaze's normalised files, from a fixture with their structure, written by scipy."""

import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions, MpiiGazeSource
from factory.sources.base import BadRender
from factory.sources.files import NOTHING_SEEN
from factory.sources.input_table import InputTable
from factory.sources.scan import Container
from factory.store import extras
from support import fakes
from support.matlab import mat73


def eyes(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 36, 60), gazes by known angles, poses that turn the head about y."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-0.4, 0.4, (num, 2))
    gaze = np.array([fakes.unit(yaw, pitch) for yaw, pitch in angles])
    pose = np.zeros((num, 3))
    pose[:, 1] = rng.uniform(-0.3, 0.3, num)
    return rng.integers(0, 255, (num, 36, 60), dtype=np.uint8), gaze, pose


@pytest.fixture
def root(tmp_path) -> Path:
    fakes.mpiigaze_day(tmp_path / "p00" / "day01.mat", eyes(3, 1), eyes(3, 2))
    fakes.mpiigaze_day(tmp_path / "p01" / "day02.mat", eyes(1, 3), eyes(1, 4))
    return tmp_path


def source_of(root: Path) -> MpiiGazeSource:
    return MpiiGazeSource(root, MpiiGazeOptions())


def test_every_eye_of_every_day_is_listed_also_of_a_day_of_one_frame(root) -> None:
    assert [facts.id for facts in source_of(root).listing()] == [
        *(f"p00/day01.mat:left:{row:06d}" for row in range(3)),
        *(f"p00/day01.mat:right:{row:06d}" for row in range(3)),
        "p01/day02.mat:left:000000",
        "p01/day02.mat:right:000000",
    ]


def test_the_subject_is_the_identity(root) -> None:
    source = source_of(root)
    for name in ("p00/day01.mat:left:000001", "p01/day02.mat:right:000000"):
        assert source.load(name).identity == source.identity(name) == name[:3]


@pytest.mark.parametrize("row", range(3))
def test_a_left_eye_keeps_its_gaze_in_pitch_and_yaw(root, row) -> None:
    _, gaze, _ = eyes(3, 2)
    x, y, z = gaze[row]
    labels = source_of(root).load(f"p00/day01.mat:left:{row:06d}").labels
    assert not labels["mirrored"] and labels["eye_side"] == "left"
    assert np.allclose(labels["gaze"], (x, y, z))
    assert math.isclose(labels["gaze_pitch_rad"], math.asin(-y), abs_tol=1e-9)
    assert math.isclose(labels["gaze_yaw_rad"], math.atan2(-x, -z), abs_tol=1e-9)


def test_a_right_eye_is_mirrored_in_pixels_gaze_and_head(root) -> None:
    images, gaze, pose = eyes(3, 1)
    mirror = root / "mirror"
    flipped = images[:, :, ::-1], gaze * (-1, 1, 1), pose * (1, -1, -1)
    fakes.mpiigaze_day(mirror / "day01.mat", eyes(3, 2), flipped)
    for row in range(3):
        right = source_of(root).load(f"p00/day01.mat:right:{row:06d}")
        left = source_of(mirror).load(f"day01.mat:left:{row:06d}")
        assert right.labels["mirrored"] and right.labels["eye_side"] == "right"
        assert np.array_equal(right.image, left.image)
        for name in ("gaze", "gaze_yaw_rad", "gaze_pitch_rad", "head_yaw_rad", "head_pitch_rad"):
            assert np.allclose(right.labels[name], left.labels[name]), name
        x, _, z = gaze[row]
        assert math.isclose(right.labels["gaze_yaw_rad"], -math.atan2(-x, -z), abs_tol=1e-9)
        assert right.extra["gaze"] == gaze[row].tolist(), "as it came"


def test_the_affine_of_a_mirrored_eye_maps_the_pixels_of_the_file(tmp_path) -> None:
    images, gaze, pose = eyes(1, 5)
    images[:] = 20
    images[0, 12:15, 40:43] = 250  # a dot at (41, 13)
    fakes.mpiigaze_day(tmp_path / "day01.mat", (images, gaze, pose), (images, gaze, pose))
    places = {}
    for side in ("left", "right"):
        loaded = source_of(tmp_path).load(f"day01.mat:{side}:000000")
        weight = loaded.image.astype(float) - 20
        rows, columns = np.mgrid[:35, :55]
        found_px = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        assert np.allclose(found_px, loaded.crop_affine @ [41, 13, 1], atol=0.15)
        places[side] = found_px
    assert math.isclose(places["left"][0] + places["right"][0], 54, abs_tol=0.3)


@pytest.mark.parametrize(
    ("pose", "yaw", "pitch"),
    [((0, 0, 0), 0, 0), ((0, 0.3, 0), 0.3, 0), ((0.2, 0, 0), 0, -0.2), ((0, 0, 0.5), 0, 0)],
)
def test_head_angles_are_those_of_the_direction_the_face_points(tmp_path, pose, yaw, pitch) -> None:
    """A rotation vector about y by a turns the face, which looks along -z, by a."""
    images, gaze, _ = eyes(1, 5)
    day = images, gaze, np.array([pose], float)
    fakes.mpiigaze_day(tmp_path / "d.mat", day, day)
    labels = source_of(tmp_path).load("d.mat:left:000000").labels
    assert np.allclose((labels["head_yaw_rad"], labels["head_pitch_rad"]), (yaw, pitch), atol=1e-9)


def test_file_names_may_hold_colons(tmp_path) -> None:
    fakes.mpiigaze_day(tmp_path / "p00" / "day:01:x.mat", eyes(1, 1), eyes(1, 2))
    source = source_of(tmp_path)
    for facts in source.listing():
        assert source.load(facts.id).identity == "p00"


def damaged_files(root: Path) -> dict[str, bytes]:
    good = (root / "p00" / "day01.mat").read_bytes()
    scipy.io.savemat(root / "other.mat", {"something": np.zeros(3)})
    scipy.io.savemat(root / "flat.mat", {"data": np.zeros(3)})
    day = {"data": scipy.io.loadmat(root / "p00" / "day01.mat")["data"]}
    scipy.io.savemat(root / "packed.mat", day, do_compression=True)
    packed = bytearray((root / "packed.mat").read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    files = {name: (root / f"{name}.mat").read_bytes() for name in ("other", "flat")}
    for name in ("other", "flat", "packed"):
        (root / f"{name}.mat").unlink()
    cuts = {f"cut at {length}": good[:length] for length in (0, 50, 128, 140, 500, 3000, 9000)}
    return {**files, **cuts, "text": b"no mat file", "damaged zip": bytes(packed)}


@pytest.mark.slow
def test_a_damaged_file_is_named_as_a_container_and_the_rest_goes_on(root) -> None:
    for kind, raw in damaged_files(root).items():
        (root / "p02.mat").write_bytes(raw)
        ids, problems = fakes.scanned(source_of(root))
        assert len(ids) == 8, kind
        assert len(problems) == 1 and problems[0].startswith("p02.mat: "), kind
        with pytest.raises(BadRender) as caught:  # as earlier versions planned it
            source_of(root).load("p02.mat")
        assert f"p02.mat: {caught.value.reason}" == problems[0]
        with pytest.raises(BadRender):
            source_of(root).load("p02.mat:left:000000")


def test_a_damaged_file_in_an_archive_is_named_by_each_run(root, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("archives")
    with tarfile.open(folder / "week.tar", "w") as tar:
        tar.add(root, "set")
        tar.addfile(tarfile.TarInfo("set/p02/day01.mat"))
    ids, problems = fakes.scanned(source_of(folder))
    assert len(ids) == 8 and ids[0].startswith("week.tar/set/p00/day01.mat:left")
    assert problems == ["week.tar/set/p02/day01.mat: is empty"]
    (archive,) = [
        item for item in source_of(folder).scan(NOTHING_SEEN) if isinstance(item, Container)
    ]
    assert (archive.name, archive.problem) == ("week.tar", problems[0]), "so it is opened again"


def side_of_day(seed: int) -> dict[str, np.ndarray]:
    """Two eyes of one side."""
    return dict(zip(("image", "gaze", "pose"), eyes(2, seed), strict=True))


def save_day(path: Path, **fields) -> None:
    """A day of two eyes a side, with some fields of `data.left` changed; `...` leaves one out."""
    left = {k: v for k, v in (side_of_day(0) | fields).items() if v is not ...}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"data": {"left": left, "right": side_of_day(1)}})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"gaze": ...}, "has no data.left.gaze"),
        ({"pose": np.zeros((1, 3))}, "left: 2 images, gaze (2, 3), pose (1, 3); expected (n, 3)"),
        ({"image": np.zeros((36, 60, 2), np.uint8)}, "left images are (36, 60, 2), expected"),
        ({"image": np.full((2, 36, 60), -0.5)}, "left images are float64 with values from -0.5"),
        ({"image": np.full((2, 36, 60), np.nan)}, "left images are float64 with values from nan"),
        ({"image": np.full((2, 36, 60), 4095, np.uint16)}, "left images are uint16 with values"),
    ],
)
def test_a_side_that_cannot_be_read_is_named_and_the_other_is_read(
    tmp_path, fields, problem
) -> None:
    save_day(tmp_path / "p00" / "day01.mat", **fields)
    ids, (named,) = fakes.scanned(source_of(tmp_path))
    assert ids == [f"p00/day01.mat:right:{row:06d}" for row in range(2)]
    assert named.startswith(f"p00/day01.mat: {problem}")
    assert named.endswith("its right eyes are read")
    assert source_of(tmp_path).load(ids[0]).image.shape == (35, 55)


def test_days_of_one_side_are_read_and_named_in_one_warning(tmp_path, caplog) -> None:
    for number in range(4):
        scipy.io.savemat(tmp_path / f"p{number}.mat", {"data": {"left": side_of_day(number)}})
    (tmp_path / "p4.mat").write_bytes(mat73({"data": {"right": side_of_day(4)}}))
    ids, problems = fakes.scanned(source_of(tmp_path))
    assert len(ids) == 10 and ids[-1] == "p4.mat:right:000001" and not problems
    (warning,) = caplog.messages
    assert "p0.mat has no data.right" in warning or "p4.mat has no data.left" in warning
    assert warning.count("has no data.") == 3 and warning.endswith("; and 2 more")
    assert source_of(tmp_path).load(ids[0]).labels["eye_side"] == "left"
    with pytest.raises(BadRender, match=r"has no data\.right"):
        source_of(tmp_path).load("p0.mat:right:000000")


@pytest.mark.parametrize("left", [{}, {"left": {"image": np.zeros((2, 36, 60), np.uint8)}}])
def test_a_day_of_which_no_side_can_be_read_is_a_problem(tmp_path, left, caplog) -> None:
    scipy.io.savemat(tmp_path / "p00.mat", {"data": {"other": np.zeros(2), **left}})
    ids, (problem,) = fakes.scanned(source_of(tmp_path))
    assert not ids and "has no data.left" in problem and "has no data.right" in problem
    assert not caplog.messages


def test_many_damaged_files_of_an_archive_are_named_in_one_short_line(
    root, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("archives")
    with tarfile.open(folder / "week.tar", "w") as tar:
        tar.add(root, "set")
        for number in range(40):
            tar.addfile(tarfile.TarInfo(f"set/p02/day{number:02d}.mat"))
    ids, (problem,) = fakes.scanned(source_of(folder))
    assert len(ids) == 8
    assert problem.count("is empty") == 3 and problem.endswith("; and 37 more")


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_images_of_floats_are_those_in_8_bits(tmp_path, scale) -> None:
    images = eyes(2, 0)[0]
    save_day(tmp_path / "a" / "day01.mat", image=images)
    save_day(tmp_path / "b" / "day01.mat", image=images * (scale / 255))
    for row in range(2):
        a, b = (source_of(tmp_path).load(f"{at}/day01.mat:left:{row:06d}") for at in "ab")
        assert a.image_sha256 == b.image_sha256 and np.array_equal(a.image, b.image)


def test_a_single_eye_that_was_squeezed_is_read(tmp_path) -> None:
    image, gaze, pose = (array[0] for array in eyes(1, 0))
    save_day(tmp_path / "p00" / "day01.mat", image=image, gaze=gaze, pose=pose)
    ids, problems = fakes.scanned(source_of(tmp_path))
    assert [id for id in ids if ":left:" in id] == ["p00/day01.mat:left:000000"] and not problems
    assert source_of(tmp_path).load(ids[0]).extra["gaze"] == gaze.tolist()


def test_a_day_of_matlab_7_3_gives_what_one_of_version_5_does(tmp_path) -> None:
    save_day(tmp_path / "p00" / "day01.mat")
    sides = {"left": side_of_day(0), "right": side_of_day(1)}
    (tmp_path / "p01").mkdir()
    (tmp_path / "p01" / "day01.mat").write_bytes(mat73({"data": sides}))
    ids, problems = fakes.scanned(source_of(tmp_path))
    assert len(ids) == 8 and not problems
    for old, new in zip(ids[:4], ids[4:], strict=True):
        a, b = source_of(tmp_path).load(old), source_of(tmp_path).load(new)
        assert (a.image_sha256, a.label_sha256) == (b.image_sha256, b.label_sha256)


def test_without_h5py_a_file_of_7_3_is_named_with_what_to_install(tmp_path, monkeypatch) -> None:
    (tmp_path / "p01.mat").write_bytes(mat73({"data": {}}))
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    _, (problem,) = fakes.scanned(source_of(tmp_path))
    assert problem.startswith("p01.mat: ") and "pip install 'simgan-factory[hdf5]'" in problem


def test_a_set_in_the_form_of_somebody_else_is_ignored_with_what_is_read(root) -> None:
    (root / "MPIIGaze.h5").write_bytes(b"\x89HDF")
    (root / "notes.txt").write_bytes(b"")
    with InputTable(source_of(root).scan(NOTHING_SEEN)) as inputs:
        assert len(inputs) == 8 and all(c.problem is None for c in inputs.containers)
        hint = ".h5 (MPIIGaze's own files are .mat files, one a person and day)"
        assert inputs.ignored == {hint: 1, ".txt": 1}


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("p00/day01.mat", "p00"),
        ("Data/Normalized/p07/day01.mat", "p07"),
        ("p07.mat", "p07"),
        ("Normalized/p07.mat", "p07"),
        ("p07_normalized.mat", "p07"),
        ("persons.tar/p07.mat", "p07"),
        ("p07.tar/day01.mat", "p07"),
        ("alice.mat", "alice"),
        ("persons.zip/alice.mat", "alice"),
        ("alice/monday.mat", "alice"),
        ("photos/p1x.mat", "photos"),
    ],
)
def test_the_identity_is_the_person(name, person) -> None:
    assert source_of(Path()).identity(f"{name}:left:000012") == person


@pytest.mark.parametrize(
    ("gaze", "pose", "reason"),
    [
        ((0, 0, 0), (0, 0, 0), "gaze has length 0.000"),
        ((math.nan, 0, -1), (0, 0, 0), "not finite"),
        ((0, 0, -1), (0, math.inf, 0), "not finite"),
        ((0, 0, -1), (0, 1e300, 0), "no rotation vector"),
    ],
)
def test_a_malformed_row_is_set_aside_alone(tmp_path, gaze, pose, reason) -> None:
    images, gazes, poses = eyes(2, 1)
    gazes[1], poses[1] = gaze, pose
    fakes.mpiigaze_day(tmp_path / "d.mat", (images, gazes, poses), eyes(2, 2))
    source = source_of(tmp_path)
    with pytest.raises(BadRender, match=reason):
        source.load("d.mat:right:000001")
    assert source.load("d.mat:right:000000").image.shape == (35, 55)
