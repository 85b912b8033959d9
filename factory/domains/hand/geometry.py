"""Depth cameras and the joints that they see. The camera frame is that of docs/conventions.md."""

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
    cx_px: float
    cy_px: float

    def project(self, xyz_mm: Points) -> Points:
        """(n, 3) points x right, y down, z away, in mm, to (u px, v px, depth mm)."""
        x, y, z = np.asarray(xyz_mm, np.float64).T
        return np.stack([self.fx_px * x / z + self.cx_px, self.fy_px * y / z + self.cy_px, z], -1)

    def unproject(self, uvd: Points) -> Points:
        """(n, 3) of (u px, v px, depth mm) to points in mm: the inverse of `project`."""
        u, v, z = np.asarray(uvd, np.float64).T
        return np.stack(
            [(u - self.cx_px) * z / self.fx_px, (v - self.cy_px) * z / self.fy_px, z], -1
        )

    def through(self, affine: Affine) -> "DepthCamera":
        """The camera of a crop, from an affine that scales and shifts source pixels."""
        (scale_x, _, shift_x), (_, scale_y, shift_y) = affine.tolist()
        return DepthCamera(
            scale_x * self.fx_px,
            scale_y * self.fy_px,
            scale_x * self.cx_px + shift_x,
            scale_y * self.cy_px + shift_y,
        )


NYU_HEIGHT_PX, NYU_WIDTH_PX = 480, 640
NYU_CAMERA = DepthCamera(fx_px=588.03, fy_px=587.07, cx_px=320.0, cy_px=240.0)
"""of the NYU hand pose set (Tompson et al., ACM TOG 2014)"""
