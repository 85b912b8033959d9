"""How far the iris finder can be trusted: its error, planted shifts, and null drift."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.pupil.camera_pairs import CameraPairs
from factory.domains.eye.pupil.drift import (
    Centers,
    Images,
    Values,
    find_centers,
    same_circle,
)
from factory.domains.eye.pupil.finder import CIRCLE, PupilFinder
from factory.measures.statistics import spread
from schemas.eye.report import NullDrift, PlantedShift, PupilCalibration

SHIFTS_PX = (0.5, 1.0, 2.0)
NUM_DIRECTIONS = 8
WINDOW_JITTER_PX = 3.0
CAMERA_LOOK = "camera style"
DEGRADED_LOOK = "blur, gamma, gradient and noise"
FLOOR_LOOKS = (DEGRADED_LOOK, CAMERA_LOOK)
"""the looks most like a refiner's change; gamma and contrast alone are undone by construction"""


@dataclass(frozen=True)
class Calibration:
    """The summary that a report prints, and the null drifts that its figures draw."""

    summary: PupilCalibration
    null_drift_px: Values
    """of `FLOOR_LOOKS` together, measured pairs only"""


def calibrate(
    images_NHW: Images,
    truth_px_N2: NDArray[np.floating],
    eye_width_px_N: NDArray[np.floating],
    finder: PupilFinder,
    seed: int,
    pairs: CameraPairs | None = None,
    truth: str = "labels of the renders",
) -> Calibration:
    """Measure the finder on images whose iris centre is known.

    The windows are jittered by up to 3 px around the truth, so the finder cannot gain from
    answering "the middle of the window"; all looks and shifts of an image share its window.

    Args:
        images_NHW: (N, H, W) uint8.
        truth_px_N2: (x, y) of the iris centres, px.
        pairs: other eyes, each in two looks; adds the look "camera style".
        truth: what the truth is, in words, for the report.

    Raises:
        ValueError: nothing could be measured, or the lengths differ.
    """
    if not len(images_NHW) == len(truth_px_N2) == len(eye_width_px_N):
        raise ValueError(
            f"{len(images_NHW)} images, {len(truth_px_N2)} truths, {len(eye_width_px_N)} widths"
        )
    rng = np.random.default_rng(seed)
    windows = truth_px_N2 + rng.uniform(-WINDOW_JITTER_PX, WINDOW_JITTER_PX, (len(images_NHW), 2))
    plain = find_centers(images_NHW, windows, finder)
    error = np.hypot(*(plain.center_N2 - truth_px_N2).T)
    shifts = tuple(
        _planted_shift(images_NHW, windows, plain, finder, shift, rng) for shift in SHIFTS_PX
    )
    drifts = {
        name: _null_drift(plain, find_centers(changed, windows, finder))
        for name, changed in looks(images_NHW, rng).items()
    }
    if pairs is not None:
        near = pairs.center_N2 + rng.uniform(
            -WINDOW_JITTER_PX, WINDOW_JITTER_PX, pairs.center_N2.shape
        )
        before, after = (
            find_centers(images, near, finder) for images in (pairs.render_NHW, pairs.camera_NHW)
        )
        drifts[CAMERA_LOOK] = _null_drift(before, after)
    together = np.concatenate([drifts[look][0] for look in FLOOR_LOOKS if look in drifts])
    together = together[np.isfinite(together)]
    return Calibration(
        PupilCalibration(
            circle=CIRCLE,
            window_radius_px=finder.window_radius_px,
            truth=truth,
            error_px=spread(error),
            error_percent_eye_width=spread(100 * error / eye_width_px_N),
            shifts=shifts,
            null_drift=tuple(
                NullDrift(look=name, drift_px=spread(drift), abstained_share=share)
                for name, (drift, share) in drifts.items()
                if np.isfinite(drift).any()
            ),
            null_drift_px=spread(together),
            abstained_share=plain.abstained_share,
        ),
        together,
    )


def _null_drift(before: Centers, after: Centers) -> tuple[Values, float]:
    """Apparent drift, and the share of pairs measurable before that are not any more."""
    drift = np.hypot(*(after.center_N2 - before.center_N2).T)
    drift[~same_circle(before, after)] = np.nan
    return drift, float(np.isnan(drift).mean())


def _planted_shift(
    images_NHW: Images,
    windows_N2: Values,
    plain: Centers,
    finder: PupilFinder,
    shift_px: float,
    rng: np.random.Generator,
) -> PlantedShift:
    angle = rng.integers(NUM_DIRECTIONS, size=len(images_NHW)) * (2 * np.pi / NUM_DIRECTIONS)
    direction_N2 = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moved = shifted(images_NHW, shift_px * direction_N2)
    found = find_centers(moved, windows_N2, finder)
    along = ((found.center_N2 - plain.center_N2) * direction_N2).sum(axis=1)
    along[~same_circle(plain, found)] = np.nan
    error = spread(along - shift_px)
    return PlantedShift(
        shift_px=shift_px, mean_signed_error_px=error.mean, sd_px=error.sd, num=error.num
    )


def shifted(images_NHW: Images, shift_N2: NDArray[np.floating]) -> Images:
    """Move the content of each image by its own (x, y), px: cubic, borders repeated."""
    moved = np.empty_like(images_NHW)
    for i, (image, (dx, dy)) in enumerate(zip(images_NHW, shift_N2, strict=True)):
        moved[i] = cv2.warpAffine(
            image,
            np.array([[1, 0, dx], [0, 1, dy]], np.float64),
            image.shape[::-1],
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return moved


# --- looks: the same geometry, other grey values ------------------------------------------------


def looks(images_NHW: Images, rng: np.random.Generator) -> dict[str, Images]:
    """The images as other cameras might show them, nothing moved.

    Args:
        images_NHW: (N, H, W) uint8.
    """
    grey = images_NHW.astype(np.float32)
    noise = rng.normal(0, 8, grey.shape).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.0) for image in grey])
    grainy = _gamma(blurred, 0.8) * _gradient(grey.shape, rng, 0.3) + 0.75 * noise
    return {
        "blur": _grey(blurred),
        "noise": _grey(grey + noise),
        "gamma 0.6": _grey(_gamma(grey, 0.6)),
        "gamma 1.6": _grey(_gamma(grey, 1.6)),
        "contrast": _grey(128 + 0.5 * (grey - 128)),
        "jpeg": _jpeg(images_NHW, quality=50),
        "gradient": _grey(grey * _gradient(grey.shape, rng, 0.4)),
        DEGRADED_LOOK: _grey(grainy),
    }


def _grey(values: NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _gamma(grey: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    return np.asarray(255 * (grey / 255) ** gamma, np.float32)


def _gradient(
    shape: Sequence[int], rng: np.random.Generator, strength: float
) -> NDArray[np.float32]:
    """(N, H, W) factors that fall by `strength` either way across the image, any direction."""
    num, height, width = shape
    angle = rng.uniform(0, 2 * np.pi, (num, 1, 1))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(1 + strength * (np.cos(angle) * x + np.sin(angle) * y) / 1.5, np.float32)


def _jpeg(images_NHW: Images, quality: int) -> Images:
    decoded = []
    for image in images_NHW:
        _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded.append(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))
    return np.asarray(decoded, np.uint8)
