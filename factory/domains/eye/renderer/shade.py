"""Shading of scenes in one of two looks: skin first, then the eye between the lids, then hairs.

Values are linear light. Edges are softened over one pixel by their signed distances, so that no
supersampling is needed. The projections of the three-dimensional lid curves bound the eye; all
else is skin.
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
        lids, landmarks: of the scenes, see `lids_of` and `landmarks_of`.
        view: where the scenes lie on the pictures, full pictures or crops.
        look: `render` is sharp and evenly lit, with a bright sclera; `camera` has a shaded and
            reddened sclera, a shadow of the upper lid on it, strong reflections and rough skin.
            The effects of lens and sensor are added later, see `camera.photograph`.

    Returns:
        (n, 3, height, width) float32 linear light, most of it in [0, 1].
    """
    finish = FINISH[look]
    grid = grid_of(lids, view)
    picture, face = skin_of(lids, grid, boxes_of(view, 44, 44), finish)
    boxes = boxes_of(view, 27, 36)
    near = grid.box(boxes)
    inside = np.minimum(-near.over("upper"), near.over("lower"))
    cover = ramp(inside * near.px_per_mm)[:, None]
    index = boxes.index(3)
    skin = picture[index]
    picture[index] = skin + (eyeball_of(lids.scenes, landmarks, near, finish) - skin) * cover
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
