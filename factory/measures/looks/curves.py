"""Measures on curves: the power spectrum, the grey histogram and the gradient histogram.

Every image has one curve of each kind. The curve of a set is the mean over its images, and the
distance of two sets is that of their curves.

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
"""variance of the noise that rounding to whole grey levels adds; added to the power, it keeps the
logarithm of flat images finite"""
GRADIENT_STEP = 0.5
"""width of a bin of the gradient histogram in grey levels per pixel; the gradient along one axis
can only be a multiple of it"""
MAX_GRADIENT = 255 / np.sqrt(2)
"""the largest gradient magnitude that central differences can give: half of full scale along both
axes"""


class SetCurves(NamedTuple):
    """The curves of the images of one set."""

    at: Values
    """(B,) frequencies or lower edges of bins, the same for all images"""
    each: Values
    """(N, B) values of each image's curve there"""


def spectra(images_NHW: Images) -> SetCurves:
    """Power over spatial frequency, in dB relative to one squared grey level.

    White noise of standard deviation s has the power s² at all frequencies. The image minus its
    mean is multiplied with a Hann window, because opposite borders do not continue each other and
    would add power at all frequencies. Power is averaged over rings of frequencies, which are one
    cycle per shorter side wide and end at half a cycle per pixel; then the logarithm is taken.

    Args:
        images_NHW: (N, H, W) uint8.

    Returns:
        Curves over cycles per pixel.
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
    """The share of each image's pixels that has each grey value, 0 to 255."""
    return SetCurves(np.arange(256.0), _shares(images_NHW, 256))


def gradient_histograms(images_NHW: Images) -> SetCurves:
    """The share of each image's pixels in each bin of the gradient's magnitude.

    Bins are half a grey level per pixel wide. The gradient is that of central differences, so the
    outermost pixels are left out.
    """
    grey = images_NHW.astype(np.float32)
    right = (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]) / 2
    down = (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]) / 2
    bins = (np.hypot(right, down) / GRADIENT_STEP).astype(np.intp)
    num_bins = int(MAX_GRADIENT / GRADIENT_STEP) + 1
    edges: Values = np.arange(num_bins, dtype=np.float64) * GRADIENT_STEP
    return SetCurves(edges, _shares(bins, num_bins))


def _shares(values_NHW: NDArray[np.integer], num_bins: int) -> Values:
    """(N, B) share of each image's values that equals each whole number from 0 to B - 1."""
    num = len(values_NHW)
    flat = values_NHW.reshape(num, -1).astype(np.intp)
    offset = num_bins * np.arange(num)[:, None]
    counts = np.bincount((flat + offset).ravel(), minlength=num * num_bins)
    return np.asarray(counts.reshape(num, num_bins) / flat.shape[1])


def rms_difference(other: SetCurves, reference: SetCurves) -> Statistic:
    """Root mean square difference of two curves, over the B points."""
    return _of_means(
        other, reference, lambda difference_RB: np.sqrt((difference_RB**2).mean(axis=1))
    )


def wasserstein(other: SetCurves, reference: SetCurves) -> Statistic:
    """Wasserstein-1 distance of two histograms: the area between their cumulative sums."""
    step = float(reference.at[1] - reference.at[0])
    return _of_means(
        other,
        reference,
        lambda difference_RB: step * np.abs(np.cumsum(difference_RB, axis=1)).sum(axis=1),
    )


def _of_means(
    other: SetCurves, reference: SetCurves, distance: Callable[[Values], Values]
) -> Statistic:
    """A statistic that is a function of the difference of the two sets' mean curves."""

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        difference_RB = _means(other.each, other_RN) - _means(reference.each, reference_RN)
        return distance(difference_RB)[:, None]

    return statistic


def _means(each: Values, kept_RN: Keep) -> Values:
    return np.asarray(kept_RN @ each / kept_RN.sum(axis=1, keepdims=True))
