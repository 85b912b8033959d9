"""The two looks of one scene. Geometry is not among the differences."""

from dataclasses import dataclass
from typing import Literal

Look = Literal["render", "camera"]


@dataclass(frozen=True)
class Finish:
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


FINISH: dict[Look, Finish] = {
    "render": Finish(0.74, 0.12, 0.35, 0.9, 0.035, 0.25, 0.7, 0.8, 0.15),
    "camera": Finish(0.50, 0.42, 0.70, 2.2, 0.10, 1.2, 0.85, 1.4, 0.55),
}
