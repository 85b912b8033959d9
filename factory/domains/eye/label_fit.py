"""Whether the labels of renders belong to their pictures.

In every render that UnityEyes or the built-in renderer makes, the iris is darker than what is
around it between the lids. Where a picture was resized, turned or exchanged after rendering, its
labelled iris lies elsewhere, and is darker only by chance. One render proves little; many do.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.sources.base import Loaded

MIN_RENDERS = 30
"""renders to judge by; fewer are not judged"""
MIN_CONTRAST = 0.5
"""how much darker the iris has to be than the ring around it, in standard deviations of the crop"""
MIN_SHARE_DARKER = 0.8
"""Smallest share of renders with so dark an iris. Of 1,128 genuine UnityEyes renders all have one,
and all of 200 that were equalised or darkened. Of 334 whose pictures were changed: scaled by 0.95
60 %, by 0.8 15 %, upside down 46 %, with the labels of another render 29 %; but moved by 16 of 800
pixels 83 %, which pass."""
IRIS, RING = 0.9, (1.15, 1.6)
"""the disc of the iris and the ring around it, as multiples of the labelled outline"""
MIN_PIXELS = 8
"""pixels between the lids that either needs"""
_FRACTION_BITS = 4
"""of OpenCV's coordinates, which are then accurate to a sixteenth of a pixel"""


def misplaced_labels(samples: Sequence[Loaded]) -> str | None:
    """What shows that labels do not belong to their pictures; None where nothing does."""
    contrasts = [
        contrast_of_iris(
            np.asarray(sample.image), sample.labels["iris_px"], sample.labels["lid_px"]
        )
        for sample in samples
        if sample.labels.get("iris_px") is not None
    ]
    measured = [contrast for contrast in contrasts if not math.isnan(contrast)]
    num_darker = sum(contrast >= MIN_CONTRAST for contrast in measured)
    if len(measured) < MIN_RENDERS or num_darker >= MIN_SHARE_DARKER * len(measured):
        return None
    return (
        f"only in {num_darker} of {len(measured)} renders is the labelled iris clearly darker than "
        "the eye around it, which it is in nearly all where the labels belong to the pictures. "
        "Were the pictures resized, cropped or turned after rendering, or paired with the labels "
        "of others?"
    )


def contrast_of_iris(
    image: NDArray[np.generic], iris_px: NDArray[np.floating], lid_px: NDArray[np.floating]
) -> float:
    """How much darker the iris is than the ring around it, in standard deviations of the crop.

    Args:
        image: (H, W) or (H, W, 3).
        iris_px: (32, 2) outline of the iris, in pixels of the crop.
        lid_px: (16, 2) outline of the opening of the eye.

    Returns:
        NaN where too little of either is between the lids.
    """
    image = image.mean(axis=2) if image.ndim == 3 else image
    centre = iris_px.mean(axis=0)
    opening = _filled(lid_px, image.shape)
    disc, inner, outer = (
        _filled(centre + (iris_px - centre) * scale, image.shape) & opening
        for scale in (IRIS, *RING)
    )
    ring = outer & ~inner
    if min(disc.sum(), ring.sum()) < MIN_PIXELS:
        return math.nan
    return float((image[ring].mean() - image[disc].mean()) / max(1.0, image.std()))


def _filled(outline_px: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W) pixels inside an outline."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    points = np.rint(outline_px * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, shift=_FRACTION_BITS)
    return mask.astype(bool)
