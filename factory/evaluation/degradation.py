"""Renders degraded to the camera's sharpness, noise and tone: the control of what refining gains.

A refined image is, among other things, blurred, noisy and of other contrast. What a refiner gains
over plain renders may be due to this alone. `fit` finds blur, noise and tone by which renders get
the power spectrum and the grey values of real images, without labels; a refiner has to beat
renders that were degraded so. `swap_amplitudes` is another control that learns nothing.

Axes in names: N images, H height, W width, R rings of the spectrum.
"""

from itertools import product
from typing import Annotated, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize

from factory.images.png import Grey
from factory.measures.looks.curves import spectra
from schemas.base import Float, Model

Level = Annotated[int, Field(ge=0, le=255)]
NotNegative = Annotated[Float, Field(ge=0)]

_FITTED_ON = 200
"""images of each set at most that a fit looks at"""
_STARTS = (0.3, 0.8, 2.0), (0.2,), (1.0, 5.0), (0.3, 1.0)
"""values of blur, its spread, noise and its correlation that a fit may start from, in all
combinations: there are several local minima"""
_STEPS = 0.5, 0.2, 3.0, 0.3
"""how far a fit's first steps from there are"""
_DESCENTS = 2
"""of the starts that are nearest, how many a fit goes on from"""
_EVALUATIONS = 150
"""degradations that a fit tries at most from each of these"""
_MAX_BLUR_PX, _MAX_SPREAD_PX, _MAX_NOISE, _MAX_CORRELATION_PX = 4.0, 1.5, 40.0, 1.5
_SHARP = 0.2
"""cycles per pixel from which on power counts as sharpness"""
IDENTITY = tuple(range(256))


class Degradation(Model):
    """What is done to a render, in this order: blur, noise, tone."""

    blur_px: NotNegative
    """mean standard deviation of the Gaussian that images are blurred with"""
    blur_spread_px: NotNegative
    """standard deviation of it from image to image"""
    noise_sd: NotNegative
    """standard deviation of the noise, in grey levels before the change of tone"""
    noise_correlation_px: NotNegative
    """standard deviation of the Gaussian that white noise is smoothed with"""
    tone: Annotated[tuple[Level, ...], Field(min_length=256, max_length=256)] = IDENTITY
    """the grey value that each one becomes; never falling"""
    equalise: bool = False
    """equalise the histogram of each image at the end"""

    @classmethod
    def of_blur(cls, blur_px: float, *, equalise: bool) -> Self:
        """A blur that is the same for all images, and nothing else."""
        return cls(
            blur_px=blur_px,
            blur_spread_px=0.0,
            noise_sd=0.0,
            noise_correlation_px=0.0,
            equalise=equalise,
        )

    def apply(self, images: Grey, seed: int) -> Grey:
        """Degrade images (N, H, W). What is drawn for an image depends on the seed and on its
        number alone."""
        out = np.empty_like(images)
        table = np.array(self.tone, np.uint8)
        noise_gain = self.noise_sd / _smoothing_gain(self.noise_correlation_px)
        for row, image in enumerate(images):
            rng = np.random.default_rng([seed, row])
            sigma_px = self.blur_px + self.blur_spread_px * rng.standard_normal()
            values = _blurred(image.astype(np.float64), sigma_px)
            white = rng.standard_normal(image.shape)
            values = values + noise_gain * _smoothed(white, self.noise_correlation_px)
            toned = table[np.rint(values).clip(0, 255).astype(np.uint8)]
            out[row] = cv2.equalizeHist(toned) if self.equalise else toned
        return out


