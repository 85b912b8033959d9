"""Validate: compare a refined dataset with its parent, key by key, and with a real one as a
distribution.

Drift is measured shard by shard, in parallel; every sample's measurements are kept beside the
report. Calibration and realism are measured on a seeded sample of the dataset.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset import Dataset, load_images, load_index, parquet_bytes
from factory.images import Pixels
from factory.labels.calibration import Calibration, calibrate
from factory.labels.camera_pairs import camera_pairs
from factory.labels.drift import DriftTable, measure_drift
from factory.labels.pupil import PupilFinder
from factory.realism import MIN_IMAGES
from factory.refine import stale_shards
from factory.sources.crop import EyeCrop
from factory.sources.unityeyes import UnityEyesOptions
from factory.work import MakeTask, Outcome
from schemas.dataset import DatasetKind

log = logging.getLogger(__name__)
Grey = NDArray[np.uint8]


class NotComparableError(ValueError):
    """The datasets are not a refined one, its parent and a real one."""


class Trio(NamedTuple):
    """The datasets of one validation."""

    refined: Dataset
    parent: Dataset
    real: Dataset


def open_trio(refined: str, real: str, parent: str | None = None) -> Trio:
    """The three datasets, checked to belong together.

    Args:
        parent: where the parent lies now; the place in the refined dataset's card when None.

    Raises:
        NotComparableError: they do not, or a shard's parent has changed since.
    """
    child = Dataset.open(refined)
    if child.card.parent is None:
        raise NotComparableError(f"{refined} is a {child.card.kind} dataset, not a refined one")
    synthetic = Dataset.open(parent if parent is not None else child.card.parent.location)
    if synthetic.card.digest() != child.card.parent.card:
        raise NotComparableError(f"{synthetic.location} is not the parent of {refined}")
    camera = Dataset.open(real)
    wanted: DatasetKind = "real"
    if camera.card.kind != wanted or camera.card.image != child.card.image:
        raise NotComparableError(
            f"{real} holds {camera.card.kind} images of {camera.card.image}, "
            f"expected {wanted} ones of {child.card.image}"
        )
    stale = stale_shards(synthetic, child)
    if stale:
        raise NotComparableError(
            f"{refined}: shards {stale[:10]} were refined from other versions of their parent "
            f"shards than {synthetic.location} holds"
        )
    return Trio(child, synthetic, camera)


def crop_of(dataset: Dataset) -> EyeCrop:
    """How the renders of a dataset were cut.

    Raises:
        NotComparableError: it was not made from renders.
    """
    try:
        return UnityEyesOptions.model_validate(dataset.card.config["options"]).crop
    except (KeyError, ValueError) as error:
        raise NotComparableError(f"{dataset.location} was not made from renders") from error


def new_report_id() -> str:
    """Sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{token_hex(3)}"


def samples_name(report_id: str, shard: int) -> str:
    """Where the measurements of a shard's samples lie."""
    return f"reports/{report_id}/samples/{shard:06d}.parquet"


# --- shard by shard -----------------------------------------------------------------------------


@dataclass
class ShardValidator:
    """Measures one shard at a time."""

    trio: Trio
    report_id: str
    finder: PupilFinder

    def __call__(self, shard: int) -> Outcome:
        """Drift and change of every sample, kept beside the report."""
        started = time.perf_counter()
        before = grey(self.trio.parent.images(shard))
        after = grey(self.trio.refined.images(shard))
        table = drift_of(self.trio.refined.index(shard), before, after, self.finder)
        change = mean_abs_change(before, after)
        rows = table.to_arrow().append_column("mean_abs_change", pa.array(change, pa.float32()))
        # Not exclusively: the report is this run's own, and a shard may be measured again.
        self.trio.refined.store.put(samples_name(self.report_id, shard), parquet_bytes(rows))
        return Outcome(shard=shard, num_samples=len(before), seconds=time.perf_counter() - started)


def validate_task(trio: Trio, report_id: str, finder: PupilFinder) -> MakeTask:
    """What a worker needs to measure shards."""
    return partial(ShardValidator, trio, report_id, finder)


def grey(images: Pixels) -> Grey:
    """8-bit images as such.

    Raises:
        NotComparableError: they have 16 bits, which these measurements are not made for.
    """
    if images.dtype != np.uint8:
        raise NotComparableError(f"expected 8-bit images, found {images.dtype}")
    return images.astype(np.uint8, copy=False)


def mean_abs_change(before: Grey, after: Grey) -> NDArray[np.float32]:
    """(n,) mean |after - before| of each image on [-1, 1]; 0 where the refiner did nothing."""
    difference = np.abs(after.astype(np.float32) - before.astype(np.float32)) / 127.5
    return np.asarray(difference.mean(axis=tuple(range(1, difference.ndim))), np.float32)


