"""The eye crop: centred between the eye corners, scaled to one eye width, so that renders and
camera images frame the eye alike."""

import math
from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from factory.images import Affine, Pixels, inverse, warp
from schemas.base import Model

PointXY = Sequence[float]


class EyeCrop(Model):
    """Size and framing of a crop, and what is done to its grey values."""

    height: Annotated[int, Field(ge=16)] = 35
    """pixels"""
    width: Annotated[int, Field(ge=16)] = 55
    """pixels"""
    eye_width_px: Annotated[float, Field(gt=4)] = 40.0
    """crop pixels from the caruncle to the outer corner"""
    equalise: bool = False
    """equalise the crop's histogram, as MPIIGaze's normalised images are"""

    def scale(self, inner: PointXY, outer: PointXY) -> float:
        """Crop pixels for one source pixel."""
        return self.eye_width_px / math.dist(inner, outer)

    def affine(self, inner: PointXY, outer: PointXY) -> Affine:
        """Source pixels to crop pixels, from the two eye corners (x, y) in source pixels."""
        scale = self.scale(inner, outer)
        x, y = (inner[0] + outer[0]) / 2, (inner[1] + outer[1]) / 2
        return np.array(
            [
                [scale, 0, (self.width - 1) / 2 - scale * x],
                [0, scale, (self.height - 1) / 2 - scale * y],
            ]
        )

    def source_box(self, affine: Affine) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the crop's outline, in source pixels."""
        (a, b, c), (d, e, f) = inverse(affine).tolist()
        right, bottom = self.width - 0.5, self.height - 0.5
        return (
            a * -0.5 + b * -0.5 + c,
            d * -0.5 + e * -0.5 + f,
            a * right + b * bottom + c,
            d * right + e * bottom + f,
        )

    def cut(self, image: Pixels, affine: Affine) -> Pixels:
        """The (height, width) uint8 crop of a grey picture."""
        crop = warp(image, affine, self.height, self.width)
        return np.asarray(cv2.equalizeHist(crop)) if self.equalise else crop
