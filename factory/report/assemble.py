"""From measurements to a report: the numbers, the page, and the lines for a terminal."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.gate import Gate, judged
from factory.labels.calibration import Calibration
from factory.labels.drift import DriftTable, spread
from factory.labels.pupil import Abstained, PupilFinder, PupilFit
from factory.report.figures import Outline
from factory.report.page import MAX_TILES, MAX_WORST, ReportPictures, WorstDrift, render_page
from factory.validate import Grey, Sampled, Trio, grey, samples_name
from factory.version import WRITER
from schemas.report import Realism, Report, ValidatedShard


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
    facts = trio.refined.all_facts(shards)
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
        keys=sampled.index["key"].to_pylist()[:MAX_TILES],
        synthetic_NHW=sampled.synthetic[:MAX_TILES],
        refined_NHW=sampled.refined[:MAX_TILES],
        real_NHW=real[:MAX_TILES],
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
    """The pairs with the largest drift: centres as measured, outlines fitted again."""
    worst = []
    drift_px = table.drift_px
    for key in table.worst_keys(MAX_WORST):
        row = table.keys.index(key)
        labels = trio.refined.index(int(key.split("-")[0]), ["key", "pupil_px"])
        x, y = labels["pupil_px"][labels["key"].to_pylist().index(key)].as_py()
        before, after = (grey(dataset.image(key)) for dataset in (trio.parent, trio.refined))
        worst.append(
            WorstDrift(
                key=key,
                synthetic=before,
                refined=after,
                synthetic_outline=_outline(table.parent_N2[row], finder.find(before, (x, y))),
                refined_outline=_outline(table.refined_N2[row], finder.find(after, (x, y))),
                drift_px=float(drift_px[row]),
                gaze_deg=(
                    math.degrees(table.gaze_yaw_rad_N[row]),
                    math.degrees(table.gaze_pitch_rad_N[row]),
                ),
            )
        )
    return worst


def _outline(center: NDArray[np.float64], fit: PupilFit | Abstained) -> Outline:
    center_px = (float(center[0]), float(center[1]))
    if isinstance(fit, Abstained):
        return Outline(center_px)
    return Outline(center_px, fit.axes_px, fit.angle_rad)


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
