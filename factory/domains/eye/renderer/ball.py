"""Shading of what lies between the lids: eyeball, caruncle, iris, pupil and reflections.

Shapes in docstrings: n scenes, h x w pixels.
"""

import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.grid import (
    Grid,
    field,
    lit,
    ramp,
    spread,
)
from factory.domains.eye.renderer.look import Finish
from factory.domains.eye.renderer.scene import (
    EYEBALL_MM,
    Landmarks,
    Scenes,
    iris_axes,
    people,
)
from factory.domains.eye.renderer.texture import (
    VEIN_MM,
    Field,
    iris_tile,
    sample,
    spread_tile,
    vein_tile,
)

_IRIS_RGB = np.array(
    [[0.085, 0.040, 0.020], [0.035, 0.018, 0.012], [0.14, 0.075, 0.025], [0.10, 0.072, 0.03],
     [0.075, 0.090, 0.045], [0.11, 0.125, 0.135], [0.075, 0.115, 0.16]], np.float32
)  # fmt: skip


def eyeball_of(scenes: Scenes, landmarks: Landmarks, grid: Grid, finish: Finish) -> Field:
    """(n, 3, h, w) linear light of eyeball and caruncle, as if there were no lids."""
    x, y = grid.x, grid.y
    light, gaze = scenes.light, scenes.gaze
    radius2 = np.square(x) + np.square(y)
    depth = np.sqrt(np.maximum(EYEBALL_MM**2 - radius2, 4.0))
    towards = x * spread(light[:, 0]) + y * spread(light[:, 1]) - depth * spread(light[:, 2])
    ball = lit(scenes, towards / np.float32(EYEBALL_MM), 0.45)

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
    from_nook = np.square((x - spread(nook[:, 0])) / 1.4) + np.square(y - spread(nook[:, 1]))
    flesh = ramp((np.float32(2.1) - np.sqrt(from_nook)) * np.float32(0.9))
    rho, angle, iris_edge, pupil_edge = _iris_fields(scenes, landmarks, grid, finish)
    iris_shade, fibres = _iris_texture(scenes, rho, angle)
    facing = 1 + 0.35 * (
        np.cos(angle) * spread(-light[:, 0]) + np.sin(angle) * spread(-light[:, 1])
    )
    iris_light = (0.45 * ball + 0.3) * shadow * iris_shade * facing
    glint = np.float32(finish.glint) * _glints(scenes, gaze, grid, finish)
    shadowed = ball * shadow
    # An overcast sky has no lamp that could be reflected.
    flash = spread(scenes.light_intensity * np.where(scenes.sky == 0, 0.15, 1.0))

    colour = _IRIS_RGB[people(scenes.population).iris[scenes.person]]
    picture = np.empty((len(scenes), 3, *shadowed.shape[1:]), np.float32)
    for channel, (redden, pink) in enumerate(((0.15, 0.62), (0.85, 0.33), (0.75, 0.28))):
        white = np.float32(finish.sclera) * (1 - np.float32(redden) * red)
        white += (pink - white) * flesh
        surface = shadowed * white
        iris = iris_light * (spread(colour[:, channel]) * (1 + fibres))
        surface += (iris - surface) * iris_edge
        surface += (np.float32(0.006) - surface) * pupil_edge
        picture[:, channel] = surface + glint * flash
    return picture


def _veins(scenes: Scenes, x: Field, y: Field) -> Field:
    """(n, h, w) cover of blood vessels in [0, 1]; the vessels turn with the eyeball."""
    cover = np.empty((len(scenes), y.shape[1], x.shape[2]), np.float32)
    shift = (scenes.gaze[:, :2] * EYEBALL_MM).astype(np.float32)
    for i, person in enumerate(scenes.person):
        tile = vein_tile(int(person) % 8)
        cover[i] = spread_tile(tile, VEIN_MM, x[i, 0] - shift[i, 0], y[i, :, 0] - shift[i, 1])
    return cover


