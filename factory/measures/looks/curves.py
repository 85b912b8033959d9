"""Measures on curves that every image has one of: power spectrum, grey and gradient histograms.

A set's curve is the mean of its images', and two sets differ as their curves do.

Axes in names: N images, H height, W width, B bins, R rounds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import windows

from factory.measures.looks.jackknife import Keep, Statistic, Values

Images = NDArray[np.uint8]
ROUNDING_POWER = 1 / 12
"""variance of what rounding to whole grey levels adds; keeps the logarithm of flat images finite"""
GRADIENT_STEP = 0.5
"""grey levels per pixel that a bin of the gradient's histogram spans: all that can occur along one
axis are multiples of it"""
MAX_GRADIENT = 255 / np.sqrt(2)
"""of central differences: half of full scale along both axes"""


class SetCurves(NamedTuple):
    """One curve per image, over the same places."""

    at: Values
    """(B,)"""
    each: Values
    """(N, B)"""


def spectra(images_NHW: Images) -> SetCurves:
    """Log power over spatial frequency, dB over one squared grey level.

    White noise of standard deviation s is s² at all frequencies. A Hann window on what each image
    is above its mean keeps the borders, which do not continue on the other side, from adding power
    everywhere. Rings are one cycle per shorter side wide and end at half a cycle per pixel; the
    logarithm is taken of a ring's mean power, image by image.
    """
    num, height, width = images_NHW.shape
    window = np.outer(windows.hann(height, sym=False), windows.hann(width, sym=False))
    grey = images_NHW.astype(np.float64)
    mean = (grey * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    power = np.abs(fft.fft2((grey - mean) * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None])
    shorter = min(height, width)
    ring = np.rint(frequency * shorter).astype(int).ravel()
    rings = np.arange(1, shorter // 2 + 1)
    members = (ring[:, None] == rings).astype(np.float64)
    mean_power = power.reshape(num, -1) @ (members / members.sum(axis=0))
    return SetCurves(
        rings / shorter, np.asarray(10 * np.log10(mean_power + ROUNDING_POWER), np.float64)
    )


def grey_histograms(images_NHW: Images) -> SetCurves:
    """Share of each image's pixels that has each grey value, 0 to 255."""
    return SetCurves(np.arange(256.0), _shares(images_NHW, 256))


def gradient_histograms(images_NHW: Images) -> SetCurves:
    """Share of each image's pixels over the magnitude of their gradient, in steps of half a grey
    level per pixel; central differences, without the outermost pixels."""
    grey = images_NHW.astype(np.float32)
    right = (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]) / 2
    down = (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]) / 2
    bins = (np.hypot(right, down) / GRADIENT_STEP).astype(np.intp)
    num_bins = int(MAX_GRADIENT / GRADIENT_STEP) + 1
    edges: Values = np.arange(num_bins, dtype=np.float64) * GRADIENT_STEP
    return SetCurves(edges, _shares(bins, num_bins))


def _shares(values_NHW: NDArray[np.integer], num_bins: int) -> Values:
    """(N, B) of whole numbers from 0."""
    num = len(values_NHW)
    flat = values_NHW.reshape(num, -1).astype(np.intp)
    offset = num_bins * np.arange(num)[:, None]
    counts = np.bincount((flat + offset).ravel(), minlength=num * num_bins)
    return np.asarray(counts.reshape(num, num_bins) / flat.shape[1])


def rms_difference(other: SetCurves, reference: SetCurves) -> Statistic:
    """Over the places of the curves."""
    return _of_means(
        other, reference, lambda difference_RB: np.sqrt((difference_RB**2).mean(axis=1))
    )


def wasserstein(other: SetCurves, reference: SetCurves) -> Statistic:
    """Wasserstein-1 distance of two histograms of equal bins: the area between their sums."""
    step = float(reference.at[1] - reference.at[0])
    return _of_means(
        other,
        reference,
        lambda difference_RB: step * np.abs(np.cumsum(difference_RB, axis=1)).sum(axis=1),
    )


def _of_means(
    other: SetCurves, reference: SetCurves, distance: Callable[[Values], Values]
) -> Statistic:
    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        difference_RB = _means(other.each, other_RN) - _means(reference.each, reference_RN)
        return distance(difference_RB)[:, None]

    return statistic


def _means(each: Values, kept_RN: Keep) -> Values:
    return np.asarray(kept_RN @ each / kept_RN.sum(axis=1, keepdims=True))
