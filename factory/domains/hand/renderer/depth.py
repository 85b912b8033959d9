"""Depth pictures of bodies made of spheres: analytic ray casting, one ray a pixel centre.

A body is the union of spheres and of the convex hulls of two ("round cones") or three
("wedges") of them: the sphere-meshes of Tkach, Pauly and Tagliasacchi 2016 ("Sphere-meshes for
real-time hand modeling and tracking"). Every surface is a sphere, a cone or a plane, so that
the nearest hit of a ray is the root of a quadratic or linear equation.

Points are in the camera frame (x right, y down, z away), mm. A ray is t (x, y, 1): t is depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """One union of spheres, cones and wedges."""

    centres: Array
    """(k, 3) mm, in front of the camera with their whole radius"""
    radii: Array
    """(k,) mm, positive"""
    pairs: npt.NDArray[np.intp]
    """(p, 2) numbers of the spheres that a round cone joins"""
    triples: npt.NDArray[np.intp]
    """(q, 3) numbers of the spheres that a wedge joins; its edges are among the pairs"""


def cast(body: Body) -> Array:
    """Depth of the nearest surface, (480, 640) mm; infinite where there is none.

    Raises:
        ValueError: a part of the body is not in front of the camera.
    """
    if not (body.centres[:, 2] > body.radii).all():
        raise ValueError("a hand must lie in front of the camera as a whole")
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
    """The rays through a box of pixels, and the depths found there so far."""

    depth: Array
    """(h, w), a view of the picture"""
    x: Array
    """(1, w)"""
    y: Array
    """(h, 1)"""

    def dot(self, vector: Array) -> Array:
        return np.asarray((self.x * vector[0] + vector[2]) + self.y * vector[1])

    def squared(self) -> Array:
        return np.asarray((self.x**2 + 1) + self.y**2)

    def nearer(self, found: Array | None) -> None:
        if found is not None:
            np.minimum(self.depth, found, out=self.depth)


def _all_rays(depth: Array, low: Array, high: Array) -> Iterator[tuple[_Rays, int]]:
    """For each box, low to high (n, 2) u and v, of which some of the picture holds a part."""
    size = [NYU_WIDTH_PX, NYU_HEIGHT_PX]
    first = np.clip(np.ceil(low), 0, size).astype(int).tolist()
    last = np.clip(np.floor(high) + 1, 0, size).astype(int).tolist()
    x = (np.arange(NYU_WIDTH_PX, dtype=np.float64)[None] - NYU_CAMERA.cx_px) / NYU_CAMERA.fx_px
    y = (np.arange(NYU_HEIGHT_PX, dtype=np.float64)[:, None] - NYU_CAMERA.cy_px) / NYU_CAMERA.fy_px
    for k, ((left, top), (right, bottom)) in enumerate(zip(first, last, strict=True)):
        if left < right and top < bottom:
            yield _Rays(depth[top:bottom, left:right], x[:, left:right], y[top:bottom]), k


def _boxes(body: Body) -> tuple[Array, Array]:
    """(k, 2) least and greatest u, v of every sphere: where planes through the camera touch it."""
    z, r = body.centres[:, 2:], body.radii[:, None]
    side = body.centres[:, :2]
    reach = r * np.sqrt(side**2 + z**2 - r**2)
    slopes = np.stack([side * z - reach, side * z + reach]) / (z**2 - r**2)
    low, high = slopes * [NYU_CAMERA.fx_px, NYU_CAMERA.fy_px] + [NYU_CAMERA.cx_px, NYU_CAMERA.cy_px]
    return low, high


def _sphere(rays: _Rays, centre: Array, radius: float) -> Array:
    along, square = rays.dot(centre), rays.squared()
    under = along**2 - square * (centre @ centre - radius**2)
    hit = (along - np.sqrt(np.maximum(under, 0))) / square
    return np.where(under >= 0, hit, np.inf)


def _cone(rays: _Rays, centres: Array, radii: Array) -> Array | None:
    """The lateral surface, between the circles in which it touches both spheres.

    At y along the axis from the first centre the surface is as far from the axis as
    (r - y sin) / cos, where the sine is that of the slope. None where a sphere holds the other.
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
        hit = (-half_b - np.sqrt(np.maximum(under, 0))) / a  # where a ray enters, whatever a's sign
        y = hit * along - offset
        good = (under >= 0) & (y >= r * sine) & (y <= length + float(radii[1]) * sine)
    return np.where(good, hit, np.inf)


def _plane(rays: _Rays, centres: Array, radii: Array) -> Array | None:
    """The triangle of the tangent plane that faces the camera. None where there is none."""
    edges = centres[1:] - centres[0]
    cross = _cross(edges[0], edges[1])
    size2 = float(cross @ cross)
    if size2 < 1e-6 * float((edges**2).sum()) ** 2:
        return None
    # In the plane of the centres, as steep along each edge as the radii change: least norm.
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
        found = np.where(_inside(rays, hit, corners), hit, np.inf)
        best = found if best is None else np.minimum(best, found)
    return best


def _inside(rays: _Rays, hit: Array, corners: Array) -> npt.NDArray[np.bool_]:
    """Whether the points hit lie in a triangle of their plane: the ray passes all its sides."""
    signs = [rays.dot(_cross(corners[k - 1], corners[k])) for k in range(3)]
    one = (signs[0] >= 0) & (signs[1] >= 0) & (signs[2] >= 0)
    other = (signs[0] <= 0) & (signs[1] <= 0) & (signs[2] <= 0)
    return np.asarray((one | other) & (hit > 0))


def _cross(a: Array, b: Array) -> Array:
    """Of two (3,) vectors; numpy's own is made for many and slow for two."""
    (p, q, r), (s, t, u) = a.tolist(), b.tolist()
    return np.array([q * u - r * t, r * s - p * u, p * t - q * s])
