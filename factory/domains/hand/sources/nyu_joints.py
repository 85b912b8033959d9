"""`joint_data.mat` of the NYU hand pose set: the positions of 36 joints by camera and frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.geometry import (
    NYU_CAMERA,
    NYU_HEIGHT_PX,
    NYU_WIDTH_PX,
    Points,
)
from factory.domains.hand.sources.nyu_files import CAMERAS
from factory.sources.matlab import Array, MatError, read_arrays
from schemas.hand.sample import NUM_JOINTS

MAX_DISAGREEMENT_MM = 5.0
"""largest distance between the two positions that the file gives for a joint; it is larger than the
effect of rounding to a pixel, and smaller than that of a flipped axis or another unit"""
VARIABLES = "joint_uvd", "joint_xyz"
Rows = NDArray[np.float32]
"""(cameras, frames, 36, 3)"""


class JointsError(ValueError):
    """A file, or a row of it, does not give the positions of the joints."""


@dataclass(frozen=True)
class JointTable:
    """The joints of all frames of a folder, with the values of the file, in float32."""

    uvd: Rows
    """u px, v px, depth mm"""
    xyz: Rows
    """x right, y UP, z away from the camera, mm"""

    @classmethod
    def read(cls, raw: bytes) -> "JointTable":
        """Read a file of joints.

        The two variables are read one after the other, because one float64 array of the whole set
        takes 190 MB.

        Raises:
            JointsError: it is not a MATLAB file that has both variables, each of one shape
                (cameras, frames, 36, 3).
            MissingExtraError: it is of version 7.3, and h5py is not installed.
        """
        try:
            uvd, xyz = (_checked(read_arrays(raw, [(name,)])[0], name) for name in VARIABLES)
        except MatError as error:
            raise JointsError(str(error)) from error
        if uvd.shape != xyz.shape:
            raise JointsError(f"joint_uvd is {uvd.shape}, joint_xyz {xyz.shape}")
        return cls(uvd, xyz)

    def bytes_of(self, camera: int, frame: int) -> bytes:
        """The two rows of one picture as bytes.

        Raises:
            JointsError: the file has no such camera or frame.
        """
        uvd, xyz = self._row(camera, frame)
        return uvd.astype("<f4").tobytes() + xyz.astype("<f4").tobytes()

    def xyz_mm(self, camera: int, frame: int) -> Points:
        """(36, 3) joints of one picture in the camera frame (y down), mm.

        They are computed from the joints' pixels and depths with the camera's intrinsics.

        Raises:
            JointsError: there are none, or they cannot be those of a hand in the picture.
        """
        uvd, xyz = self._row(camera, frame)
        if not (np.isfinite(uvd).all() and np.isfinite(xyz).all()):
            raise JointsError("joints are not finite")
        u, v, depth = uvd.astype(np.float64).T
        if depth.min() <= 0:
            raise JointsError(f"joint {depth.argmin()} is at depth {depth.min():.1f} mm")
        beyond = (u < -0.5) | (u > NYU_WIDTH_PX - 0.5) | (v < -0.5) | (v > NYU_HEIGHT_PX - 0.5)
        if beyond.any():
            joint = int(beyond.argmax())
            raise JointsError(
                f"joint {joint} lies outside the picture, at ({u[joint]:.0f}, {v[joint]:.0f})"
            )
        unprojected = NYU_CAMERA.unproject(uvd.astype(np.float64))
        distance = np.linalg.norm(unprojected - xyz * (1, -1, 1), axis=1)
        if distance.max() > MAX_DISAGREEMENT_MM:
            raise JointsError(
                f"joint_uvd and joint_xyz are {distance.max():.0f} mm apart at joint "
                f"{distance.argmax()}, expected x right, y up, z away in mm"
            )
        return unprojected

    def _row(self, camera: int, frame: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        num_cameras, num_frames = self.uvd.shape[:2]
        if not 1 <= frame <= num_frames:
            raise JointsError(f"frame {frame} is none of its frames 1..{num_frames}")
        if not 1 <= camera <= num_cameras:
            raise JointsError(f"camera {camera} is none of its cameras 1..{num_cameras}")
        return self.uvd[camera - 1, frame - 1], self.xyz[camera - 1, frame - 1]


def _checked(values: Array | MatError, name: str) -> Rows:
    if isinstance(values, MatError):
        raise JointsError(str(values)) from values
    if values.ndim != 4 or values.shape[2:] != (NUM_JOINTS, 3) or values.shape[0] not in CAMERAS:
        raise JointsError(f"{name} is {values.shape}, expected (3 cameras, frames, 36, 3)")
    # `xyz_mm` refuses rows that are not finite in float32.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
