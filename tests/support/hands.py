"""Frames in the format of the NYU hand pose set, of hands whose geometry is known.

Nothing here uses the code under test to make its truth.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import scipy.io

HEIGHT, WIDTH = 480, 640
FX, FY, CX, CY = 588.03, 587.07, 320.0, 240.0
EVALUATED = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
DOT_PX = 6
"""radius of the disc at each joint; the discs do not touch"""
JOINT_DATA = "joint_data.mat"


def joints_uvd(
    u: float = 300.0, v: float = 250.0, near_mm: int = 700, step_mm: int = 2
) -> np.ndarray:
    """(36, 3) joints in rows and columns of six, 16 px apart, each at a depth of its own."""
    rows, columns = np.divmod(np.arange(36), 6)
    return np.stack(
        [u + 16.0 * columns, v + 16.0 * rows, near_mm + step_mm * np.arange(36.0)], axis=-1
    )


def xyz_up_of(uvd: np.ndarray) -> np.ndarray:
    """NYU's own frame: x right, y up, z away from the camera, mm."""
    u, v, depth = np.moveaxis(uvd, -1, 0)
    return np.stack([(u - CX) * depth / FX, -(v - CY) * depth / FY, depth], axis=-1)


def depth_picture(uvd: np.ndarray, *, background_mm: int = 0, dot_px: int = DOT_PX) -> np.ndarray:
    """(480, 640) uint16 mm: a flat disc around every joint at its depth."""
    depth = np.full((HEIGHT, WIDTH), background_mm, np.uint16)
    for u, v, depth_mm in uvd:
        top, left = max(0, int(v) - 20), max(0, int(u) - 20)
        around = depth[top : int(v) + 20, left : int(u) + 20]
        rows, columns = np.mgrid[: around.shape[0], : around.shape[1]]
        around[(left + columns - u) ** 2 + (top + rows - v) ** 2 <= dot_px**2] = round(depth_mm)
    return depth


def packed(depth: np.ndarray, red: int = 0) -> bytes:
    """The PNG that NYU has of a depth picture: R = 0, depth_mm = 256 G + B."""
    blue, green = depth & 0xFF, depth >> 8
    bgr = np.stack([blue, green, np.full_like(depth, red)], axis=-1).astype(np.uint8)
    done, buffer = cv2.imencode(".png", bgr)
    assert done
    return bytes(buffer)


def write_joints(folder: Path, uvd: np.ndarray, xyz: np.ndarray | None = None) -> None:
    """`joint_data.mat` of (cameras, frames, 36, 3) joints."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.empty((1, 36), dtype=object)
    names[0] = [f"joint {joint}" for joint in range(36)]
    places = xyz_up_of(uvd) if xyz is None else xyz
    scipy.io.savemat(
        folder / JOINT_DATA,
        {"joint_names": names, "joint_uvd": uvd, "joint_xyz": places},
        do_compression=True,
    )


def all_joints(num_frames: int) -> np.ndarray:
    """(3, num_frames, 36, 3): a hand of its own place and depth for every picture."""
    return np.array(
        [
            [
                joints_uvd(200 + 20 * camera, 150 + 10 * frame, 650 + 7 * frame + 40 * camera)
                for frame in range(num_frames)
            ]
            for camera in range(3)
        ]
    )


def write_frames(
    folder: Path,
    num_frames: int = 2,
    *,
    cameras: Iterable[int] = (1, 2, 3),
    prefixes: Mapping[str, int] | None = None,
) -> np.ndarray:
    """Pictures and joints of some frames; the joints.

    Args:
        prefixes: of the pictures, with the depth of what is behind the hand; renders with nothing
            behind it when None.
    """
    uvd = all_joints(num_frames)
    write_joints(folder, uvd)
    for prefix, background_mm in (prefixes or {"synthdepth": 0}).items():
        for camera in cameras:
            for frame in range(1, num_frames + 1):
                depth = depth_picture(uvd[camera - 1, frame - 1], background_mm=background_mm)
                (folder / f"{prefix}_{camera}_{frame:07d}.png").write_bytes(packed(depth))
    return uvd
