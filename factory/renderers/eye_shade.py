"""Shades scenes: skin, lids, eyeball, iris, pupil, glints and hairs, in one of two looks.

All fields are float32 over (n, height, width), linear light; edges are softened over one
pixel from signed distances, so nothing is supersampled. The lids are drawn as the projections
of the three-dimensional lid curves: what lies between them is eye, the rest is skin.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from factory.renderers.eye_hair import hairs_of
from factory.renderers.eye_scene import (
    EYEBALL_MM,
    INNER_X,
    OUTER_X,
    Landmarks,
    Lids,
    Scenes,
    View,
    iris_axes,
    people,
)
from factory.renderers.eye_texture import (
    NUM_SKINS,
    SKIN_MM,
    TILE,
    VEIN_MM,
    Field,
    iris_tile,
    sample,
    skin_tile,
    vein_tile,
)

Look = Literal["render", "camera"]
_IRIS_RGB = np.array(
    [[0.085, 0.040, 0.020], [0.035, 0.018, 0.012], [0.14, 0.075, 0.025], [0.10, 0.072, 0.03],
     [0.075, 0.090, 0.045], [0.11, 0.125, 0.135], [0.075, 0.115, 0.16]], np.float32
)  # fmt: skip
_BACKGROUND = 0.14


@dataclass(frozen=True)
class _Finish:
    """What the two looks do differently with one scene; geometry is not among it."""

    sclera: float
    """reflectance of the sclera"""
    sclera_red: float
    """reddening towards the corners, and vessels"""
    lid_shadow: float
    """how dark the upper lid's shadow on the eyeball is"""
    lid_shadow_mm: float
    grain: float
    """pores, wrinkles and blotches"""
    glint: float
    hair: float
    relief: float
    """depth of folds and sockets"""
    limbus_mm: float
    """softness of the iris border"""


_FINISH: dict[Look, _Finish] = {
    "render": _Finish(0.74, 0.12, 0.35, 0.9, 0.035, 0.25, 0.7, 0.8, 0.15),
    "camera": _Finish(0.50, 0.42, 0.70, 2.2, 0.11, 1.6, 0.95, 1.25, 0.55),
}


def _field(values: npt.ArrayLike) -> Field:
    return np.asarray(values, np.float32)


def _over(values: npt.ArrayLike) -> Field:
    """(n,) numbers, ready to broadcast over (n, height, width)."""
    return _field(values)[:, None, None]


def _ramp(field: Field) -> Field:
    """Clip to [0, 1]: the edge of a shape from its signed distance in pixels."""
    return _field(np.clip(field + np.float32(0.5), 0, 1))


def _bump(distance: Field, width: float) -> Field:
    """exp(-(d / w)^2)."""
    return _field(np.exp(-np.square(distance * np.float32(1 / width))))


def _step(field: Field) -> Field:
    """A soft step from 0 to 1 around 0, algebraic: x / (1 + |x|)."""
    return _field(np.float32(0.5) + np.float32(0.5) * field / (1 + np.abs(field)))


@dataclass(frozen=True)
class _Grid:
    """Where the pixels are. x: (n, 1, w), y: (n, h, 1), millimetres, y up."""

    x: Field
    y: Field
    px_per_mm: Field
    above: dict[str, Field]
    """(n, 1, w) height of each lid curve over every column"""
    steep: dict[str, Field]
    """(n, 1, w) cosine of its slope: turns vertical distances into true ones"""

    def over(self, name: str) -> Field:
        """(n, h, w) signed distance above a lid curve, mm."""
        return _field((self.y - self.above[name]) * self.steep[name])

    def box(self, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]) -> "_Grid":
        """The same grid on boxes: rows (n, h'), cols (n, w') index it."""
        each = np.arange(len(rows))[:, None]

        def columns(field: Field) -> Field:
            return _field(field[each, 0, cols])[:, None]

        return _Grid(
            columns(self.x),
            self.y[each, rows],
            self.px_per_mm,
            {name: columns(field) for name, field in self.above.items()},
            {name: columns(field) for name, field in self.steep.items()},
        )


