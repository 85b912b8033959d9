"""A model of a structured-light depth camera that sees a hand before a wall.

The frames that result are **stand-ins** for camera frames, that is computed pictures in the place
of real ones. With them the factory can run and be tested without any download. They are no evidence
about any real camera, and `STAND_IN` says so beside them.

The model is that of a Kinect v1, from these sources:

- Khoshelham and Elberink 2012, "Accuracy and resolution of Kinect depth data for indoor mapping
  applications": disparity in steps of 1/8 px over a baseline of 75 mm, so that a step of depth is
  2.85e-6 z^2 mm; disparity is off by half a step (standard deviation);
- Barron and Malik 2013, "Intrinsic scene properties from a single RGB-D image": disparity is read
  at a randomly displaced pixel, noise added, and the sum rounded to a step;
- Nguyen, Izadi and Lovell 2012, "Modeling Kinect sensor noise for improved 3D reconstruction and
  tracking": surfaces are measured well up to an incidence of 60 degrees, and hardly at 90.

Parameters that say "our choice" come from none of them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX
from factory.domains.hand.renderer.depth import Array

Depths = npt.NDArray[np.float32]

STAND_IN = (
    "STAND-IN, not a camera's: computer-made stand-ins for the frames of a depth camera, drawn "
    "by the built-in hand renderer of simgan-factory (style camera). No person's hand is shown."
)
WALL_MM = 1600.0, 1900.0
"""distance of the wall on the optical axis; with its tilt it is 1.5 to 2 m away everywhere"""
_WALL_TILT = 0.05
"""the largest tilt of the wall, as the change of inverse depth over the slope of a ray"""
_NEAREST_MM = 250.0
"""hands are farther away than this, which bounds the width of their shadows"""
_SAME_SURFACE_MM = 20.0
"""points less than this behind the surface that the projector reaches count as lit"""


@dataclass(frozen=True)
class Sensor:
    """A depth camera by its parameters."""

    baseline_mm: float = 75.0
    """distance of the projector, which is to the left of the camera"""
    shadow: bool = True
    """whether pixels that the projector does not reach have no depth"""
    steps_per_px: float = 8.0
    """steps of disparity per pixel; a step of depth is z² / (focal length x baseline x steps)"""
    noise_steps: float = 0.5
    """standard deviation of the disparity's noise, in steps"""
    noise_correlation_px: float = 1.0
    """correlation length of that noise, because matched windows are several pixels wide (our
    choice)"""
    outline_px: float = 0.8
    """standard deviation of the displacement of a pixel along each axis. Barron and Malik use 0.5
    for independent pixels; correlated displacements must be larger to look as ragged"""
    outline_correlation_px: float = 2.0
    """correlation length of that displacement (our choice: ragged edges have teeth of several
    pixels)"""
    hole_share: float = 0.002
    """share of pixels without depth on surfaces that face the camera (our choice)"""
    grazing_share: float = 0.3
    """what is added to that share at an incidence of 90 degrees (our choice)"""
    grazing_from_deg: float = 60.0
    """incidence from which on the share grows"""
    hole_correlation_px: float = 1.2
    """correlation length that gives the size of the holes (our choice)"""

    def observe(self, clean_mm: Array, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
        """The frame that the camera gives for a hand before a wall.

        Args:
            clean_mm: (NYU_HEIGHT_PX, NYU_WIDTH_PX) depth of the hand, infinite beside it.

        Returns:
            (NYU_HEIGHT_PX, NYU_WIDTH_PX) depth in whole mm; 0 where the camera measures none.
        """
        scene = np.minimum(clean_mm.astype(np.float32), _wall(rng))
        rough = patches(rng, self.hole_correlation_px, scene.shape)
        seen = np.where(rough > self._hole_limit(np.ones(1)), 0, scene)
        near = np.isfinite(clean_mm)
        if near.any():  # the other effects change nothing far from the hand, so they are left out
            part = self._window(near)
            measured = rough[part] <= self._hole_limit(cosine_of_incidence(scene, part))
            if self.shadow:
                measured &= self._lit(scene[part], near[part])
            seen[part] = self._displaced(np.where(measured, scene[part], 0), rng)
        return self._measured(seen, rng)

    def _window(self, near: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
        """The rows and columns that contain the hand, its outline and its shadow."""
        margin = 4 + int(np.ceil(5 * self.outline_px))
        rows, cols = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        shadow_px = int(NYU_CAMERA.fx_px * self.baseline_mm / _NEAREST_MM)
        return (
            slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
            slice(max(0, cols[0] - margin), cols[-1] + 1 + margin + shadow_px),
        )

    def _lit(self, scene: Depths, near: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(h, w) which pixels the projector reaches, by a depth buffer of its view.

        The views of camera and projector are rectified: a point moves within its row by
        focal length x baseline / depth.

        Args:
            scene: (h, w) depth.
            near: (h, w) which pixels show the hand, which alone casts a shadow.
        """
        height, width = scene.shape
        column = np.arange(width) + NYU_CAMERA.fx_px * self.baseline_mm / scene
        projected = np.rint(column).astype(np.intp)
        rows = np.broadcast_to(np.arange(height)[:, None], scene.shape)
        nearest = np.full((height, projected.max() + 2), np.inf)
        np.minimum.at(nearest, (rows[near], projected[near]), scene[near])
        covered = nearest.copy()  # a slanted surface leaves gaps between the projector's columns
        covered[:, 1:] = np.minimum(covered[:, 1:], nearest[:, :-1])
        covered[:, :-1] = np.minimum(covered[:, :-1], nearest[:, 1:])
        return np.asarray(scene <= covered[rows, projected] + _SAME_SURFACE_MM)

    def _hole_limit(self, cosines: npt.NDArray[np.floating]) -> Array:
        """The standard normal number above which a pixel has no depth.

        Args:
            cosines: of the incidence.
        """
        known = np.linspace(0, 1, 256)
        beyond = np.degrees(np.arccos(known)) - self.grazing_from_deg
        steep = np.clip(beyond / (90 - self.grazing_from_deg), 0, 1)
        share = np.minimum(self.hole_share + self.grazing_share * steep, 1)
        return np.asarray(np.interp(cosines, known, ndtri(1 - share)))

    def _displaced(self, seen: Depths, rng: np.random.Generator) -> Depths:
        """Replace each pixel by one nearby; the displacements of neighbours are correlated."""
        height, width = seen.shape
        by_v, by_u = (
            np.rint(patches(rng, self.outline_correlation_px, seen.shape) * self.outline_px)
            for _ in range(2)
        )
        rows = by_v.astype(np.intp) + np.arange(height)[:, None]
        cols = by_u.astype(np.intp) + np.arange(width)
        return np.asarray(seen[np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)])

    def _measured(self, seen: Depths, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
        """Round the disparity, with noise, to whole steps, and convert it back to whole mm."""
        steps_mm = np.float32(NYU_CAMERA.fx_px * self.baseline_mm * self.steps_per_px)
        measured = seen > 0
        noise = patches(rng, self.noise_correlation_px, seen.shape) * self.noise_steps
        disparity = np.rint(steps_mm / np.where(measured, seen, 1) + noise)
        return np.where(measured, np.rint(steps_mm / disparity), 0).astype(np.uint16)


def patches(rng: np.random.Generator, correlation_px: float, shape: tuple[int, ...]) -> Depths:
    """Standard normal numbers, float32 of the given shape, that neighbouring pixels share.

    Args:
        correlation_px: standard deviation of the smoothing; 0 for independent numbers.
    """
    rough = rng.standard_normal(shape, np.float32)
    if correlation_px <= 0:
        return rough
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * correlation_px)) + 1, correlation_px)
    smooth = cv2.sepFilter2D(rough, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / np.float32((kernel**2).sum()))


def cosine_of_incidence(scene: Depths, part: tuple[slice, slice]) -> Depths:
    """Cosine, 0 to 1, of the angle between a surface's normal and the ray.

    Args:
        scene: (NYU_HEIGHT_PX, NYU_WIDTH_PX) depth.
        part: rows and columns of the result.
    """
    depth = scene[part]
    x = ((np.arange(NYU_WIDTH_PX)[part[1]] - NYU_CAMERA.cx_px) / NYU_CAMERA.fx_px).astype(
        np.float32
    )
    y = ((np.arange(NYU_HEIGHT_PX)[part[0], None] - NYU_CAMERA.cy_px) / NYU_CAMERA.fy_px).astype(
        np.float32
    )
    by_v, by_u = np.gradient(depth)
    # The normal is the cross product of the tangents (z/f + x z_u, y z_u, z_u) and
    # (x z_v, z/f + y z_v, z_v).
    across, down = depth / np.float32(NYU_CAMERA.fx_px), depth / np.float32(NYU_CAMERA.fy_px)
    normal_x, normal_y = -by_u * down, -by_v * across
    facing = across * down  # the normal times the ray
    normal_z = facing - x * normal_x - y * normal_y
    size = np.sqrt((normal_x**2 + normal_y**2 + normal_z**2) * (x**2 + y**2 + 1))
    return np.asarray(np.clip(facing / size, 0, 1))


def _wall(rng: np.random.Generator) -> Depths:
    """(NYU_HEIGHT_PX, NYU_WIDTH_PX) depth of a wall at a random distance and tilt."""
    tilt_x, tilt_y = rng.uniform(-_WALL_TILT, _WALL_TILT, 2)
    x = (tilt_x * (np.arange(NYU_WIDTH_PX) - NYU_CAMERA.cx_px) / NYU_CAMERA.fx_px).astype(
        np.float32
    )
    y = (tilt_y * (np.arange(NYU_HEIGHT_PX)[:, None] - NYU_CAMERA.cy_px) / NYU_CAMERA.fy_px).astype(
        np.float32
    )
    return np.asarray(np.float32(rng.uniform(*WALL_MM)) / (1 + x + y))
