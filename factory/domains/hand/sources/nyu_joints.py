"""`joint_data.mat` of the NYU hand pose set: where 36 joints are, for every camera and frame."""

import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.io
from numpy.typing import NDArray

from factory.domains.hand.geometry import (
    NYU_CAMERA,
    NYU_HEIGHT_PX,
    NYU_WIDTH_PX,
    Points,
)
from factory.domains.hand.sources.nyu_files import CAMERAS
from schemas.hand.sample import NUM_JOINTS

MAX_DISAGREEMENT_MM = 5.0
"""between the two places where the file says where a joint is: more than a pixel, less than a
flipped axis or another unit"""
Rows = NDArray[np.float32]
"""(cameras, frames, 36, 3)"""


class JointsError(ValueError):
    """A file, or a row of it, that does not say where the joints are."""


@dataclass(frozen=True)
class JointTable:
    """The joints of all frames of a folder, as they lay in the file, in float32."""

    uvd: Rows
    """u px, v px, depth mm"""
    xyz: Rows
    """x right, y UP, z away from the camera, mm"""

    @classmethod
    def read(cls, raw: bytes) -> "JointTable":
        """Only these two of the file's variables are read, one after the other: a float64 array of
        the whole set takes 190 MB.

        Raises:
            JointsError: not a MATLAB v5 file with both, of one shape (cameras, frames, 36, 3).
        """
        uvd, xyz = (_variable(raw, name) for name in ("joint_uvd", "joint_xyz"))
        if uvd.shape != xyz.shape:
            raise JointsError(f"joint_uvd is {uvd.shape}, joint_xyz {xyz.shape}")
        return cls(uvd, xyz)

    def bytes_of(self, camera: int, frame: int) -> bytes:
        """What the file says of one picture. Raises `JointsError`: nothing."""
        uvd, xyz = self._row(camera, frame)
        return uvd.astype("<f4").tobytes() + xyz.astype("<f4").tobytes()

    def xyz_mm(self, camera: int, frame: int) -> Points:
        """(36, 3) joints of one picture in the camera frame (y down), through the intrinsics from
        the pixels that they are seen at.

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
        found = NYU_CAMERA.unproject(uvd.astype(np.float64))
        distance = np.linalg.norm(found - xyz * (1, -1, 1), axis=1)
        if distance.max() > MAX_DISAGREEMENT_MM:
            raise JointsError(
                f"joint_uvd and joint_xyz are {distance.max():.0f} mm apart at joint "
                f"{distance.argmax()}, expected x right, y up, z away in mm"
            )
        return found

    def _row(self, camera: int, frame: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        num_cameras, num_frames = self.uvd.shape[:2]
        if not 1 <= frame <= num_frames:
            raise JointsError(f"frame {frame} is none of its frames 1..{num_frames}")
        if not 1 <= camera <= num_cameras:
            raise JointsError(f"camera {camera} is none of its cameras 1..{num_cameras}")
        return self.uvd[camera - 1, frame - 1], self.xyz[camera - 1, frame - 1]


def _variable(raw: bytes, name: str) -> Rows:
    try:
        read = scipy.io.loadmat(cast(Any, io.BytesIO(raw)), variable_names=[name])
        values = np.asarray(read[name])
    except KeyError as error:
        raise JointsError(f"has no {name}") from error
    except Exception as error:  # whatever a damaged file makes of the parser
        raise JointsError(f"not a MATLAB v5 file ({type(error).__name__}: {error})") from error
    if values.dtype.kind not in "fiu":
        raise JointsError(f"{name} holds {values.dtype}, expected numbers")
    if values.ndim != 4 or values.shape[2:] != (NUM_JOINTS, 3) or values.shape[0] not in CAMERAS:
        raise JointsError(f"{name} is {values.shape}, expected (3 cameras, frames, 36, 3)")
    with np.errstate(over="ignore"):  # beyond float32 is not finite, and said so of that row
        return values.astype(np.float32)
