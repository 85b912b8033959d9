"""MPIIGaze's normalised files, from a fixture with their structure, written by scipy."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions, MpiiGazeSource
from factory.sources.base import BadRender
from support import fakes


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
        found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        assert np.allclose(found, loaded.crop_affine @ [41, 13, 1], atol=0.15)
        places[side] = found
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
def test_a_damaged_file_is_one_rejected_input_and_the_rest_goes_on(root) -> None:
    for kind, raw in damaged_files(root).items():
        (root / "p02.mat").write_bytes(raw)
        source = source_of(root)
        ids = [facts.id for facts in source.listing()]
        assert len(ids) == 9 and ids[-1] == "p02.mat", kind
        with pytest.raises(BadRender) as caught:
            source.load("p02.mat")
        assert caught.value.reason, kind
        assert source.load(ids[0]).image.shape == (35, 55)


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
