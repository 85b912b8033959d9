"""From a report on eyes and its pictures to one self-contained HTML page.

Everything is inside: styles, plots, and images as data URIs. No script, no request to anywhere, so
that the page still opens from a bucket, an e-mail or an archive in ten years.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from factory.domains.eye.gaze_arrows import Shifts, arrows
from factory.domains.eye.pupil.drift import ABSTENTION_WORDS
from factory.images.png import Pixels
from factory.validation.report import figures, look_figures
from factory.validation.report.figures import REFINED, Mark, Outline
from factory.validation.report.parts import (
    MAX_WORST,
    Pictures,
    View,
    change_and_realism,
    rendered,
    tiles_of,
    within_budget,
)
from schemas.eye.report import MIN_BIN_SAMPLES, EyeReport, GazeBin

PAPER_MEAN_PX, PAPER_SD_PX, PAPER_EYE_WIDTH_PX = 1.1, 0.8, 55.0
"""Shrivastava et al. 2017, section 3.1: centres marked by hand on 100 pairs."""

Values = NDArray[np.floating]


@dataclass(frozen=True)
class WorstDrift:
    """A pair whose measured centres lie far apart."""

    key: str
    synthetic: Pixels
    refined: Pixels
    synthetic_outline: Outline
    refined_outline: Outline
    drift: str
    """how far it is, by which witness, e.g. `2.3 px by pupil`"""
    synthetic_points: Values | None = None
    """(P, 2) landmarks found, px; None without a landmark network"""
    refined_points: Values | None = None
    gaze_deg: tuple[float, float] | None = None
    """(yaw, pitch)"""


@dataclass(frozen=True, kw_only=True)
class ReportPictures(Pictures):
    """What a page on eyes shows beside the numbers of its report; drifts are of the fitted iris."""

    worst: Sequence[WorstDrift]
    """largest drift first; the first of every witness before the second ones"""
    eye_width_px: float
    """of the images, for drifts in the paper's unit"""
    shifts: Shifts | None = None
    """of the iris landmarks; None without a landmark network"""


def render_page(
    report: EyeReport, pictures: ReportPictures, earlier: EyeReport | None = None
) -> str:
    """The whole page as one string of HTML.

    Args:
        earlier: a report to compare with.
    """
    return rendered(
        Path(__file__).with_name("page.html"),
        report,
        notes=pictures.notes,
        tiles=tiles_of(
            pictures.keys, pictures.synthetic_NHW, pictures.refined_NHW, pictures.real_NHW
        ),
        plots=_plots(report, pictures),
        earlier=earlier,
        worst=within_budget(map(_view, pictures.worst[:MAX_WORST])),
        look_rows=look_figures.ROWS | {"memorised_share": ("copies of real images", "share")},
        gaze=GazeTable.of(report.drift.bins),
        min_bin_samples=MIN_BIN_SAMPLES,
        judged=None,
        reason_words=ABSTENTION_WORDS,
        centre=report.witnesses.iris or report.witnesses.pupil,
        eye_width_px=pictures.eye_width_px,
        paper={
            "mean_px": PAPER_MEAN_PX,
            "sd_px": PAPER_SD_PX,
            "width_px": PAPER_EYE_WIDTH_PX,
            "scale": PAPER_EYE_WIDTH_PX / pictures.eye_width_px,
            "mean_percent": 100 * PAPER_MEAN_PX / PAPER_EYE_WIDTH_PX,
            "sd_percent": 100 * PAPER_SD_PX / PAPER_EYE_WIDTH_PX,
        },
    )


@dataclass(frozen=True)
class GazeCell:
    """A bin of the gaze table, with the colour of its median."""

    bin: GazeBin
    style: str
    """empty where too few samples were measured to say anything"""


@dataclass(frozen=True)
class GazeTable:
    """Bins laid out as the eyes look: up is up, and image left (positive yaw) is left."""

    yaws: list[tuple[float, float]]
    rows: list[tuple[tuple[float, float], list[GazeCell | None]]]
    """pitch range, and its cells"""

    @staticmethod
    def of(bins: Sequence[GazeBin]) -> "GazeTable":
        yaws = sorted({line.yaw_deg for line in bins}, reverse=True)
        pitches = sorted({line.pitch_deg for line in bins}, reverse=True)
        known = {
            (line.yaw_deg, line.pitch_deg): line.drift_px.median
            for line in bins
            if line.drift_px is not None and line.drift_px.num >= MIN_BIN_SAMPLES
        }
        top = max([1.0, *known.values()])
        cells = {
            angles: GazeCell(line, figures.heat(known[angles], top) if angles in known else "")
            for line in bins
            if (angles := (line.yaw_deg, line.pitch_deg))
        }
        rows = [(pitch, [cells.get((yaw, pitch)) for yaw in yaws]) for pitch in pitches]
        return GazeTable(yaws, rows)


def _view(pair: WorstDrift) -> View:
    was = dataclasses.replace(pair.synthetic_outline, axes_px=None)
    before = [(pair.synthetic_outline, "#56b4e9")]
    after = [(was, "#56b4e9"), (pair.refined_outline, "#e69f00")]
    arrow = pair.synthetic_outline.center_px, pair.refined_outline.center_px
    turned = "" if pair.gaze_deg is None else " · yaw {:.0f}°, pitch {:.0f}°".format(*pair.gaze_deg)
    return View(
        pair.drift,
        pair.key + turned.replace("-", "\N{MINUS SIGN}"),
        figures.overlay(pair.synthetic, before, points=pair.synthetic_points),
        figures.overlay(pair.refined, after, points=pair.refined_points, arrow=arrow),
    )


def _plots(report: EyeReport, pictures: ReportPictures) -> dict[str, Markup | None]:
    drift, null = report.drift.drift_px, report.calibration.null_drift_px
    marks = [Mark(null.median, f"null median {null.median:.2f} px", "#111")]
    if drift is not None:
        marks.append(Mark(drift.median, f"drift median {drift.median:.2f} px", REFINED))
        marks.append(Mark(drift.p95, f"95 % below {drift.p95:.2f} px", REFINED))
    return {
        "looks": look_figures.distances(look_figures.rows_of(report.looks)),
        "spectra": look_figures.spectra(report.looks.spectra),
        "greys": look_figures.grey_histograms(report.looks.grey_histogram),
        "gradients": look_figures.gradient_histograms(report.looks.gradient_histogram),
        "arrows": None if pictures.shifts is None else arrows(pictures.shifts),
        "drift": figures.histogram(
            pictures.drift_px,
            axis="drift of the fitted iris, px of the crop",
            colour=REFINED,
            floor=pictures.null_drift_px,
            marks=marks,
        ),
        **change_and_realism(report, pictures.mean_abs_change),
    }