def drift_of(index: pa.Table, before: Grey, after: Grey, finder: PupilFinder) -> DriftTable:
    """The pupils' drift between pairs, whose labels are rows of an index."""
    return measure_drift(
        before,
        after,
        windows_N2=_column(index, "pupil_px"),
        eye_width_px_N=_column(index, "eye_width_px"),
        gaze_yaw_rad_N=_column(index, "gaze_yaw_rad"),
        gaze_pitch_rad_N=_column(index, "gaze_pitch_rad"),
        keys=index["key"].to_pylist(),
        finder=finder,
    )


def _column(index: pa.Table, name: str) -> NDArray[np.float64]:
    values = np.array(index[name].to_pylist(), np.float64)
    return values.reshape(len(index), 2) if name == "pupil_px" else values


# --- on a sample of the dataset -----------------------------------------------------------------


class Sampled(NamedTuple):
    """A seeded choice of pairs, in a random order that has nothing to do with keys."""

    index: pa.Table
    synthetic: Grey
    refined: Grey


def shards_of(dataset: Dataset, split: str | None) -> list[int]:
    """Committed shards of a split, or of all where it is None.

    Raises:
        ValueError: no such split, or no images in it.
    """
    shards = dataset.committed() if split is None else dataset.committed_in(split)
    if not any(dataset.facts(shard).num_samples for shard in shards):
        raise ValueError(f"{dataset.location} holds no images yet")
    return shards


def check_enough(trio: Trio, shards: Sequence[int], split: str | None) -> None:
    """See that there are images enough for the two-sample tests, before hours are spent.

    Raises:
        ValueError: there are not; says how many there are.
    """
    real = shards_of(trio.real, split if split in trio.real.card.splits else None)
    for dataset, numbers, needed in (
        (trio.refined, shards, MIN_IMAGES),
        (trio.real, real, 2 * MIN_IMAGES),
    ):
        num = sum(dataset.facts(shard).num_samples for shard in numbers)
        if num < needed:
            raise ValueError(
                f"{dataset.location} has {num} images to validate with, at least {needed} needed"
            )


def sample_pairs(trio: Trio, shards: Sequence[int], count: int, seed: int) -> Sampled:
    """About `count` pairs out of as few of the shards as hold them."""
    index, refined = sample_labelled(trio.refined, shards, count, seed)
    _, synthetic = sample_labelled(trio.parent, shards, count, seed)
    return Sampled(index, synthetic, refined)


def sample_labelled(
    dataset: Dataset, shards: Sequence[int], count: int, seed: int
) -> tuple[pa.Table, Grey]:
    """About `count` samples, index rows and images, out of as few of the shards as hold them."""
    rng = np.random.default_rng(seed)
    shards = _some_shards(dataset, shards, count, rng)
    index = load_index(dataset, shards=shards)
    chosen = rng.permutation(len(index))[:count]
    return index.take(pa.array(chosen)), grey(load_images(dataset, shards))[chosen]


def sample_images(dataset: Dataset, split: str | None, count: int, seed: int) -> Grey:
    """About `count` images of a dataset in random order; of a split, where it has that."""
    rng = np.random.default_rng(seed)
    shards = shards_of(dataset, split if split in dataset.card.splits else None)
    images = grey(load_images(dataset, _some_shards(dataset, shards, count, rng)))
    return images[rng.permutation(len(images))[:count]]


def _some_shards(
    dataset: Dataset, shards: Sequence[int], count: int, rng: np.random.Generator
) -> list[int]:
    chosen, reached = [], 0
    for shard in rng.permutation(np.array(shards)).tolist():
        chosen.append(shard)
        reached += dataset.facts(shard).num_samples
        if reached >= count:
            break
    return sorted(chosen)


def calibrate_on(
    sampled: Sampled, crop: EyeCrop, finder: PupilFinder, seed: int, num: int
) -> Calibration:
    """How far the estimator can be trusted on the parent's own images.

    Args:
        crop: how the parent was cut, for built-in eyes in two looks to be cut alike.
    """
    index = sampled.index.slice(0, num)
    return calibrate(
        sampled.synthetic[:num],
        truth_px_N2=np.array(index["iris_px"].to_pylist(), np.float64).mean(axis=1),
        eye_width_px_N=_column(index, "eye_width_px"),
        finder=finder,
        seed=seed,
        pairs=camera_pairs(crop, num, seed),
        truth="iris circles in the labels of the parent's own renders",
    )
