"""Depth pictures of bodies made of spheres, by analytic ray casting with one ray per pixel.

A body is a sphere-mesh (Tkach, Pauly and Tagliasacchi 2016, "Sphere-meshes for real-time hand
modeling and tracking"): the union of spheres and of the convex hulls of two ("round cones") or
three ("wedges") of them. Every surface is a part of a sphere, a cone or a plane, so the nearest hit
of a ray is the root of a quadratic or linear equation.

Points are in the camera frame (x right, y down, z away), mm. A ray consists of the points
t (x, y, 1), so t is depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A union of spheres, round cones and wedges."""

    centres: Array
    """(k, 3) centres of the spheres, mm; the spheres lie wholly in front of the camera"""
    radii: Array
    """(k,) radii of the spheres, mm, positive"""
    pairs: npt.NDArray[np.intp]
    """(p, 2) numbers of the spheres that each round cone joins"""
    triples: npt.NDArray[np.intp]
    """(q, 3) numbers of the spheres that each wedge joins; its edges are among the pairs"""


def cast(body: Body) -> Array:
    """Draw a body for the camera of the NYU set.

    Returns:
        (480, 640) depth of the nearest surface in mm; infinite where there is none.

    Raises:
        ValueError: a part of the body is not in front of the camera.
    """
    if not (body.centres[:, 2] > body.radii).all():
        raise ValueError("all of a hand must lie in front of the camera")
    depth = np.full((NYU_HEIGHT_PX, NYU_WIDTH_PX), np.inf)
    low, high = _boxes(body)
    for rays, k in _all_rays(depth, low, high):
        rays.nearer(_sphere(rays, body.centres[k], float(body.radii[k])))
    for numbers, surface in ((body.pairs, _cone), (body.triples, _plane)):
        for rays, k in _all_rays(depth, low[numbers].min(1), high[numbers].max(1)):
            chosen = numbers[k]
            rays.nearer(surface(rays, body.centres[chosen], body.radii[chosen]))
    return depth


@dataclass(frozen=True)
class _Rays:
    """The rays (x, y, 1) through a box of pixels, and the smallest depth along each so far."""

    depth: Array
    """(h, w), a view of the picture"""
    x: Array
    """(1, w)"""
    y: Array
    """(h, 1)"""

    def dot(self, vector: Array) -> Array:
        """(h, w) scalar products with a (3,) vector."""
        return np.asarray((self.x * vector[0] + vector[2]) + self.y * vector[1])

    def squared(self) -> Array:
        """(h, w) squared lengths."""
        return np.asarray((self.x**2 + 1) + self.y**2)

    def nearer(self, depth: Array | None) -> None:
        """Take (h, w) depths of a surface into account; None stands for no surface."""
        if depth is not None:
            np.minimum(self.depth, depth, out=self.depth)


def _all_rays(depth: Array, low: Array, high: Array) -> Iterator[tuple[_Rays, int]]:
    """The rays of each box that overlaps the picture, and the number of the box.

    Args:
        depth: the picture.
        low, high: (n, 2) u and v of the corners of n boxes, px.
    """
    size = [NYU_WIDTH_PX, NYU_HEIGHT_PX]
    first = np.clip(np.ceil(low), 0, size).astype(int).tolist()
    last = np.clip(np.floor(high) + 1, 0, size).astype(int).tolist()
    x = (np.arange(NYU_WIDTH_PX, dtype=np.float64)[None] - NYU_CAMERA.cx_px) / NYU_CAMERA.fx_px
    y = (np.arange(NYU_HEIGHT_PX, dtype=np.float64)[:, None] - NYU_CAMERA.cy_px) / NYU_CAMERA.fy_px
    for k, ((left, top), (right, bottom)) in enumerate(zip(first, last, strict=True)):
        if left < right and top < bottom:
            yield _Rays(depth[top:bottom, left:right], x[:, left:right], y[top:bottom]), k