def _iris_fields(
    scenes: Scenes, landmarks: Landmarks, grid: Grid, finish: Finish
) -> tuple[Field, Field, Field, Field]:
    """Four (n, h, w) fields in the plane of the iris.

    Returns:
        The radius as a share of the iris radius, the angle in radians, and the cover of the iris
        and of the pupil in [0, 1].
    """
    right, up = iris_axes(scenes)
    det = right[:, 0] * up[:, 1] - right[:, 1] * up[:, 0]
    ux, uy = up[:, 1] / det, -up[:, 0] / det
    vx, vy = -right[:, 1] / det, right[:, 0] / det
    centre = landmarks.iris.mean(1)
    dx, dy = grid.x - spread(centre[:, 0]), grid.y - spread(centre[:, 1])
    u = dx * spread(ux) + dy * spread(uy)
    v = dx * spread(vx) + dy * spread(vy)
    r = np.sqrt(np.square(u) + np.square(v)) + np.float32(1e-4)
    # By how much distances from the centre grow from the picture to the plane of the iris.
    along_x = u * spread(ux) + v * spread(vx)
    along_y = u * spread(uy) + v * spread(vy)
    stretch = np.sqrt(np.square(along_x) + np.square(along_y)) / r
    soft = np.maximum(1 / grid.px_per_mm, np.float32(finish.limbus_mm))
    iris_edge = ramp(field((spread(scenes.iris_mm) - r) / (stretch * soft)))
    off = landmarks.pupil - centre
    u_off = spread(off[:, 0] * ux + off[:, 1] * uy)
    v_off = spread(off[:, 0] * vx + off[:, 1] * vy)
    from_pupil = np.sqrt(np.square(u - u_off) + np.square(v - v_off))
    pupil_edge = ramp((spread(scenes.pupil_mm) - from_pupil) / stretch * grid.px_per_mm)
    angle = np.arctan2(v, u)
    return r / spread(scenes.iris_mm), angle, iris_edge, pupil_edge


def _iris_texture(scenes: Scenes, rho: Field, angle: Field) -> tuple[Field, Field]:
    """(n, h, w) brightness, which falls to a dark ring at the limbus, and (n, h, w) fibres of mean
    0."""
    fibres = np.empty_like(rho)
    col = angle * np.float32(512 / (2 * np.pi))
    row = np.minimum(rho, 1) * np.float32(63)
    kinds = people(scenes.population).iris[scenes.person]
    for i, kind in enumerate(kinds):
        fibres[i] = sample(iris_tile(int(kind)),
                           col[i], row[i])  # fmt: skip
    ring = np.clip((rho - np.float32(0.78)) * 4.5, 0, 1)
    return 1.35 - 0.95 * ring * ring * (3 - 2 * ring), np.float32(0.45) * fibres


def _glints(scenes: Scenes, gaze: npt.NDArray[np.float64], grid: Grid, finish: Finish) -> Field:
    """(n, h, w) reflections of the key light and of a screen on the cornea, 0 or larger."""
    centre = gaze * 5.7
    dx, dy = grid.x - spread(centre[:, 0]), grid.y - spread(centre[:, 1])
    bulge = np.square(dx) + np.square(dy)
    on_cornea = np.clip((spread(scenes.iris_mm + 0.3) ** 2 - np.square(grid.x - spread(
        gaze[:, 0] * 10.4)) - np.square(grid.y - spread(gaze[:, 1] * 10.4))) / 8, 0, 1)  # fmt: skip
    brightness = np.zeros_like(bulge)
    lamps = [(scenes.light, 0.36, 0.5, 1.0)]
    if finish.glint > 1:
        screen = scenes.light * [0.25, 0.15, 0.3] + [0.0, -0.05, -1.0]
        lamps.append((screen / np.linalg.norm(screen, axis=-1, keepdims=True), 0.4, 0.25, 0.25))
    for towards, wide, high, strength in lamps:
        half = towards + np.array([0.0, 0.0, -1.0])
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        a = np.abs(dx - spread(half[:, 0] * 7.8)) - np.float32(wide)
        b = np.abs(dy - spread(half[:, 1] * 7.8)) - np.float32(high)
        brightness += np.float32(strength) * ramp(np.maximum(a, b) * -grid.px_per_mm)
    return field(brightness * on_cornea)