def _grid(lids: Lids, view: View) -> _Grid:
    columns = np.arange(view.width)
    above: dict[str, Field] = {}
    steep: dict[str, Field] = {}
    x = (columns - view.centre_px[:, :1]) / view.px_per_mm[:, None]
    y = (view.centre_px[:, 1:] - np.arange(view.height)) / view.px_per_mm[:, None]
    t = (1 - np.cos(np.linspace(0, np.pi, 48))) / 2
    for name in lids.heights:
        points = lids.curve(name, t)[..., :2]
        # beyond the corners the margins cross, so that the opening ends there
        fall = -8.0 if name == "lower" else -60.0
        before, after = points[:, :1] + [[-80.0, fall]], points[:, -1:] + [[80.0, fall]]
        points = np.concatenate([before, points, after], 1)
        rise = np.diff(points, axis=1)
        slope = rise[..., 1] / np.maximum(rise[..., 0], 1e-3)
        middle = (points[:, 1:, 0] + points[:, :-1, 0]) / 2
        heights = [np.interp(x[i], points[i, :, 0], points[i, :, 1]) for i in range(len(x))]
        slopes = [np.interp(x[i], middle[i], np.clip(slope[i], -1.3, 1.3)) for i in range(len(x))]
        above[name] = np.array(heights, np.float32)[:, None]
        steep[name] = _field(1 / np.sqrt(1 + np.array(slopes, np.float32) ** 2))[:, None]
    return _Grid(_field(x)[:, None], _field(y)[:, :, None], _over(view.px_per_mm), above, steep)


def shade(lids: Lids, landmarks: Landmarks, view: View, look: Look) -> Field:
    """Draw n scenes.

    Args:
        lids, landmarks: of the scenes (`lids_of`, `landmarks_of`).
        view: where on the picture; a full picture or a crop.
        look: `render` is clean, crisp and evenly lit with a bright plain sclera; `camera` has
            a shaded and reddened sclera, the upper lid's shadow on it, strong glints and rough
            skin. Sensor effects come later (`eye_camera`).

    Returns:
        (n, height, width, 3) float32, linear light, about [0, 1].
    """
    finish = _FINISH[look]
    grid = _grid(lids, view)
    picture, face = _skin(lids, grid, finish)
    rows, cols = _eye_boxes(view)
    each = np.arange(len(rows))[:, None, None]
    place = each, rows[:, :, None], cols[:, None]
    boxed = grid.box(rows, cols)
    inside = np.minimum(-boxed.over("upper"), boxed.over("lower"))
    cover = _ramp(inside * boxed.px_per_mm)[..., None]
    picture[place] += (_eye(lids.scenes, landmarks, boxed, finish) - picture[place]) * cover
    picture *= (1 - finish.hair * hairs_of(lids, view))[..., None]
    exposure = lids.scenes.exposure[:, None] * lids.scenes.tint
    picture *= exposure[:, None, None].astype(np.float32)
    picture -= np.float32(_BACKGROUND)
    picture *= face[..., None]
    picture += np.float32(_BACKGROUND)
    return picture