def _boxes(body: Body) -> tuple[Array, Array]:
    """(k, 2) least and (k, 2) greatest u and v of every sphere, px.

    There, planes through the camera's centre touch the sphere.
    """
    z, r = body.centres[:, 2:], body.radii[:, None]
    side = body.centres[:, :2]
    reach = r * np.sqrt(side**2 + z**2 - r**2)
    slopes = np.stack([side * z - reach, side * z + reach]) / (z**2 - r**2)
    low, high = slopes * [NYU_CAMERA.fx_px, NYU_CAMERA.fy_px] + [NYU_CAMERA.cx_px, NYU_CAMERA.cy_px]
    return low, high


def _sphere(rays: _Rays, centre: Array, radius: float) -> Array:
    """(h, w) depth of a sphere, infinite where rays miss it."""
    along, square = rays.dot(centre), rays.squared()
    under = along**2 - square * (centre @ centre - radius**2)
    hit = (along - np.sqrt(np.maximum(under, 0))) / square
    return np.where(under >= 0, hit, np.inf)


def _cone(rays: _Rays, centres: Array, radii: Array) -> Array | None:
    """(h, w) depth of a cone's lateral surface, between the circles where it touches its spheres.

    At a distance y from the first centre along the axis, the distance of the surface from the axis
    is (r - y sin a) / cos a, where a is the angle of its slope. None where one sphere contains the
    other.
    """
    axis = centres[1] - centres[0]
    length = float(np.linalg.norm(axis))
    sine = float(radii[0] - radii[1]) / length if length > 0 else 1.0
    if abs(sine) >= 1:
        return None
    axis, first, r = axis / length, centres[0], float(radii[0])
    cosine2 = 1 - sine**2
    offset = float(first @ axis)
    along = rays.dot(axis)
    a = cosine2 * rays.squared() - along**2
    half_b = along * (offset + r * sine) - cosine2 * rays.dot(first)
    c = cosine2 * float(first @ first) - (offset + r * sine) ** 2 + (r * sine) ** 2 - r**2
    under = half_b**2 - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = (-half_b - np.sqrt(np.maximum(under, 0))) / a  # the ray enters here for any sign of a
        y = hit * along - offset
        good = (under >= 0) & (y >= r * sine) & (y <= length + float(radii[1]) * sine)
    return np.where(good, hit, np.inf)


def _plane(rays: _Rays, centres: Array, radii: Array) -> Array | None:
    """(h, w) depth of the triangle in which a plane touches three spheres on the camera's side.

    None where no such plane exists or both planes face away.
    """
    edges = centres[1:] - centres[0]
    cross = _cross(edges[0], edges[1])
    size2 = float(cross @ cross)
    if size2 < 1e-6 * float((edges**2).sum()) ** 2:
        return None
    # The part of the normal in the plane of the centres: along each edge its scalar product is the
    # difference of the radii.
    flat = _cross(edges[1], cross) * (radii[0] - radii[1]) / size2
    flat += _cross(cross, edges[0]) * (radii[0] - radii[2]) / size2
    rest = 1 - float(flat @ flat)
    if rest <= 0:
        return None
    upright = cross * np.sqrt(rest / size2)
    best = None
    for normal in (flat + upright, flat - upright):
        corners = centres + radii[:, None] * normal
        if corners[0] @ normal >= 0:  # seen from behind
            continue
        hit = (corners[0] @ normal) / rays.dot(normal)
        hit_inside = np.where(_inside(rays, hit, corners), hit, np.inf)
        best = hit_inside if best is None else np.minimum(best, hit_inside)
    return best


def _inside(rays: _Rays, hit: Array, corners: Array) -> npt.NDArray[np.bool_]:
    """(h, w) whether rays hit a triangle: they pass all its sides in the same sense."""
    signs = [rays.dot(_cross(corners[k - 1], corners[k])) for k in range(3)]
    one = (signs[0] >= 0) & (signs[1] >= 0) & (signs[2] >= 0)
    other = (signs[0] <= 0) & (signs[1] <= 0) & (signs[2] <= 0)
    return np.asarray((one | other) & (hit > 0))


def _cross(a: Array, b: Array) -> Array:
    """The cross product of two (3,) vectors; `numpy.cross` is slow for single vectors."""
    (p, q, r), (s, t, u) = a.tolist(), b.tolist()
    return np.array([q * u - r * t, r * s - p * u, p * t - q * s])
