"""Validate: compare a refined dataset with its parent, key by key, and with a real one as a
distribution.

Drift is measured shard by shard, in parallel; every sample's measurements are kept beside the
report. Calibration and realism are measured on a seeded sample of the dataset.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.dataset import Dataset, load_images, load_index, parquet_bytes
from factory.gate import Gate, judged
from factory.images import Pixels
from factory.labels.calibration import Calibration, calibrate
from factory.labels.drift import DriftTable, measure_drift, spread
from factory.labels.pupil import PupilFinder, PupilFit
from factory.realism import TwoSampleTest
from factory.report.figures import Outline
from factory.report.page import ReportPictures, WorstDrift, render_page
from factory.version import WRITER
from factory.work import MakeTask, Outcome
from schemas.dataset import DatasetKind
from schemas.report import Realism, Report, TwoSample, ValidatedShard

log = logging.getLogger(__name__)
Grey = NDArray[np.uint8]
NUM_TILES, NUM_WORST = 38, 24
"""samples that the page shows, and worst drifts"""


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
    for shard in child.committed():
        if child.facts(shard).parent_sha256 != synthetic.facts(shard).tar_sha256:
            raise NotComparableError(
                f"{refined}: shard {shard} was refined from another version of its parent shard"
            )
    return Trio(child, synthetic, camera)


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
        table = _drift_of(self.trio.refined.index(shard), before, after, self.finder)
        change = mean_abs_change(before, after)
        rows = table.to_arrow().append_column("mean_abs_change", pa.array(change, pa.float32()))
        self.trio.refined.store.put_new(samples_name(self.report_id, shard), parquet_bytes(rows))
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
    return np.asarray(difference.reshape(len(before), -1).mean(axis=1), np.float32)


def _drift_of(index: pa.Table, before: Grey, after: Grey, finder: PupilFinder) -> DriftTable:
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
    return values.reshape(len(index), 2) if name.endswith("_px") and values.ndim == 2 else values


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


def sample_pairs(trio: Trio, shards: Sequence[int], count: int, seed: int) -> Sampled:
    """About `count` pairs out of as few of the shards as hold them."""
    rng = np.random.default_rng(seed)
    shards = _some_shards(trio.refined, shards, count, rng)
    index = load_index(trio.refined, shards=shards)
    chosen = rng.permutation(len(index))[:count]
    return Sampled(
        index.take(pa.array(chosen)),
        grey(load_images(trio.parent, shards))[chosen],
        grey(load_images(trio.refined, shards))[chosen],
    )


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


def calibrate_on(sampled: Sampled, finder: PupilFinder, seed: int, num: int) -> Calibration:
    """How far the estimator can be trusted on the parent's own images."""
    index = sampled.index.slice(0, num)
    return calibrate(
        sampled.synthetic[:num],
        truth_px_N2=np.array(index["iris_px"].to_pylist(), np.float64).mean(axis=1),
        eye_width_px_N=_column(index, "eye_width_px"),
        finder=finder,
        seed=seed,
        truth="iris circles in the labels of the parent's own renders",
    )


def realism_parts(
    sampled: Sampled, real: Grey, test: TwoSampleTest
) -> tuple[Callable[[], TwoSample], ...]:
    """The three comparisons of `Realism`, as calls that can run side by side."""
    half = len(real) // 2
    return (
        partial(test, real, sampled.synthetic),
        partial(test, real, sampled.refined),
        partial(test, real[:half], real[half:]),
    )


# --- the report ---------------------------------------------------------------------------------


class Measured(NamedTuple):
    """Everything that a report is made from."""

    table: DriftTable
    change: NDArray[np.float32]
    calibration: Calibration
    realism: Realism


def read_samples(
    trio: Trio, report_id: str, shards: Sequence[int]
) -> tuple[DriftTable, NDArray[np.float32]]:
    """The measurements of all shards, merged exactly."""
    tables = [
        pq.read_table(pa.BufferReader(trio.refined.store.read(samples_name(report_id, shard))))
        for shard in shards
    ]
    rows = pa.concat_tables(tables)
    change = np.asarray(rows["mean_abs_change"].to_numpy(), np.float32)
    return DriftTable.from_arrow(rows.drop_columns(["mean_abs_change"])), change


