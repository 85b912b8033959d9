"""From measurements to a report: the numbers, the page, and the lines for a terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from factory.dataset import parquet_bytes
from factory.eye_measures import EyeMeasurer, EyeWitnesses, values_of
from factory.gate import Gate, judged
from factory.images import grey
from factory.labels.calibration import Calibration
from factory.labels.drift import DriftTable, spread
from factory.labels.pupil import Abstained, PupilFit
from factory.report.figures import Outline
from factory.report.page import MAX_TILES, MAX_WORST, ReportPictures, WorstDrift, render_page
from factory.report.witness_figures import Shifts
from factory.sample_checks import check_samples, verdicts_of
from factory.shards import sha256
from factory.validate import Grey, Sampled, Trio
from factory.verdicts import verdicts_name
from factory.version import WRITER
from factory.witnesses import DRIFTS, NullMeasures, agreement_of, witnesses_of
from schemas.realism import LookDistances
from schemas.report import Realism, Report, ValidatedShard, Verdicts


@dataclass(frozen=True)
class Measured:
    """Everything that a report is made from."""

    measures: pa.Table
    """rows of `schemas.measures.EYE_MEASURES_SCHEMA`, all samples in order of key"""
    calibration: Calibration
    null: NullMeasures
    realism: Realism
    looks: LookDistances
    witnesses: EyeWitnesses

    @cached_property
    def table(self) -> DriftTable:
        """The pupil finder's part."""
        return DriftTable.from_measures(self.measures)

    @property
    def change(self) -> NDArray[np.float32]:
        """(N,) mean |refined - parent| on [-1, 1]."""
        return np.asarray(self.measures["mean_abs_change"].to_numpy(), np.float32)


def make_report(
    trio: Trio, report_id: str, shards: Sequence[int], measured: Measured, gate: Gate | None
) -> tuple[Report, bytes]:
    """The numbers, with the gate's verdict if there is one; and verdicts.parquet."""
    facts = trio.refined.all_facts(shards)
    measures = measured.measures
    limits = gate.samples if gate is not None else ()
    verdicts = verdicts_of(measures, limits)
    content = parquet_bytes(verdicts)
    num_dropped = len(verdicts) - int(pc.sum(verdicts["keep"]).as_py() or 0)
    calibration = measured.calibration.summary
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
        calibration=calibration,
        witnesses=witnesses_of(measures, measured.null, measured.witnesses, calibration),
        agreement=agreement_of(measures),
        realism=measured.realism,
        looks=measured.looks,
        samples=check_samples(measures, limits),
        verdicts=Verdicts(
            sha256=sha256(content),
            num_kept=len(verdicts) - num_dropped,
            num_dropped=num_dropped,
            dropped_share=num_dropped / len(verdicts) if len(verdicts) else 0.0,
        ),
        gate=None,
        checks=(),
        passed=None,
    )
    return (report if gate is None else judged(report, gate)), content


def write_report(
    trio: Trio,
    report: Report,
    verdicts: bytes,
    measured: Measured,
    sampled: Sampled,
    real: Grey,
    notes: Sequence[str],
    earlier: Report | None = None,
) -> str:
    """Write verdicts.parquet, report.html, then report.json: a report exists once its numbers do.

    Returns:
        the name of the page in the refined dataset.
    """
    pictures = ReportPictures(
        keys=sampled.index["key"].to_pylist()[:MAX_TILES],
        synthetic_NHW=sampled.synthetic[:MAX_TILES],
        refined_NHW=sampled.refined[:MAX_TILES],
        real_NHW=real[:MAX_TILES],
        worst=worst_pairs(trio, measured),
        drift_px=measured.table.measured_px(),
        null_drift_px=measured.calibration.null_drift_px,
        mean_abs_change=measured.change,
        shifts=shifts_of(measured.measures),
        notes=notes,
    )
    folder = f"reports/{report.id}"
    store = trio.refined.store
    store.put_new(verdicts_name(report.id), verdicts)
    store.put_new(f"{folder}/report.html", render_page(report, pictures, earlier).encode())
    store.put_new(f"{folder}/report.json", report.to_json())
    return f"{folder}/report.html"


