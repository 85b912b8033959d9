"""The built-in hand renderer: depth pictures in the layout of the NYU hand set, without downloads.

It has two styles. `render` writes `synthdepth_C_NNNNNNN.png`, the clean depth of camera C and frame
N. `camera` draws other hands and writes, beside each such picture, `depth_C_NNNNNNN.png`. This is a
**stand-in** for a frame of a depth camera, a drawn picture in the place of a real one; a text file
in the folder says so. The joints of all frames are in `joint_data.mat`, in NYU's layout of cameras
and frames.

Frame k depends on (seed, k, style, poses) only, not on batches or the number of workers.

    sample_hand (or given joints) -> views_of -> body_of -> cast [-> Sensor.observe]

Hands look like right hands, as NYU's do. They end in a short piece of forearm, and there is no
background. `benchmarks/bench_render.py` measures the speed.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.io
from pydantic import Field, model_validator

from factory.domains.base import Style
from factory.domains.hand.geometry import NYU_CAMERA
from factory.domains.hand.options import HandOptions
from factory.domains.hand.renderer.depth import Array, cast
from factory.domains.hand.renderer.pose import sample_hand, views_of
from factory.domains.hand.renderer.sensor import STAND_IN, Sensor
from factory.domains.hand.renderer.shape import (
    JOINT_NAMES,
    Hand,
    body_of,
    straight_forearm,
)
from factory.domains.hand.sources.nyu_files import JOINT_DATA, NUM_CAMERAS, frame_name
from factory.domains.hand.sources.nyu_joints import JointsError, JointTable
from factory.images.png import encode_png
from factory.sources.renderer import STAND_IN_FILE
from factory.store.base import Store
from factory.store.open import absolute, open_store
from schemas.hand.sample import NUM_JOINTS

MAX_FRAMES = 1_000_000
"""most frames of one folder, because an array in a MATLAB 5 file must be smaller than 4 GB"""
NEAREST_MM = 300.0
"""given joints nearer than this are refused, because they are probably not in mm"""
_SENSOR = 2
"""a part of the sensor's seed, which makes it different from the seeds of hands"""
_MAT_HEADER = b"MATLAB 5.0 MAT-file, joints of hands drawn by simgan-factory".ljust(116)
"""replaces the header of scipy, which contains the time, so that equal labels are equal bytes"""