def _eye_boxes(view: View) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(n, h') rows and (n, w') columns around each eye, of one size for all n."""
    reach = np.array([27.0, 36.0]) * view.px_per_mm.max()
    size = np.minimum(np.ceil(reach).astype(np.int64), [view.height, view.width])
    corner = np.rint(view.centre_px[:, ::-1] - size / 2).astype(np.int64)
    corner = np.clip(corner, 0, np.array([view.height, view.width]) - size)
    return corner[:, :1] + np.arange(size[0]), corner[:, 1:] + np.arange(size[1])


def _lit(scenes: Scenes, cosine: Field, wrap: float) -> Field:
    """Ambient and key light on a surface, by the cosine of its normal to the key light."""
    key = np.maximum(cosine + np.float32(wrap), 0) * _over(scenes.light_intensity / (1 + wrap))
    return _field(key + _over(scenes.ambient))


def _skin(lids: Lids, grid: _Grid, finish: _Finish) -> tuple[Field, Field]:
    """(n, h, w, 3) skin as if there were no opening, and (n, h, w) where the face is."""
    scenes = lids.scenes
    crowd = people(scenes.population)
    corners = lids.curve("upper", np.array([0.0, 1.0]))
    across = (OUTER_X - INNER_X) / (corners[:, 1, 0] - corners[:, 0, 0])
    x = (grid.x - _over(corners[:, 0, 0])) * _over(across) + np.float32(INNER_X)
    level = corners[:, :, 1].mean(1)
    y = (grid.y - _over(level)) / _over(np.cos(np.radians(scenes.head_deg[:, 0])))
    upper, lower = grid.over("upper"), -grid.over("lower")
    crease, bag = grid.over("crease"), grid.over("bag")
    along = np.clip((x - INNER_X) / (OUTER_X - INNER_X), 0, 1)
    fold = 1 - np.square(1 - np.sin(along * np.float32(np.pi)))

    beyond = np.maximum(np.maximum(INNER_X - x, x - OUTER_X), 0)
    near = _bump(beyond, 3.0)
    fold_line = _bump(crease, 0.75) * fold * near
    bag_line = _bump(bag, 1.3) * fold * near
    brow_y = _over(crowd.brow_mm[scenes.person]) + 1 - np.float32(0.007) * np.square(x - 3)
    height = 6 * _bump(x, 13) * _bump(y - 1, 13)
    height += 4.5 * _bump(y - brow_y, 9) + 3 / (1 + np.exp((y + 15) / 4))
    nose = x + np.float32(19)
    height += 0.3 * (np.sqrt(np.square(nose) + 16) - nose)
    height -= 0.010 * np.square(np.maximum(x - 10, 0))
    height += finish.relief * (1.6 * _step(crease / 0.5) * _bump(crease, 4) * fold - 0.5 * bag_line)

    normal = _normals(height, grid.px_per_mm[:, 0, 0], across)
    light = np.einsum("nji,nj->ni", lids.rotation, scenes.light)
    cosine = sum(_over(light[:, axis]) * normal[axis] for axis in range(3))
    shade = _lit(scenes, np.asarray(cosine, np.float32), 0.25)

    socket = _bump(x + 16, 6) * _bump(y - 3, 8) + 0.25 * _bump(y - brow_y + 8, 5) * _bump(x, 20)
    dark = 1 - np.float32(0.30 * finish.relief) * socket
    dark *= 1 - np.float32(0.50 * finish.relief) * fold_line
    dark *= 1 - np.float32(0.12 * finish.relief) * bag_line
    dark *= 1 - np.float32(0.65) * near * np.exp(np.abs(upper) / np.float32(-0.55))
    dark *= 1 - np.float32(0.18) * near * _bump(lower - 1.6, 0.8)
    shade *= dark

    grain, blotch = _skin_texture(scenes, x, y)
    rough = finish.grain * (0.4 + crowd.roughness[scenes.person])
    shade *= 1 + _over(rough) * (grain + 0.3 * blotch)
    red = 0.10 * _bump(lower - 0.5, 1.1) + 0.06 * np.exp(np.abs(upper) / np.float32(-4))
    red = red * near + np.float32(0.012) * blotch
    rim = 0.16 * _bump(lower - 0.45, 0.45) * near
    tone = crowd.skin_rgb[scenes.person]
    picture = np.empty((*shade.shape, 3), np.float32)
    for channel, redden in enumerate((0.6, -2.0, -1.6)):
        picture[..., channel] = shade * (
            _over(tone[:, channel]) * (1 + np.float32(redden) * red) + rim
        )
    outside = np.square((x - 5) / 43) ** 2 + np.square((y - 1) / np.float32(29)) ** 2
    return picture, _ramp((1 - outside) * 7 * grid.px_per_mm)


def _normals(height: Field, px_per_mm: Field, across: npt.NDArray[np.float64]) -> list[Field]:
    """Three (n, h, w) components, head frame, of a relief that rises towards the camera."""
    scale = px_per_mm[:, None, None] / 2
    dx, dy = np.zeros_like(height), np.zeros_like(height)
    dx[:, :, 1:-1] = (height[:, :, 2:] - height[:, :, :-2]) * (scale / _over(across))
    dy[:, 1:-1] = (height[:, :-2] - height[:, 2:]) * scale
    dx[:, :, 0], dx[:, :, -1] = dx[:, :, 1], dx[:, :, -2]
    dy[:, 0], dy[:, -1] = dy[:, 1], dy[:, -2]
    length = 1 / np.sqrt(1 + np.square(dx) + np.square(dy))
    return [-dx * length, -dy * length, -length]


def _skin_texture(scenes: Scenes, x: Field, y: Field) -> tuple[Field, Field]:
    """(n, h, w) pores and blotches of each person's skin."""
    code = NUM_SKINS if scenes.population == "camera" else 0
    scale = np.float32(TILE / SKIN_MM)
    shape = (y.shape[1], x.shape[2])
    found = np.empty((len(scenes), *shape, 2), np.float32)
    for i, person in enumerate(scenes.person):
        col = np.broadcast_to(x[i] * scale + np.float32(31 * person), shape)
        row = np.broadcast_to(-y[i] * scale, shape)
        found[i] = sample(skin_tile(code + int(person) % NUM_SKINS), np.ascontiguousarray(col),
                          np.ascontiguousarray(row))  # fmt: skip
    return found[..., 0], found[..., 1]


