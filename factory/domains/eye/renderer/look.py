"""The two looks in which one scene can be drawn. The geometry is the same in both."""

from dataclasses import dataclass
from typing import Literal

Look = Literal["render", "camera"]


@dataclass(frozen=True)
class Finish:
    """The numbers in which looks differ."""

    sclera: float
    """reflectance of the sclera"""
    sclera_red: float
    """strength of the reddening towards the corners, and of the vessels"""
    lid_shadow: float
    """how dark the upper lid's shadow on the eyeball is"""
    lid_shadow_mm: float
    """how far that shadow reaches"""
    grain: float
    """strength of pores, wrinkles and blotches"""
    glint: float
    """strength of reflections on the cornea; above 1, a screen is reflected too"""
    hair: float
    """strength of lashes and brow"""
    relief: float
    """depth of folds and sockets"""
    limbus_mm: float
    """width over which the border of the iris fades"""


FINISH: dict[Look, Finish] = {
    "render": Finish(0.74, 0.12, 0.35, 0.9, 0.035, 0.25, 0.7, 0.8, 0.15),
    "camera": Finish(0.50, 0.42, 0.70, 2.2, 0.10, 1.2, 0.85, 1.4, 0.55),
}