class HandRenderer(HandOptions):
    """The renderer and its configuration.

    Random hands are rotated by at most 60 degrees (yaw and roll) and 45 degrees (pitch) from the
    position with the palm towards the camera and the fingers up. Their centres are 500 to 1100 mm
    from the camera. See `pose.sample_hand`.

    Raises:
        ValueError: `poses` is not a file as described.
    """

    style: Style = "render"
    """`render` draws labelled renders; `camera` draws stand-ins for camera frames, each beside its
    render"""
    seed: int = Field(default=0, ge=0)
    """of all random choices"""
    poses_sha256: str | None = None
    """digest of the file of poses, which identifies it whatever its path; it is computed when the
    renderer is made"""

    @model_validator(mode="before")
    @classmethod
    def _know_poses(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("poses") is None:
            return values
        location = absolute(str(values["poses"]))  # workers may run in another folder
        raw = _read(location)
        _parse_poses(raw, location)
        return {"poses_sha256": hashlib.sha256(raw).hexdigest(), **values, "poses": location}

    def last_file(self, index: int) -> str:
        """The name of the file of frame `index` (from 0) that is written last.

        Where this file exists, the others of the frame do too.

        Raises:
            ValueError: `joint_data.mat` cannot hold that many frames.
        """
        if index >= MAX_FRAMES:
            raise ValueError(f"one folder of hands can hold at most {MAX_FRAMES:,} frames")
        if self.style == "render":
            return file_name("synthdepth", self.cameras, index)
        return file_name("depth", self.cameras, index)

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw frames and write them into a folder or an object store.

        Returns:
            The number of frames.
        """
        store = open_store(location)
        if self.style == "camera":
            store.put(STAND_IN_FILE, (STAND_IN + "\n").encode(), durable=False)
        for index in indices:
            for view, hand in enumerate(self.hands(index)[: self.cameras]):
                clean = cast(body_of(hand))
                store.put(
                    file_name("synthdepth", view + 1, index),
                    encode_depth(np.where(np.isfinite(clean), np.rint(clean), 0)),
                    durable=False,
                )
                if self.style == "camera":
                    rng = np.random.default_rng([self.seed, index, _SENSOR, view])
                    seen = Sensor().observe(clean, rng)
                    name = file_name("depth", view + 1, index)
                    store.put(name, encode_depth(seen), durable=False)
        return len(indices)

    def prepare(self, location: str | Path, count: int) -> None:
        """Write the joints of the first `count` frames, or of all that exist already if more.

        The file is replaced as a whole, and only where it has fewer frames.

        Raises:
            ValueError: the existing file cannot be read.
        """
        store = open_store(location)
        if _frames_in(store) >= count:
            return
        names = (frame_name(entry.name.removesuffix(".png")) for entry in store.entries(""))
        present = (name.frame for name in names if name is not None)
        store.put(JOINT_DATA, self.labels(max([count, *present])))

    def hands(self, index: int) -> list[Hand]:
        """Frame `index` as each of the three cameras sees it."""
        if self.poses is None:
            hand = sample_hand(index, self.seed, self.style)
        else:
            joints = NYU_CAMERA.unproject(self._given(index))
            hand = Hand(joints, straight_forearm(joints))
        return views_of(hand, NUM_CAMERAS)

    def labels(self, frames: int) -> bytes:
        """The content of `joint_data.mat` for the first frames.

        It always has all three cameras, whether or not their views are drawn, in float64.
        """
        uvd = np.empty((NUM_CAMERAS, frames, NUM_JOINTS, 3))
        xyz = np.empty_like(uvd)
        for index in range(frames):
            for view, hand in enumerate(self.hands(index)):
                uvd[view, index], xyz[view, index] = (
                    NYU_CAMERA.project(hand.joints_mm),
                    hand.joints_mm,
                )
            if self.poses is not None:
                uvd[0, index] = self._given(index)
        xyz[..., 1] *= -1  # NYU's y axis points up
        names = np.array(JOINT_NAMES, object)[None]
        file = io.BytesIO()
        arrays = {"joint_names": names, "joint_uvd": uvd, "joint_xyz": xyz}
        scipy.io.savemat(file, arrays, do_compression=True)  # type: ignore[arg-type]  # a file, too
        return _MAT_HEADER + file.getvalue()[len(_MAT_HEADER) :]

    def _given(self, index: int) -> Array:
        """(36, 3) the joints of the file of poses for a frame."""
        assert self.poses is not None
        poses = _known_poses(self.poses, self.poses_sha256)
        return np.asarray(poses[index % len(poses)])


def file_name(kind: Literal["synthdepth", "depth"], camera: int, index: int) -> str:
    """NYU's name for frame `index` of camera 1, 2 or 3; the index counts from 0, NYU from 1."""
    return f"{kind}_{camera}_{index + 1:07d}.png"


def encode_depth(depth_mm: npt.NDArray[Any]) -> bytes:
    """Encode depth as an RGB PNG with mm = 256 green + blue and red 0, as NYU does.

    Args:
        depth_mm: (h, w) whole mm below 65536.
    """
    whole_mm = depth_mm.astype(np.uint16)
    red = np.zeros(whole_mm.shape, np.uint8)
    return encode_png(
        np.dstack([red, (whole_mm >> 8).astype(np.uint8), (whole_mm & 255).astype(np.uint8)])
    )


def _frames_in(store: Store) -> int:
    """The number of frames in the file of joints; 0 where there is no file."""
    try:
        raw = store.read(JOINT_DATA)
    except FileNotFoundError:
        return 0
    try:
        return len(JointTable.read(raw).uvd[0])
    except JointsError as error:
        where = f"{store.location}/{JOINT_DATA}"
        raise ValueError(f"{where}: {error}; remove the file, and it is written anew") from error


def _read(location: str) -> bytes:
    folder, _, name = location.rpartition("/")
    return open_store(folder or "/").read(name)


@lru_cache(maxsize=1)
def _known_poses(location: str, sha256: str | None) -> Array:
    raw = _read(location)
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ValueError(f"{location} has changed since this run began; start it again")
    return _parse_poses(raw, location)


def _parse_poses(raw: bytes, location: str) -> Array:
    """Read (n, 36, 3) float64 u px, v px, depth mm from the bytes of a file of poses.

    Raises:
        ValueError: the file has no such array, or joints that no hand before the camera can have.
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as content:
            uvd = content["joint_uvd"].astype(np.float64)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{location}: no .npz file with an array joint_uvd ({error})") from error
    if uvd.ndim != 3 or uvd.shape[1:] != (NUM_JOINTS, 3) or not len(uvd):
        raise ValueError(f"{location}: joint_uvd should be (n, 36, 3), found {uvd.shape}")
    wrong = np.flatnonzero(~(np.isfinite(uvd).all((1, 2)) & (uvd[..., 2] >= NEAREST_MM).all(1)))
    if len(wrong):
        raise ValueError(
            f"{location}: joint_uvd[{wrong[0]}] has joints that are not finite or nearer than "
            f"{NEAREST_MM:.0f} mm (of {len(wrong)} such poses the first); leave them out"
        )
    return np.asarray(uvd)