def _eye(scenes: Scenes, landmarks: Landmarks, grid: _Grid, finish: _Finish) -> Field:
    """(n, h, w, 3) eyeball and caruncle, as if there were no lids."""
    x, y = grid.x, grid.y
    light, gaze = scenes.light, scenes.gaze
    radius2 = np.square(x) + np.square(y)
    depth = np.sqrt(np.maximum(EYEBALL_MM**2 - radius2, 4.0))
    towards = x * _over(light[:, 0]) + y * _over(light[:, 1]) - depth * _over(light[:, 2])
    ball = _lit(scenes, towards / np.float32(EYEBALL_MM), 0.45)

    under = -grid.over("upper")
    over_lower = grid.over("lower")
    shadow = np.float32(finish.lid_shadow) * np.exp(
        -np.maximum(under, 0) / np.float32(finish.lid_shadow_mm)
    )
    shadow = 1 - shadow
    shadow *= 1 - 0.25 * np.exp(-np.maximum(over_lower, 0) / 0.6)
    side = np.square(x / 13.5)
    shadow *= 1 - np.float32(0.45) * np.clip(side, 0, 1.3) ** 2

    veins = _veins(scenes, x, y)
    red = np.float32(finish.sclera_red) * (0.25 + np.clip(side, 0, 1)) * (0.35 + 0.9 * veins)
    nook = landmarks.caruncle.mean(1)
    from_nook = np.square((x - _over(nook[:, 0])) / 1.4) + np.square(y - _over(nook[:, 1]))
    flesh = _ramp((np.float32(2.1) - np.sqrt(from_nook)) * np.float32(0.9))
    rho, angle, iris_edge, pupil_edge = _iris_fields(scenes, landmarks, grid, finish)
    iris_shade, fibres = _iris_texture(scenes, rho, angle)
    facing = 1 + 0.35 * (np.cos(angle) * _over(-light[:, 0]) + np.sin(angle) * _over(-light[:, 1]))
    iris_light = (0.45 * ball + 0.3) * shadow * iris_shade * facing
    glint = np.float32(finish.glint) * _glints(scenes, gaze, grid, finish)
    shadowed = ball * shadow

    colour = _IRIS_RGB[people(scenes.population).iris[scenes.person]]
    picture = np.empty((*shadowed.shape, 3), np.float32)
    for channel, (redden, pink) in enumerate(((0.15, 0.62), (0.85, 0.33), (0.75, 0.28))):
        white = np.float32(finish.sclera) * (1 - np.float32(redden) * red)
        white += (pink - white) * flesh
        surface = shadowed * white
        iris = iris_light * (_over(colour[:, channel]) * (1 + fibres))
        surface += (iris - surface) * iris_edge
        surface += (np.float32(0.006) - surface) * pupil_edge
        picture[..., channel] = surface + glint * _over(scenes.light_intensity)
    return picture


def _veins(scenes: Scenes, x: Field, y: Field) -> Field:
    """(n, h, w) in [0, 1]; the vessels turn with the eyeball."""
    found = np.empty((len(scenes), y.shape[1], x.shape[2]), np.float32)
    scale = np.float32(TILE / VEIN_MM)
    shift = scenes.gaze[:, :2] * EYEBALL_MM
    for i in range(len(scenes)):
        col = np.broadcast_to((x[i] - np.float32(shift[i, 0])) * scale, found.shape[1:])
        row = np.broadcast_to((y[i] - np.float32(shift[i, 1])) * scale, found.shape[1:])
        found[i] = sample(vein_tile(int(scenes.person[i]) % 8), np.ascontiguousarray(col),
                          np.ascontiguousarray(row))  # fmt: skip
    return found


