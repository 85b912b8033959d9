"""Shades scenes in one of two looks: skin, then what the lids leave open, then hairs.

Linear light; edges are softened over one pixel from signed distances, so nothing is
supersampled. The lids are drawn as the projections of the three-dimensional lid curves: what
lies between them is eye, the rest is skin.
"""

import numpy as np

from factory.domains.eye.renderer.ball import eyeball_of
from factory.domains.eye.renderer.grid import (
    boxes_of,
    grid_of,
    ramp,
    spread,
)
from factory.domains.eye.renderer.hair import hairs_of
from factory.domains.eye.renderer.look import FINISH, Look
from factory.domains.eye.renderer.scene import Landmarks, Lids, View
from factory.domains.eye.renderer.skin import skin_of
from factory.domains.eye.renderer.texture import Field

_BACKGROUND = np.float32(0.14)


def shade(lids: Lids, landmarks: Landmarks, view: View, look: Look) -> Field:
    """Draw n scenes.

    Args:
        lids, landmarks: of the scenes (`lids_of`, `landmarks_of`).
        view: where on the picture; a full picture or a crop.
        look: `render` is clean, crisp and evenly lit with a bright plain sclera; `camera` has
            a shaded and reddened sclera, the upper lid's shadow on it, strong glints and rough
            skin. Sensor effects come later (`eye_camera`).

    Returns:
        (n, 3, height, width) float32, linear light, about [0, 1].
    """
    finish = FINISH[look]
    grid = grid_of(lids, view)
    picture, face = skin_of(lids, grid, boxes_of(view, 44, 44), finish)
    boxes = boxes_of(view, 27, 36)
    near = grid.box(boxes)
    inside = np.minimum(-near.over("upper"), near.over("lower"))
    cover = ramp(inside * near.px_per_mm)[:, None]
    place = boxes.place(3)
    skin = picture[place]
    picture[place] = skin + (eyeball_of(lids.scenes, landmarks, near, finish) - skin) * cover
    exposure = lids.scenes.exposure[:, None] * lids.scenes.tint
    visible = 1 - np.float32(finish.hair) * hairs_of(lids, view)
    for channel in range(3):
        rgb = picture[:, channel]
        rgb *= visible
        rgb *= spread(exposure[:, channel])
        rgb -= _BACKGROUND
        rgb *= face
        rgb += _BACKGROUND
    return picture