def worst_pairs(trio: Trio, measured: Measured) -> list[WorstDrift]:
    """The pairs with the largest drift by each witness: centres as measured, ellipses fitted and
    landmarks found again."""
    measurer = EyeMeasurer(measured.witnesses)
    table = measured.table
    worst = []
    for name, witness in DRIFTS.items():
        drift = np.nan_to_num(values_of(measured.measures, witness.drift), nan=-1.0)
        for row in np.argsort(-drift, kind="stable")[: MAX_WORST // len(DRIFTS)]:
            if drift[row] < 0:
                break
            key = table.keys[row]
            labels = trio.refined.index(int(key.split("-")[0]), ["key", "pupil_px"])
            x, y = labels["pupil_px"][labels["key"].to_pylist().index(key)].as_py()
            before, after = (grey(dataset.image(key)) for dataset in (trio.parent, trio.refined))
            finder = measured.witnesses.finder
            worst.append(
                WorstDrift(
                    key=key,
                    synthetic=before,
                    refined=after,
                    synthetic_outline=_outline(table.parent_N2[row], finder.find(before, (x, y))),
                    refined_outline=_outline(table.refined_N2[row], finder.find(after, (x, y))),
                    drift=f"{drift[row]:.2f} {witness.unit} by {name.replace('_', ' ')}",
                    synthetic_points=measurer.landmarks_of(before),
                    refined_points=measurer.landmarks_of(after),
                    gaze_deg=(
                        math.degrees(table.gaze_yaw_rad_N[row]),
                        math.degrees(table.gaze_pitch_rad_N[row]),
                    ),
                )
            )
    return worst


def shifts_of(measures: pa.Table) -> Shifts | None:
    """What the plot of arrows draws; None without a landmark network."""
    shift = [values_of(measures, f"iris_shift_{axis}_px") for axis in "xy"]
    if not np.isfinite(shift[0]).any():
        return None
    return Shifts(
        np.degrees(values_of(measures, "gaze_yaw_rad")),
        np.degrees(values_of(measures, "gaze_pitch_rad")),
        np.stack(shift, axis=1),
    )


def _outline(center: NDArray[np.float64], fit: PupilFit | Abstained) -> Outline:
    center_px = (float(center[0]), float(center[1]))
    if isinstance(fit, Abstained):
        return Outline(center_px)
    return Outline(center_px, fit.axes_px, fit.angle_rad)


def summary_lines(report: Report) -> list[str]:
    """The report in a few lines for a terminal: every drift beside its floor."""
    realism = report.realism
    lines = []
    for name, witness in report.witnesses:
        if witness is None:
            continue
        measured = f"{witness.num_measured} of {witness.num_samples} samples"
        if witness.drift is None:
            lines.append(f"drift by {name}: nothing could be measured")
            continue
        floor = witness.floor
        lines.append(
            f"drift by {name} ({measured}): {witness.drift.mean:.2f} ± {witness.drift.sd:.2f} "
            f"{witness.unit}, median {witness.drift.median:.2f}, 95 % below "
            f"{witness.drift.p95:.2f}; floor: "
            + ("not measured" if floor is None else f"{floor.median:.2f}, {floor.p95:.2f}")
        )
    return [
        *lines,
        f"mean |change| on [-1, 1]: {report.mean_abs_change.mean:.3f}",
        f"told from real: synthetic {realism.synthetic_vs_real.accuracy:.1%}, refined "
        f"{realism.refined_vs_real.accuracy:.1%}, real from real "
        f"{realism.real_vs_real.accuracy:.1%} (50 % is perfect)",
        f"from real, features: synthetic {report.looks.frechet.synthetic.value:.1f}, refined "
        f"{report.looks.frechet.refined.value:.1f}, real from real "
        f"{report.looks.frechet.floor.value:.1f} (Fréchet); diversity "
        f"{report.looks.diversity.refined.value:.2f}, copies of real images "
        f"{report.looks.memorised_share.refined.value:.1%}",
        f"samples kept {report.verdicts.num_kept}, dropped {report.verdicts.num_dropped}",
    ]