def make_report(
    trio: Trio, report_id: str, shards: Sequence[int], measured: Measured, gate: Gate | None
) -> Report:
    """The numbers, with the gate's verdict if there is one."""
    facts = [trio.refined.facts(shard) for shard in shards]
    report = Report(
        id=report_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        writer=WRITER,
        location=trio.refined.location,
        dataset=trio.refined.card,
        parent_location=trio.parent.location,
        parent=trio.parent.card,
        real_location=trio.real.location,
        real=trio.real.card,
        shards=tuple(
            ValidatedShard(shard=f.shard, tar_sha256=f.tar_sha256, num_samples=f.num_samples)
            for f in facts
        ),
        num_samples=sum(f.num_samples for f in facts),
        mean_abs_change=spread(measured.change),
        drift=measured.table.summary(),
        calibration=measured.calibration.summary,
        realism=measured.realism,
        gate=None,
        checks=(),
        passed=None,
    )
    return report if gate is None else judged(report, gate)


def write_report(
    trio: Trio,
    report: Report,
    measured: Measured,
    sampled: Sampled,
    real: Grey,
    finder: PupilFinder,
    notes: Sequence[str],
) -> str:
    """Write report.html, then report.json: a report exists once its numbers do.

    Returns:
        the name of the page in the refined dataset.
    """
    pictures = ReportPictures(
        keys=sampled.index["key"].to_pylist()[:NUM_TILES],
        synthetic_NHW=sampled.synthetic[:NUM_TILES],
        refined_NHW=sampled.refined[:NUM_TILES],
        real_NHW=real[:NUM_TILES],
        worst=worst_pairs(trio, measured.table, finder),
        drift_px=measured.table.measured_px(),
        null_drift_px=measured.calibration.null_drift_px,
        mean_abs_change=measured.change,
        notes=notes,
    )
    folder = f"reports/{report.id}"
    store = trio.refined.store
    store.put_new(f"{folder}/report.html", render_page(report, pictures).encode())
    store.put_new(f"{folder}/report.json", report.to_json())
    return f"{folder}/report.html"


def worst_pairs(trio: Trio, table: DriftTable, finder: PupilFinder) -> list[WorstDrift]:
    """The pairs with the largest drift, measured again for the outlines."""
    worst = []
    for key in table.worst_keys(NUM_WORST):
        shard = int(key.split("-")[0])
        index = trio.refined.index(shard)
        row = index["key"].to_pylist().index(key)
        worst.append(_worst_pair(trio, shard, index.slice(row, 1).to_pylist()[0], row, finder))
    return worst


def _worst_pair(
    trio: Trio, shard: int, label: dict[str, Any], row: int, finder: PupilFinder
) -> WorstDrift:
    before, after = (grey(d.images(shard))[row] for d in (trio.parent, trio.refined))
    x, y = label["pupil_px"]
    fits = [finder.find(image, (x, y)) for image in (before, after)]
    outlines = [
        Outline(fit.center_px, fit.axes_px, fit.angle_rad)
        for fit in fits
        if isinstance(fit, PupilFit)
    ]
    shift = np.subtract(outlines[1].center_px, outlines[0].center_px)
    return WorstDrift(
        key=label["key"],
        synthetic=before,
        refined=after,
        synthetic_outline=outlines[0],
        refined_outline=outlines[1],
        drift_px=float(np.hypot(*shift)),
        gaze_deg=(
            math.degrees(label["gaze_yaw_rad"]),
            math.degrees(label["gaze_pitch_rad"]),
        ),
    )


def summary_lines(report: Report) -> list[str]:
    """The report in a few lines for a terminal: every drift beside its floor."""
    drift, null = report.drift.drift_px, report.calibration.null_drift_px
    realism = report.realism
    measured = f"{report.drift.num_measured} of {report.drift.num_samples} samples"
    lines = ["pupil-centre drift: nothing could be measured"]
    if drift is not None:
        lines = [
            f"pupil-centre drift ({report.calibration.circle} circle, {measured}): "
            f"{drift.mean:.2f} ± {drift.sd:.2f} px, median {drift.median:.2f}, "
            f"95th percentile {drift.p95:.2f}",
            f"  floor (null drift): median {null.median:.2f}, 95th percentile {null.p95:.2f}",
        ]
    return [
        *lines,
        f"mean |change| on [-1, 1]: {report.mean_abs_change.mean:.3f}",
        f"told from real: synthetic {realism.synthetic_vs_real.accuracy:.1%}, refined "
        f"{realism.refined_vs_real.accuracy:.1%}, real from real "
        f"{realism.real_vs_real.accuracy:.1%} (50 % is perfect)",
    ]
