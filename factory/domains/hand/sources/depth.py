"""The depth pictures of the NYU hand pose set, and crops of a cube around a hand."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.geometry import (
    NYU_HEIGHT_PX,
    NYU_WIDTH_PX,
    DepthCamera,
    Points,
)
from factory.images.png import (
    Affine,
    UndecodableError,
    check_png,
    decode_png,
)

Depth = NDArray[np.uint16]
"""(height, width) uint16 distance from the camera's plane in mm; 0 where nothing was measured"""
Mask = NDArray[np.bool_]


def unpack_depth(raw: bytes) -> Depth:
    """Decode a depth picture of the NYU set.

    Args:
        raw: a 640 x 480 RGB PNG of 8 bits with depth_mm = 256 green + blue, and red 0.

    Raises:
        UndecodableError: the picture is truncated, damaged, or has another layout.
    """
    import cv2

    shape, dtype = check_png(raw)
    if shape != (NYU_HEIGHT_PX, NYU_WIDTH_PX, 3) or dtype != np.uint8:
        height, width = shape[:2]
        colours = "RGB" if len(shape) == 3 else "grey"
        raise UndecodableError(
            f"{width}x{height} px, {colours}, {8 * dtype.itemsize} bits, expected "
            f"{NYU_WIDTH_PX}x{NYU_HEIGHT_PX} px, RGB, 8 bits"
        )
    red, green, blue = cv2.split(decode_png(raw))
    if red.any():
        raise UndecodableError("red is not 0 everywhere, so that green and blue are no depth")
    return cast("Depth", green.astype(np.uint16) << 8 | blue)


@dataclass(frozen=True)
class HandCrop:
    """A cube in space, and the square of pixels that the plane through its centre fills."""

    affine: Affine
    """from source pixels to crop pixels"""
    camera: DepthCamera
    """the camera whose picture the crop is"""
    z_near_mm: int
    """depth of the cube's front, stored as 1"""
    cube_mm: int
    """side of the cube"""
    size_px: int
    """height and width of the crop"""

    @classmethod
    def around(
        cls, xyz_mm: Points, camera: DepthCamera, *, cube_mm: int, size_px: int
    ) -> "HandCrop":
        """The cube whose centre is that of the bounding box of some points.

        Args:
            xyz_mm: (n, 3) points in the camera frame.
            camera: of the source picture.

        Returns:
            The crop, with the front of the cube rounded to a whole mm.
        """
        centre = (xyz_mm.min(axis=0) + xyz_mm.max(axis=0)) / 2
        u, v, z = camera.project(centre[None])[0]
        scale_x, scale_y = (size_px * z / (cube_mm * f) for f in (camera.fx_px, camera.fy_px))
        middle = (size_px - 1) / 2
        affine = np.array(
            [[scale_x, 0, middle - scale_x * u], [0, scale_y, middle - scale_y * v]], np.float64
        )
        z_near_mm = round(z - cube_mm / 2)
        return cls(affine, camera.through(affine), z_near_mm, cube_mm, size_px)

    def within(self, depth_HW: Depth) -> Mask:
        """(H, W) which pixels have a depth that lies between the front and the back of the cube."""
        far_mm = self.z_near_mm + self.cube_mm
        return (depth_HW >= max(1, self.z_near_mm)) & (depth_HW <= far_mm)

    def cut(self, depth_HW: Depth, mask_HW: Mask | None = None) -> Depth:
        """The crop as it is stored; each of its pixels is the nearest one of the source.

        Args:
            depth_HW: the source picture.
            mask_HW: which pixels of the source to keep; None keeps all.

        Returns:
            (size_px, size_px) uint16 depth_mm - z_near_mm + 1, and 0 for the background.
        """
        height, width = depth_HW.shape
        columns, in_x = _nearest(self.affine[0, 0], self.affine[0, 2], self.size_px, width)
        rows, in_y = _nearest(self.affine[1, 1], self.affine[1, 2], self.size_px, height)
        depth = depth_HW[rows[:, None], columns]
        keep = self.within(depth) & in_y[:, None] & in_x
        if mask_HW is not None:
            keep &= mask_HW[rows[:, None], columns]
        stored = depth.astype(np.int32) - (self.z_near_mm - 1)
        return np.where(keep, stored, 0).astype(np.uint16)

    def stored(self, xyz_mm: Points) -> Points:
        """(n, 3) u and v in crop pixels and depth as the crop stores it, of (n, 3) points in mm."""
        return self.camera.project(xyz_mm) - (0, 0, self.z_near_mm - 1)


def _nearest(scale: float, shift: float, num: int, size: int) -> tuple[NDArray[np.intp], Mask]:
    """(num,) the source pixel of each crop pixel along one axis, and (num,) whether it exists."""
    pixels = np.floor((np.arange(num) - shift) / scale + 0.5).astype(np.intp)
    inside = (pixels >= 0) & (pixels < size)
    return pixels.clip(0, size - 1), inside


def widened(mask_HW: Mask, margin_px: int) -> Mask:
    """A mask that is dilated by a disc with a radius of `margin_px`."""
    import cv2

    if margin_px == 0:
        return mask_HW
    squares = np.arange(-margin_px, margin_px + 1) ** 2
    disc = (squares[:, None] + squares <= margin_px**2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask_HW.astype(np.uint8), disc), bool)
