"""The accuracy of each witness on eyes that this repository did not draw.

    python benchmarks/bench_witnesses.py --dataset SYNTHETIC --split test \\
        --masks MASKS.tar --landmarks LANDMARKS --gaze GAZE --mediapipe MEDIAPIPE

A witness is one independent way to measure label drift. The output has errors against labels (of a
dataset that the networks were not trained on) and against hand-made masks, the displacements that
are measured where one was planted together with a change of look, those that are measured where
nothing moved, and images per second on one core. Lengths are in px of crops whose eye is 55 px
wide.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from eye_masks import EYE_WIDTH_PX, Images, Masked, Values, read_masks

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.networks.landmarks import (
    LandmarksFound,
    found_landmarks_px,
    load_landmarks,
)
from factory.domains.eye.networks.mediapipe import (
    PROGRAM,
    IrisModel,
    found_iris_px,
    load_model,
)
from factory.domains.eye.pupil.calibration import DEGRADED_LOOK, looks, shifted
from factory.domains.eye.pupil.drift import find_centers
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.pupil.iris_registration import registered_iris
from factory.measures.registration import registered

PER_PX = 55.0 / EYE_WIDTH_PX
SEED = 3
JITTER_PX = 3.0


def print_row(name: str, values: Values, unit: str = "px") -> None:
    """Print a row of the table: mean and deviation, median, 95th percentile, number of values."""
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    scale = PER_PX if unit == "px" else 1.0
    if not len(known):
        print(f"| {name} | nothing measured | | | 0 of {len(values)} |")
        return
    known = known * scale
    print(
        f"| {name}, {unit} | {known.mean():.2f} ± {known.std():.2f} | {np.median(known):.2f} | "
        f"{np.percentile(known, 95):.2f} | {len(known)} of {len(values)} |"
    )


def head(title: str) -> None:
    print(f"\n## {title}\n| | mean ± sd | median | 95 % | measured |\n|---|---|---|---|---|")


def on_dataset(dataset: Dataset, split: str, witnesses: EyeWitnesses, limit: int) -> None:
    """Print errors against labels, and drifts between two looks."""
    shards = dataset.committed_in(split)
    images, rows = load_images(dataset, shards)[:limit], load_index(dataset, shards=shards)
    rows = rows.slice(0, len(images))
    changed = looks(images, np.random.default_rng(SEED))[DEGRADED_LOOK]
    measurer = EyeMeasurer(witnesses)
    started = time.process_time()
    measures = measurer(rows, images, changed)
    seconds = time.process_time() - started
    own = EyeMeasurer(witnesses, with_pupil=False)(rows, images, images)
    centre = np.array(rows["iris_px"].to_pylist()).mean(axis=1)
    pupil = [values_of(measures, f"pupil_parent_{axis}_px") for axis in "xy"]
    head(f"labelled renders: {len(images)} eyes of {dataset.location}, split {split}")
    print_row("pupil finder, error", np.hypot(*(np.stack(pupil, axis=1) - centre).T))
    print_row("landmark network, iris error", values_of(own, "iris_error_px"))
    print_row("landmark network, lid error", values_of(own, "lid_error_px"))
    print_row("gaze network, error", values_of(own, "gaze_error_deg"), "deg")
    print_row("MediaPipe, iris error", values_of(own, "mediapipe_error_px"))
    for name, column, unit in (
        ("pupil finder", "pupil_drift_px", "px"),
        ("landmark network, iris", "iris_drift_px", "px"),
        ("landmark network, lids", "lid_drift_px", "px"),
        ("gaze network", "gaze_drift_deg", "deg"),
        ("MediaPipe, iris", "mediapipe_drift_px", "px"),
        ("registration", "registration_px", "px"),
        ("registration, iris", "iris_registration_px", "px"),
    ):
        print_row(f"{name}, null drift", values_of(measures, column), unit)
    print(f"\nall witnesses and looks: {len(images) / seconds:.0f} pairs/s of CPU time, one thread")


def on_masks(masked: Masked, witnesses: EyeWitnesses) -> None:
    """Print errors against hand-made masks, for photographs and for renders."""
    rng = np.random.default_rng(SEED)
    images = np.stack([cv2.equalizeHist(image) for image in masked.images_NHW])
    for name, chosen in (("photographs", masked.is_photo_N), ("renders", ~masked.is_photo_N)):
        rows = np.flatnonzero(chosen)
        part, centre = images[rows], masked.center_N2[rows]
        head(f"hand-made masks, {name}: {len(rows)} eyes")
        windows = centre + rng.uniform(-JITTER_PX, JITTER_PX, centre.shape)
        centers = find_centers(part, windows, witnesses.finder)
        print_row("pupil finder, error", np.hypot(*(centers.center_N2 - centre).T))
        if witnesses.landmarks is not None:
            network, _ = load_landmarks(witnesses.landmarks)
            seen = LandmarksFound(found_landmarks_px(network, part))
            print_row("landmark network, iris error", np.hypot(*(seen.iris_N2 - centre).T))
            print_row(
                "landmark network, lids to the mask's border", _to_outline(seen, masked, rows)
            )
        planted = _planted(rng, len(part))
        changed = looks(part, rng)[DEGRADED_LOOK]
        moved = shifted(changed, planted)
        if witnesses.mediapipe is not None:
            _of_mediapipe(load_model(witnesses.mediapipe), (part, changed, moved), centre, planted)
        width = np.full(len(part), EYE_WIDTH_PX)
        pictures, iris = registered(part, moved), registered_iris(part, moved, centre, width)
        print_row("registration, error at 2 px planted", np.hypot(*(pictures.shift_N2 - planted).T))
        print_row("registration, iris, the same", np.hypot(*(iris.shift_N2 - planted).T))


def _of_mediapipe(
    model: IrisModel, images: tuple[Images, Images, Images], centre: Values, planted: Values
) -> None:
    """Print what the model says of eyes, of them in another look, and of those moved."""
    started = time.process_time()
    before, changed, moved = (found_iris_px(model, part, EYE_WIDTH_PX) for part in images)
    seconds = time.process_time() - started
    print_row("MediaPipe, iris error", np.hypot(*(before - centre).T))
    print_row("MediaPipe, null drift", np.hypot(*(changed - before).T))
    print_row("MediaPipe, error at 2 px planted", np.hypot(*(moved - before - planted).T))
    along = ((moved - changed) * planted).sum(axis=1) / (planted**2).sum(axis=1)
    print_row("MediaPipe, share of the planted that is read", along, "of 1")
    print(f"\nMediaPipe: {3 * len(before) / seconds:.0f} images/s of CPU time, one thread\n")


def _planted(rng: np.random.Generator, num: int) -> Values:
    angle = rng.uniform(0, 2 * np.pi, num)
    return 2.0 / PER_PX * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _to_outline(seen: LandmarksFound, masked: Masked, rows: np.ndarray) -> Values:
    """(N,) mean distance of the measured lid points from the border of the mask."""
    distances = []
    for lids, row in zip(seen.lids_NK2, rows, strict=True):
        apart = np.linalg.norm(lids[:, None] - masked.outline[row][None], axis=2)
        distances.append(apart.min(axis=1).mean())
    return np.array(distances)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", help="a labelled dataset whose eyes are 40 px wide")
    parser.add_argument(
        "--split", default="test", help="a split that the networks were not trained on"
    )
    parser.add_argument("--masks", type=Path, help="a tar of NAME.jpg with NAME.mask.png")
    parser.add_argument("--landmarks", help="output of jobs/estimator.py landmarks")
    parser.add_argument("--gaze", help="output of jobs/estimator.py gaze")
    parser.add_argument("--mediapipe", help=f"output of {PROGRAM}")
    parser.add_argument(
        "--limit", type=int, default=1000, help="largest number of eyes of the dataset"
    )
    args = parser.parse_args()
    if args.dataset is None and args.masks is None:
        parser.error("give --dataset, --masks or both")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    image = Dataset.open(args.dataset).card.image if args.dataset else None
    finder = PupilFinder(eye_width_px=EYE_WIDTH_PX)
    witnesses = EyeWitnesses.of(finder, args.landmarks, args.gaze, image, args.mediapipe)
    if args.dataset:
        on_dataset(Dataset.open(args.dataset), args.split, witnesses, args.limit)
    if args.masks:
        on_masks(read_masks(args.masks), witnesses)


if __name__ == "__main__":
    main()
