"""Calibration of the pupil finder: its error, its answers to planted shifts, and its null drift.

Null drift is the drift that the finder reports where only the look of an image changed, so that the
true drift is 0.

Axes in names: N images, H height, W width.
"""

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
"""the looks whose null drift a report states as the floor, as they are most like what a refiner
changes; changes of gamma or contrast alone say little, because the finder equalises histograms"""


@dataclass(frozen=True)
class Calibration:
    """The result of a calibration."""

    summary: PupilCalibration
    """the numbers that a report states"""
    null_drift_px: Values
    """null drifts of all measured pairs in `FLOOR_LOOKS`, for the figures"""


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

    The windows are moved at random by up to 3 px from the truth, so that a finder which always
    answers the middle of the window has a large error. All looks and shifts of an image share one
    window.

    Args:
        images_NHW: (N, H, W) uint8.
        truth_px_N2: (N, 2) true positions (x, y) of the iris centres, px.
        eye_width_px_N: (N,) distances of the eye corners, px.
        seed: of windows, looks and shifts.
        pairs: other eyes, each in two looks; they add the look "camera style".
        truth: where the true positions come from, in words, for the report.

    Raises:
        ValueError: nothing could be measured, or the lengths of the arguments differ.
    """
    if not len(images_NHW) == len(truth_px_N2) == len(eye_width_px_N):
        raise ValueError(
            "there must be one iris centre and one eye width for each image, got "
            f"{len(truth_px_N2)} centres and {len(eye_width_px_N)} widths for {len(images_NHW)} "
            "images"
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
    """(N,) drift in px, NaN where it was not measured, and the share of pairs without a drift."""
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
    """The finder's error for a shift of a known size, along the direction of the shift."""
    direction_N2 = random_directions(len(images_NHW), rng)
    moved = shifted(images_NHW, shift_px * direction_N2)
    centers = find_centers(moved, windows_N2, finder)
    along = ((centers.center_N2 - plain.center_N2) * direction_N2).sum(axis=1)
    along[~same_circle(plain, centers)] = np.nan
    error = spread(along - shift_px)
    return PlantedShift(
        shift_px=shift_px, mean_signed_error_px=error.mean, sd_px=error.sd, num=error.num
    )


def random_directions(count: int, rng: np.random.Generator) -> Values:
    """(count, 2) unit vectors, each one of `NUM_DIRECTIONS`."""
    angle_N = rng.integers(NUM_DIRECTIONS, size=count) * (2 * np.pi / NUM_DIRECTIONS)
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)


def shifted(images_NHW: Images, shift_N2: NDArray[np.floating]) -> Images:
    """Move the content of each image by its own (x, y) in px, as `warped` does."""
    affine_N23 = np.tile(np.eye(2, 3), (len(images_NHW), 1, 1))
    affine_N23[:, :, 2] = shift_N2
    return warped(images_NHW, affine_N23)


def warped(images_NHW: Images, affine_N23: Values) -> Images:
    """Each image after an affine map of its own, from its places (x, y) in px to those of the
    result.

    Pixels are interpolated with a cubic kernel; at the border the outermost pixels are repeated.
    """
    result = np.empty_like(images_NHW)
    for i, (image, affine_23) in enumerate(zip(images_NHW, affine_N23, strict=True)):
        result[i] = cv2.warpAffine(
            image,
            affine_23,
            image.shape[::-1],
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return result


# --- looks: the same geometry, other grey values ------------------------------------------------


def looks(images_NHW: Images, rng: np.random.Generator) -> dict[str, Images]:
    """The images as other cameras might show them. Nothing in them moves.

    Args:
        images_NHW: (N, H, W) uint8.

    Returns:
        (N, H, W) uint8 for the name of each look.
    """
    grey = images_NHW.astype(np.float32)
    noise = rng.normal(0, 8, grey.shape).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.0) for image in grey])
    grainy = _gamma(blurred, 0.8) * _gradient(grey.shape, rng, 0.3) + 0.75 * noise
    return {
        "blur": as_grey(blurred),
        "noise": as_grey(grey + noise),
        "gamma 0.6": as_grey(_gamma(grey, 0.6)),
        "gamma 1.6": as_grey(_gamma(grey, 1.6)),
        "contrast": as_grey(128 + 0.5 * (grey - 128)),
        "jpeg": compressed(images_NHW, 50),
        "gradient": as_grey(grey * _gradient(grey.shape, rng, 0.4)),
        DEGRADED_LOOK: as_grey(grainy),
    }


def as_grey(values: NDArray[np.generic]) -> Images:
    """Rounded to whole grey levels, 0 to 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _gamma(grey: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    return np.asarray(255 * (grey / 255) ** gamma, np.float32)


def _gradient(
    shape: Sequence[int], rng: np.random.Generator, strength: float
) -> NDArray[np.float32]:
    """(N, H, W) factors around 1 that change linearly across each image, in a random direction."""
    num, height, width = shape
    angle = rng.uniform(0, 2 * np.pi, (num, 1, 1))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(1 + strength * (np.cos(angle) * x + np.sin(angle) * y) / 1.5, np.float32)


def compressed(images_NHW: Images, quality: int) -> Images:
    """The images as they come back from JPEG files of a quality, 1 to 100."""
    result = np.empty_like(images_NHW)
    for i, image in enumerate(images_NHW):
        _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result[i] = np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))
    return result
