"""Depth cameras and their projections. The camera frame is that of docs/conventions.md."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.images.png import Affine

Points = NDArray[np.float64]


@dataclass(frozen=True)
class DepthCamera:
    """A pinhole camera without distortion; pixel centres are at integers."""

    fx_px: float
    fy_px: float
    """focal lengths"""
    cx_px: float
    cy_px: float
    """the principal point"""

    def project(self, xyz_mm: Points) -> Points:
        """Project (n, 3) points (x right, y down, z away, mm) to (n, 3) u px, v px, depth mm."""
        x, y, z = np.asarray(xyz_mm, np.float64).T
        return np.stack([self.fx_px * x / z + self.cx_px, self.fy_px * y / z + self.cy_px, z], -1)

    def unproject(self, uvd: Points) -> Points:
        """Undo `project`: turn (n, 3) u px, v px, depth mm into (n, 3) points in mm."""
        u, v, z = np.asarray(uvd, np.float64).T
        return np.stack(
            [(u - self.cx_px) * z / self.fx_px, (v - self.cy_px) * z / self.fy_px, z], -1
        )

    def through(self, affine: Affine) -> "DepthCamera":
        """The camera of a crop.

        Args:
            affine: from pixels of this camera to pixels of the crop; it only scales and shifts.
        """
        (scale_x, _, shift_x), (_, scale_y, shift_y) = affine.tolist()
        return DepthCamera(
            scale_x * self.fx_px,
            scale_y * self.fy_px,
            scale_x * self.cx_px + shift_x,
            scale_y * self.cy_px + shift_y,
        )


NYU_HEIGHT_PX, NYU_WIDTH_PX = 480, 640
NYU_CAMERA = DepthCamera(fx_px=588.03, fy_px=587.07, cx_px=320.0, cy_px=240.0)
"""the camera of the NYU hand pose set (Tompson et al., ACM TOG 2014)"""
