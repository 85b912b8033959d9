"""Shading of the skin around an eye: a relief with folds, and each person's texture."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.grid import (
    Boxes,
    Grid,
    bump,
    field,
    lit,
    ramp,
    spread,
    step,
)
from factory.domains.eye.renderer.look import Finish
from factory.domains.eye.renderer.scene import (
    INNER_X,
    OUTER_X,
    Lids,
    Scenes,
    people,
)
from factory.domains.eye.renderer.texture import (
    NUM_SKINS,
    SKIN_MM,
    Field,
    skin_tile,
    spread_tile,
)


def skin_of(lids: Lids, grid: Grid, boxes: Boxes, finish: Finish) -> tuple[Field, Field]:
    """The skin of n scenes, as if the lids were closed without a seam.

    Args:
        boxes: around the eyes; only in them are the folds of the lids computed.

    Returns:
        (n, 3, h, w) linear light, and (n, h, w) cover of the face in [0, 1].
    """
    scenes = lids.scenes
    crowd = people(scenes.population)
    corners = lids.curve("upper", np.array([0.0, 1.0]))
    across = (OUTER_X - INNER_X) / (corners[:, 1, 0] - corners[:, 0, 0])
    x = (grid.x - spread(corners[:, 0, 0])) * spread(across) + np.float32(INNER_X)
    level = corners[:, :, 1].mean(1)
    y = (grid.y - spread(level)) / spread(np.cos(np.radians(scenes.head_deg[:, 0])))
    folds = _folds(grid.box(boxes), field(x[np.arange(len(x))[:, None], 0, boxes.cols])[:, None])
    index = boxes.index()

    arch = y - (spread(crowd.brow_mm[scenes.person]) + 1 - np.float32(0.007) * np.square(x - 3))
    height = 6 * bump(x, 13) * bump(y - 1, 13)
    height += np.float32(4.5) * bump(arch, 9)
    nose = x + np.float32(19)
    height += (
        3 / (1 + np.exp((y + 15) / 4))
        + np.float32(0.3) * (np.sqrt(np.square(nose) + 16) - nose)
        - np.float32(0.010) * np.square(np.maximum(x - 10, 0))
    )
    height[index] += np.float32(finish.relief) * folds.relief

    light = np.einsum("nji,nj->ni", lids.rotation, scenes.light)
    shade = lit(scenes, _cosine(height, light, grid.px_per_mm, across), 0.25)
    socket = bump(x + 16, 6) * bump(y - 3, 8)
    socket += np.float32(0.25) * bump(arch + 8, 5) * bump(x, 20)
    shade *= 1 - np.float32(0.30 * finish.relief) * socket
    shade[index] *= folds.darkening(finish.relief)

    grain, blotch = _texture(scenes, x, y)
    rough = finish.grain * (0.4 + crowd.roughness[scenes.person])
    shade *= 1 + spread(rough) * (grain + np.float32(0.3) * blotch)
    red = np.float32(0.012) * blotch
    red[index] += folds.red
    tone = crowd.skin_rgb[scenes.person]
    picture = np.empty((len(scenes), 3, *shade.shape[1:]), np.float32)
    for channel, redden in enumerate((0.6, -2.0, -1.6)):
        rgb = picture[:, channel]
        np.multiply(red, np.float32(redden), out=rgb)
        rgb += 1
        rgb *= spread(tone[:, channel])
        rgb[index] += folds.rim
        rgb *= shade
    outside = np.square(np.square((x - 5) / 43)) + np.square(np.square((y - 1) / 29))
    return picture, ramp((1 - outside) * (7 * grid.px_per_mm))


@dataclass(frozen=True)
class _Folds:
    """The effects of the lids on the skin near the eye, (n, h', w') each."""

    relief: Field
    """height of the folds, mm"""
    crease: Field
    """cover of the crease above the upper lid, 0 to 1"""
    bag: Field
    """cover of the fold below the lower lid, 0 to 1"""
    margin: Field
    """factor on the light, smaller under the lashes and below the lower margin"""
    red: Field
    """reddening of the margins"""
    rim: Field
    """light that the wet margin of the lower lid reflects"""

    def darkening(self, strength: float) -> Field:
        """The factor on the light where folds are, for a look with this strength of relief."""
        dark = 1 - np.float32(0.36 * strength) * self.crease
        dark *= 1 - np.float32(0.12 * strength) * self.bag
        dark *= self.margin
        return field(dark)


def _folds(grid: Grid, x: Field) -> _Folds:
    """The folds in the boxes around the eyes.

    Args:
        grid: of the boxes.
        x: (n, 1, w') of the columns in the head frame, mm.
    """
    upper, lower = grid.over("upper"), -grid.over("lower")
    crease, bag = grid.over("crease"), grid.over("bag")
    along = np.clip((x - INNER_X) / (OUTER_X - INNER_X), 0, 1)
    fold = 1 - np.square(1 - np.sin(along * np.float32(np.pi)))
    start = np.clip(along * 5 - np.float32(0.5), 0, 1)
    outer = start * bump(np.maximum(x - OUTER_X, 0), 5.0)
    near = bump(np.maximum(np.maximum(INNER_X - x, x - OUTER_X), 0), 3.0)
    bag_line = bump(bag, 1.3) * fold * near
    margin = 1 - np.float32(0.65) * near * np.exp(np.abs(upper) / np.float32(-0.55))
    margin *= 1 - np.float32(0.18) * near * bump(lower - 1.6, 0.8)
    red = 0.10 * bump(lower - 0.5, 1.1) + 0.06 * np.exp(np.abs(upper) / np.float32(-3))
    return _Folds(
        relief=field(1.6 * step(crease / 0.5) * bump(crease, 3) * outer - 0.5 * bag_line),
        crease=field(bump(crease, 0.7) * outer),
        bag=field(bag_line),
        margin=field(margin),
        red=field(red * near),
        rim=field(0.16 * bump(lower - 0.45, 0.45) * near),
    )


def _cosine(
    height: Field,
    light: npt.NDArray[np.float64],
    px_per_mm: Field,
    across: npt.NDArray[np.float64],
) -> Field:
    """(n, h, w) cosine of the angle between the light and the normal of a relief.

    Args:
        height: (n, h, w) of the relief towards the camera, mm.
        light: (n, 3) unit vectors towards the light in the head frame.
        across: (n,) by how much x in the head frame is stretched.
    """
    scale = px_per_mm / 2
    dx, dy = np.empty_like(height), np.empty_like(height)
    np.subtract(height[:, :, 2:], height[:, :, :-2], out=dx[:, :, 1:-1])
    np.subtract(height[:, :-2], height[:, 2:], out=dy[:, 1:-1])
    dx[:, :, 0], dx[:, :, -1] = dx[:, :, 1], dx[:, :, -2]
    dy[:, 0], dy[:, -1] = dy[:, 1], dy[:, -2]
    dx *= scale / spread(across)
    dy *= scale
    length = np.sqrt(1 + np.square(dx) + np.square(dy))
    dx *= spread(-light[:, 0])
    dy *= spread(-light[:, 1])
    dx += dy
    dx -= spread(light[:, 2])
    dx /= length
    return dx


def _texture(scenes: Scenes, x: Field, y: Field) -> tuple[Field, Field]:
    """(n, h, w) pores, and (n, h, w) blotches, of each person's skin."""
    code = NUM_SKINS if scenes.population == "camera" else 0
    texture = np.empty((len(scenes), y.shape[1], x.shape[2], 2), np.float32)
    for i, person in enumerate(scenes.person):
        tile = skin_tile(code + int(person) % NUM_SKINS)
        texture[i] = spread_tile(tile, SKIN_MM, x[i, 0] + np.float32(4 * person), y[i, :, 0])
    return texture[..., 0], texture[..., 1]
