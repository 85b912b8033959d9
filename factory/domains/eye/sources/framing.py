"""The eye crop, which is centred between the eye corners and scaled to one eye width.

So renders and camera images frame the eye alike.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from factory.images.crop import Framing, resample
from factory.sources.base import BadRender, SourceOptions
from schemas.base import Model

MIN_EYE_WIDTH_PX = 16.0
"""smallest width of an eye in source pixels; smaller eyes have less detail than the crop"""
PointXY = Sequence[float]
Outline = tuple[float, float, float, float]
"""(left, top, right, bottom) of a rectangle in pixels; pixel centres are at integers"""


class EyeCrop(Model):
    """The size and framing of a crop, its colours, and how its grey values are changed."""

    height: Annotated[int, Field(ge=16)] = 35
    """height of a crop in pixels"""
    width: Annotated[int, Field(ge=16)] = 55
    """width of a crop in pixels"""
    eye_width_px: Annotated[float, Field(gt=4, allow_inf_nan=False)] = 40.0
    """distance from the caruncle to the outer corner, in pixels of the crop"""
    equalise: bool = False
    """whether the histogram of the crop is equalised, as that of MPIIGaze's normalised images is"""
    colour: Annotated[bool, Field(exclude_if=lambda colour: not colour)] = False
    """whether crops are RGB; not for MPIIGaze, and not together with equalise"""
    depth_bits: Annotated[
        int | None, Field(ge=8, le=16, exclude_if=lambda depth_bits: depth_bits is None)
    ] = None
    """depth of the camera, for pictures with 16 bits whose files do not name it; by default the
    smallest of 10, 12, 14 and 16 that holds a picture's brightest pixel; not for MPIIGaze"""

    @model_validator(mode="after")
    def _equalised_in_grey(self) -> Self:
        if self.equalise and self.colour:
            raise ValueError("equalise is for grey crops, and colour was asked for too")
        return self

    @property
    def channels(self) -> Literal[1, 3]:
        """Number of channels of a crop."""
        return 3 if self.colour else 1

    def framing(self, inner: PointXY, outer: PointXY) -> Framing:
        """The map from source pixels to those of the crop.

        Args:
            inner, outer: the two eye corners (x, y) in source pixels.
        """
        scale = self.eye_width_px / math.dist(inner, outer)
        x, y = (inner[0] + outer[0]) / 2, (inner[1] + outer[1]) / 2
        return Framing(scale, (self.width - 1) / 2 - scale * x, (self.height - 1) / 2 - scale * y)

    def outline(self, framing: Framing) -> Outline:
        """The outline of the crop in source pixels."""
        scale, x, y = framing
        right, bottom = self.width - 0.5, self.height - 0.5
        return (-0.5 - x) / scale, (-0.5 - y) / scale, (right - x) / scale, (bottom - y) / scale

    def cut(self, image: NDArray[np.uint8], framing: Framing) -> NDArray[np.uint8]:
        """The (height, width[, 3]) uint8 crop of a (h, w) grey picture or a (h, w, 3) RGB one."""
        if image.ndim == 2:
            return self.finished(resample(image, framing, self.height, self.width))
        channels = (image[:, :, channel] for channel in range(image.shape[2]))
        parts = [resample(part, framing, self.height, self.width) for part in channels]
        return np.stack(parts, axis=2)

    def finished(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Apply to a resampled grey crop what the options ask for: `equalise`."""
        import cv2

        return np.asarray(cv2.equalizeHist(crop)) if self.equalise else crop


class CroppedOptions(SourceOptions):
    """Options of a source whose samples are such crops; each source of eyes has a subclass."""

    crop: EyeCrop = EyeCrop()

    @property
    def image_size(self) -> tuple[int, int]:
        return self.crop.height, self.crop.width

    @property
    def channels(self) -> Literal[1, 3]:
        return self.crop.channels


def require_wide(source_id: str, eye_width_px: float) -> None:
    """Raise `BadRender` for an eye narrower than `MIN_EYE_WIDTH_PX` in its picture."""
    if eye_width_px < MIN_EYE_WIDTH_PX:
        raise BadRender(
            source_id, f"eye is {eye_width_px:.1f} px wide, at least {MIN_EYE_WIDTH_PX:.0f} needed"
        )
