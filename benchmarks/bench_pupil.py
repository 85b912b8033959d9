"""The accuracy and the speed of the pupil finder.

    python benchmarks/bench_pupil.py                      # built-in renders
    python benchmarks/bench_pupil.py FOLDER_OR_TAR ...    # UnityEyes renders
    python benchmarks/bench_pupil.py --masks FILE.tar     # eyes with hand-made masks

It prints the tables of `docs/pupil.md`. The baseline for accuracy and speed is the centroid of the
darkest tenth of the window.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from eye_masks import EYE_WIDTH_PX, read_masks

from factory.domains.eye.pupil.calibration import Calibration, calibrate
from factory.domains.eye.pupil.camera_pairs import CameraPairs, camera_pairs
from factory.domains.eye.pupil.drift import Images, Values, find_centers
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.base import BadRender, LeftOut

SEED = 7
IN_RANGE_DEG = (25.0, 20.0)
"""the range of |yaw| and |pitch| of most real webcam images"""


class Truth(NamedTuple):
    """Crops whose iris centre is known."""

    images_NHW: Images  # noqa: N815
    center_N2: Values  # noqa: N815
    gaze_deg_N2: Values  # noqa: N815


def unityeyes(location: Path, limit: int, skip: int = 0) -> Truth:
    """Crops of renders, with the mean of the 32 limbus landmarks as truth."""
    source = UnityEyesSource(location, UnityEyesOptions(crop=EyeCrop(eye_width_px=EYE_WIDTH_PX)))
    images, centers, gaze = [], [], []
    for facts in source.listing()[skip:]:
        try:
            loaded = source.load(facts.id)
        except (BadRender, LeftOut):
            continue
        images.append(loaded.image)
        centers.append(loaded.labels["iris_px"].mean(axis=0))
        angles = (loaded.labels["gaze_yaw_rad"], loaded.labels["gaze_pitch_rad"])
        gaze.append(np.degrees(angles))
        if len(images) == limit:
            break
    return Truth(np.stack(images), np.stack(centers), np.stack(gaze))


def dark_centroid(image: Images, window_px: tuple[float, float]) -> tuple[float, float]:
    """The baseline: centroid of the darkest tenth of the window and its surroundings."""
    x0, y0 = (max(0, round(v) - 12) for v in window_px)
    part = cv2.GaussianBlur(image[y0 : y0 + 25, x0 : x0 + 25], (0, 0), 1.0)
    dark = np.argwhere(part <= np.percentile(part, 10))
    return x0 + float(dark[:, 1].mean()), y0 + float(dark[:, 0].mean())


def show(title: str, truth: Truth, finder: PupilFinder, pairs: CameraPairs | None) -> None:
    """Print the calibration of one set."""
    widths = np.full(len(truth.images_NHW), EYE_WIDTH_PX)
    calibration = calibrate(truth.images_NHW, truth.center_N2, widths, finder, SEED, pairs)
    print(f"\n## {title}: {len(truth.images_NHW)} eyes")
    _print(calibration)
    windows = truth.center_N2 + np.random.default_rng(SEED).uniform(-3, 3, truth.center_N2.shape)
    started = time.process_time()
    centers = [dark_centroid(i, tuple(w)) for i, w in zip(truth.images_NHW, windows, strict=True)]
    baseline_s = time.process_time() - started
    error = np.hypot(*(np.array(centers) - truth.center_N2).T)
    started = time.process_time()
    find_centers(truth.images_NHW, windows, finder)
    ours_s = time.process_time() - started
    print(f"dark centroid: median {np.median(error):.2f}, 95 % {np.percentile(error, 95):.2f} px")
    print(
        f"{len(centers) / ours_s:.0f} images/s of CPU time, {ours_s / baseline_s:.1f} times the "
        "dark centroid's"
    )


def _print(calibration: Calibration) -> None:
    summary = calibration.summary
    error, percent = summary.error_px, summary.error_percent_eye_width
    print(
        f"error: median {error.median:.2f}, 95 % {error.p95:.2f} px ({percent.median:.1f} and "
        f"{percent.p95:.1f} % of eye width), {error.num} measured, "
        f"{summary.abstained_share:.0%} abstained"
    )
    for s in summary.shifts:
        print(
            f"shift {s.shift_px} px: {s.mean_signed_error_px:+.3f} sd {s.sd_px:.2f} px, n {s.num}"
        )
    for null in summary.null_drift:
        drift = null.drift_px
        print(
            f"null drift, {null.look}: median {drift.median:.2f}, 95 % {drift.p95:.2f} px, "
            f"{null.abstained_share:.0%} abstained"
        )
    together = summary.null_drift_px
    print(f"null drift, together: median {together.median:.2f}, 95 % {together.p95:.2f} px")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("renders", nargs="*", type=Path, help="UnityEyes folders or tars")
    parser.add_argument("--masks", type=Path, help="tar of NAME.jpg with NAME.mask.png")
    parser.add_argument("--limit", type=int, default=600, help="eyes of each set")
    parser.add_argument("--skip", type=int, default=0, help="eyes left out, those tuned on")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    finder = PupilFinder(eye_width_px=EYE_WIDTH_PX)
    if not args.renders and args.masks is None:
        pairs = camera_pairs(EyeCrop(eye_width_px=EYE_WIDTH_PX), args.limit, SEED)
        truth = Truth(pairs.render_NHW, pairs.center_N2, np.zeros_like(pairs.center_N2))
        show("built-in renders", truth, finder, pairs)
    for location in args.renders:
        truth = unityeyes(location, args.limit, args.skip)
        inside = (np.abs(truth.gaze_deg_N2) < IN_RANGE_DEG).all(axis=1)
        for name, rows in (("within", inside), ("beyond", ~inside)):
            part = Truth(*(column[rows] for column in truth))
            show(f"{location.name}, {name} the webcam's gaze range", part, finder, None)
    if args.masks is not None:
        masked = read_masks(args.masks, args.limit, args.skip)
        apart = np.median(masked.pupil_apart_px)
        print(f"limbus to pupil centroid of the masks: median {apart:.2f} px")
        nowhere = np.full_like(masked.center_N2, np.nan)
        show("hand-made masks", Truth(masked.images_NHW, masked.center_N2, nowhere), finder, None)


if __name__ == "__main__":
    main()
