"""Renders of hands degraded to the holes, outlines, noise and steps of a depth camera: the control
of what refining gains, as `factory/evaluation/degradation.py` is for grey images.

`fit` measures these four on unlabelled frames of the camera, and finds the strengths with which
degraded renders measure the same in the mean. What a camera does beyond that, such as the shadows
of its projector and holes where surfaces are steep, only a refiner can learn.

Axes in names: N images.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.domains.hand.depth.boundary import hole_rate, noise_mm, raggedness_of
from factory.domains.hand.depth.edges import Depth, solid
from factory.domains.hand.looks import holed, noisy, ragged
from schemas.base import Float, Model

NotNegative = Annotated[Float, Field(ge=0)]
Values = NDArray[np.float64]

_FITTED_ON = 60
"""images of each set at most that a fit looks at"""
_ROUNDS = 8
_START = np.array([0.5, 0.01, 1.0])
"""strengths that a fit begins with: squared px, a share, squared mm"""
_MOST_AT_ONCE = 4.0
"""factor by which a strength is changed at most in one round"""
_MAX_HOLE_SHARE = 0.5
_MIDDLE = 5, 95
"""percentiles of the depths of a hand between which nearly every step of the camera occurs"""
_NAMES = ("raggedness of outlines", "share of holes", "noise of surfaces")


class DepthDegradation(Model):
    """What is done to a render, in this order: ragged outlines, holes, noise, steps."""

    ragged_px: NotNegative
    """standard deviation of the place, along each axis, that a pixel is taken from"""
    hole_share: Annotated[Float, Field(ge=0, lt=1)]
    """share of the pixels that lose their depth"""
    noise_mm: NotNegative
    """standard deviation of the noise of depth"""
    step_mm: Annotated[Float, Field(gt=0)]
    """depths come in steps of this"""

    def apply(self, images_NHW: Depth, seed: int) -> Depth:
        """Degrade images. What is drawn for an image depends on the seed and on its number
        alone."""
        out = np.empty_like(images_NHW)
        for row, image in enumerate(images_NHW):
            rng = np.random.default_rng([seed, row])
            moved = ragged(image, rng, self.ragged_px)
            out[row] = noisy(holed(moved, rng, self.hole_share), rng, self.noise_mm, self.step_mm)
        return out


def fit(renders: Depth, real: Depth, *, seed: int = 0) -> DepthDegradation:
    """The degradation that makes renders most alike to camera frames.

    The step is the mean distance of the depths that occur in a frame. Raggedness, holes and noise
    are those with which the means of what is measured on degraded renders are those of the frames.
    What a strength (a variance, or a share) adds to its measure is about proportional to it, so it
    is multiplied by what is wanted over what is found, in some rounds.

    Args:
        renders, real: (N, H, W) depth as stored, each of any number.
        seed: of the images that the fit looks at, and of what is drawn for them.

    Raises:
        ValueError: a set has no image with a hand large enough to be measured.
    """
    rng = np.random.default_rng(seed)
    renders, real = (_some(images, rng) for images in (renders, real))
    plain = _measured(renders, "renders")
    added = (_measured(real, "camera frames") - plain).clip(min=0)
    step_mm = _step_mm(real)
    strength = _START
    for _ in range(_ROUNDS):
        degraded = _of(strength, step_mm).apply(renders, seed)
        added_now = (_measured(degraded, "degraded renders") - plain).clip(min=1e-9)
        strength = strength * (added / added_now).clip(1 / _MOST_AT_ONCE, _MOST_AT_ONCE)
        strength[1] = min(strength[1], _MAX_HOLE_SHARE)
    return _of(strength, step_mm)


def _of(strength: Values, step_mm: float) -> DepthDegradation:
    ragged_px2, hole_share, noise_mm2 = strength.tolist()
    return DepthDegradation(
        ragged_px=ragged_px2**0.5, hole_share=hole_share, noise_mm=noise_mm2**0.5, step_mm=step_mm
    )


def _some(images: Depth, rng: np.random.Generator) -> Depth:
    return images[np.sort(rng.permutation(len(images))[:_FITTED_ON])]


def _measured(images_NHW: Depth, what: str) -> Values:
    """(3,) raggedness in squared px, share of holes, and noise in squared mm, each of its mean over
    pictures.

    Raises:
        ValueError: none of them can be measured on any picture.
    """
    rows = [
        (raggedness_of(solid(image > 0))[0], hole_rate(image), noise_mm(image))
        for image in images_NHW
    ]
    values_N3 = np.array(rows, np.float64).reshape(-1, len(_NAMES))
    is_known = np.asarray(np.isfinite(values_N3).any(axis=0))
    if not is_known.all():
        lacking = [name for name, known in zip(_NAMES, is_known, strict=True) if not known]
        raise ValueError(
            f"a degradation cannot be fitted: {len(rows)} {what} show no hand of which "
            f"{' and '.join(lacking)} can be measured"
        )
    ragged_px, share, noise = np.nanmean(values_N3, axis=0)
    return np.array([ragged_px**2, share, noise**2])


def _step_mm(images_NHW: Depth) -> float:
    """The mean distance of neighbouring depths that occur in a picture, in the median over
    pictures; 1 where all whole mm do."""
    steps = []
    for image in images_NHW:
        hand = image[image > 0]
        if len(hand):
            low, high = np.percentile(hand, _MIDDLE)
            levels = np.unique(hand[(hand >= low) & (hand <= high)])
            steps.append(np.ptp(levels) / max(1, len(levels) - 1))
    return float(max(1.0, np.median(steps)))