def _iris_fields(
    scenes: Scenes, landmarks: Landmarks, grid: _Grid, finish: _Finish
) -> tuple[Field, Field, Field, Field]:
    """Over the iris plane: relative radius, angle, and the cover of iris and of pupil."""
    right, up = iris_axes(scenes)

    def plane(centre: npt.NDArray[np.float64]) -> tuple[Field, Field, Field]:
        """Coordinates in the plane, mm, and how many of its mm one picture mm spans."""
        det = right[:, 0] * up[:, 1] - right[:, 1] * up[:, 0]
        dx, dy = grid.x - _over(centre[:, 0]), grid.y - _over(centre[:, 1])
        u = dx * _over(up[:, 1] / det) - dy * _over(up[:, 0] / det)
        v = dy * _over(right[:, 0] / det) - dx * _over(right[:, 1] / det)
        r = np.sqrt(np.square(u) + np.square(v)) + np.float32(1e-4)
        gx = u * _over(up[:, 1] / det) - v * _over(right[:, 1] / det)
        gy = v * _over(right[:, 0] / det) - u * _over(up[:, 0] / det)
        return np.arctan2(v, u), r, np.sqrt(np.square(gx) + np.square(gy)) / r

    angle, r, stretch = plane(landmarks.iris.mean(1))
    limbus = (_over(scenes.iris_mm) - r) / stretch
    soft = np.maximum(1 / grid.px_per_mm, np.float32(finish.limbus_mm))
    iris_edge = _ramp(_field(limbus / soft))
    _, pupil_r, pupil_stretch = plane(landmarks.pupil)
    pupil_edge = _ramp((_over(scenes.pupil_mm) - pupil_r) / pupil_stretch * grid.px_per_mm)
    return r / _over(scenes.iris_mm), angle, iris_edge, pupil_edge


def _iris_texture(scenes: Scenes, rho: Field, angle: Field) -> tuple[Field, Field]:
    """(n, h, w) brightness by radius (a dark limbal ring) and fibres around 0."""
    fibres = np.empty_like(rho)
    col = angle * np.float32(512 / (2 * np.pi))
    row = np.minimum(rho, 1) * np.float32(63)
    kinds = people(scenes.population).iris[scenes.person]
    for i, kind in enumerate(kinds):
        fibres[i] = sample(iris_tile(int(kind)),
                           col[i], row[i])  # fmt: skip
    ring = np.clip((rho - np.float32(0.78)) * 4.5, 0, 1)
    return 1.35 - 0.95 * ring * ring * (3 - 2 * ring), np.float32(0.45) * fibres


def _glints(scenes: Scenes, gaze: npt.NDArray[np.float64], grid: _Grid, finish: _Finish) -> Field:
    """(n, h, w) reflections of the key light, and of a screen, on the cornea."""
    centre = gaze * 5.7
    dx, dy = grid.x - _over(centre[:, 0]), grid.y - _over(centre[:, 1])
    bulge = np.square(dx) + np.square(dy)
    on_cornea = np.clip((_over(scenes.iris_mm + 0.3) ** 2 - np.square(grid.x - _over(
        gaze[:, 0] * 10.4)) - np.square(grid.y - _over(gaze[:, 1] * 10.4))) / 8, 0, 1)  # fmt: skip
    found = np.zeros_like(bulge)
    lamps = [(scenes.light, 0.36, 0.5, 1.0)]
    if finish.glint > 1:
        screen = scenes.light * [0.25, 0.15, 0.3] + [0.0, -0.05, -1.0]
        lamps.append((screen / np.linalg.norm(screen, axis=-1, keepdims=True), 0.4, 0.25, 0.25))
    for towards, wide, high, strength in lamps:
        half = towards + np.array([0.0, 0.0, -1.0])
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        a = np.abs(dx - _over(half[:, 0] * 7.8)) - np.float32(wide)
        b = np.abs(dy - _over(half[:, 1] * 7.8)) - np.float32(high)
        found += np.float32(strength) * _ramp(np.maximum(a, b) * -grid.px_per_mm)
    return _field(found * on_cornea)