def fit(renders: Grey, real: Grey, *, equalise: bool = False, seed: int = 0) -> Degradation:
    """The degradation that makes renders most alike to real images.

    The blur, its spread and the noise are those for which the mean spectrum of degraded renders
    and its spread at high frequencies are nearest to those of real images (dB, root mean square).
    For each of them, the tone maps the grey values of all degraded renders to those of all real
    images (histogram matching), so that these agree in any case.

    Args:
        renders, real: (N, H, W), each of any number; of one size.
        equalise: both sets are of equalised images. The tone is left as it is then, and degraded
            images are equalised anew.
        seed: of the images that the fit looks at, and of their noise.

    Raises:
        ValueError: a set is empty, or the sizes differ.
    """
    for name, images in (("renders", renders), ("real images", real)):
        if not len(images):
            raise ValueError(f"a degradation cannot be fitted: there are no {name}")
    if renders.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"renders of {renders.shape[1:]} pixels cannot be fitted to real images of "
            f"{real.shape[1:]}"
        )
    rng = np.random.default_rng(seed)
    renders, real = (_some(images, rng) for images in (renders, real))
    wanted_R, wanted_spread = _summary(real)

    def of(parameters: NDArray[np.float64]) -> Degradation:
        blur, spread, noise, correlation = (float(value) for value in parameters)
        plain = Degradation(
            blur_px=blur,
            blur_spread_px=spread,
            noise_sd=noise,
            noise_correlation_px=correlation,
            equalise=equalise,
        )
        if equalise:
            return plain
        tone = _matching(plain.apply(renders, seed), real)
        return plain.model_copy(update={"tone": tone})

    def distance(parameters: NDArray[np.float64]) -> float:
        found_R, found_spread = _summary(of(parameters).apply(renders, seed))
        return float(np.mean((found_R - wanted_R) ** 2) + (found_spread - wanted_spread) ** 2)

    bounds = [(0.0, top) for top in (_MAX_BLUR_PX, _MAX_SPREAD_PX, _MAX_NOISE, _MAX_CORRELATION_PX)]
    starts = [np.array(start) for start in product(*_STARTS)]
    found = [
        minimize(
            distance,
            start,
            method="Nelder-Mead",
            bounds=bounds,
            options={
                "initial_simplex": start + np.vstack([np.zeros(len(_STEPS)), np.diag(_STEPS)]),
                "xatol": 0.01,
                "fatol": 0.002,
                "maxfev": _EVALUATIONS,
            },
        )
        for start in sorted(starts, key=distance)[:_DESCENTS]
    ]
    return of(min(found, key=lambda minimum: minimum.fun).x)


def swap_amplitudes(
    images: Grey, real: Grey, *, seed: int, share: float = 0.05, equalise: bool = False
) -> Grey:
    """Give each image the low frequencies' amplitudes of a random real image, and keep its phases.

    Fourier domain adaptation (Yang and Soatto 2020), equation 3.

    Args:
        images: (N, H, W).
        real: (M, H, W).
        share: beta of the paper; frequencies up to this share of the shorter side, in cycles, are
            swapped along each axis. At least the mean is.
        equalise: equalise the result, as all images were.

    Raises:
        ValueError: there is no real image, the sizes differ, or the share is not in (0, 0.5].
    """
    if not len(real) or images.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"amplitudes of real images {real.shape} cannot be given to images {images.shape}; "
            "they must be as large, and at least one"
        )
    if not 0 < share <= 0.5:
        raise ValueError(f"the share of the frequencies must be in (0, 0.5], found {share}")
    height, width = images.shape[1:]
    reach = int(share * min(height, width))
    low = (np.abs(np.fft.fftfreq(height, 1 / height))[:, None] <= reach) & (
        np.abs(np.fft.fftfreq(width, 1 / width))[None] <= reach
    )
    out = np.empty_like(images)
    for row, image in enumerate(images):
        rng = np.random.default_rng([seed, row])
        own = np.fft.fft2(image)
        other = np.fft.fft2(real[rng.integers(len(real))])
        amplitude = np.where(low, np.abs(other), np.abs(own))
        values = np.fft.ifft2(amplitude * np.exp(1j * np.angle(own))).real
        if equalise:  # only the order of grey values counts, so none may be cut off before
            values = (values - values.min()) * (255 / max(1.0, np.ptp(values)))
        swapped = np.rint(values).clip(0, 255).astype(np.uint8)
        out[row] = cv2.equalizeHist(swapped) if equalise else swapped
    return out


def _blurred(values: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    if sigma_px <= 0:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))


def _smoothing_gain(correlation_px: float) -> float:
    """What smoothing leaves of the standard deviation of white noise."""
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1.0
    return float(np.linalg.norm(_smoothed(impulse, correlation_px)))


def _smoothed(values: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    """Blurred with borders that are mirrored, so that noise is about as strong there."""
    if sigma_px <= 0:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101))


def _some(images: Grey, rng: np.random.Generator) -> Grey:
    return images[np.sort(rng.permutation(len(images))[:_FITTED_ON])]


def _summary(images: Grey) -> tuple[NDArray[np.float64], float]:
    """The mean spectrum of images, (R,) in dB, and the standard deviation of their power at high
    frequencies, dB."""
    curves = spectra(images)
    sharpness_N = curves.each[:, curves.at >= _SHARP].mean(axis=1)
    return curves.each.mean(axis=0), float(sharpness_N.std())


def _matching(images: Grey, real: Grey) -> tuple[int, ...]:
    """The map of grey values, never falling, that gives images the histogram of real ones.

    The value v becomes the quantile of the real values at the middle of the share of pixels that
    have v. A value that no pixel has takes part with a share of 0.
    """
    counts = np.bincount(images.ravel(), minlength=256) / images.size
    middle = np.cumsum(counts) - counts / 2
    wanted = np.cumsum(np.bincount(real.ravel(), minlength=256)) / real.size
    return tuple(int(level) for level in np.searchsorted(wanted, middle).clip(0, 255))
