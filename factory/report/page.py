"""From a report and its pictures to one self-contained HTML page.

Everything is inside: styles, plots, and images as data URIs. No script, no request to anywhere, so
that the page still opens from a bucket, an e-mail or an archive in ten years.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import orjson
from markupsafe import Markup
from numpy.typing import NDArray

from factory.gate import limit_text, sample_text, value_of
from factory.images import Pixels
from factory.report import figures, look_figures
from factory.report.against import compared
from factory.report.figures import FLOOR, REAL, REFINED, SYNTHETIC, Mark, Outline
from factory.report.witness_figures import Shifts, arrows, by_condition
from schemas.eye_report import EyeReport, GazeBin
from schemas.report import Spread, ValueBin

PAPER_MEAN_PX, PAPER_SD_PX, PAPER_EYE_WIDTH_PX = 1.1, 0.8, 55.0
"""Shrivastava et al. 2017, section 3.1: centres marked by hand on 100 pairs."""
MAX_TILES, MAX_WORST, STRIP_LENGTH = 38, 24, 8
GRID_BUDGET_BYTES, WORST_BUDGET_BYTES = 1_000_000, 800_000
"""of data URIs; of larger images fewer are shown"""

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


@dataclass(frozen=True)
class ReportPictures:
    """What a page shows beside the numbers of its report.

    Arrays of images are uint8 (N, H, W); the first two are pairs, `keys` name them.
    """

    keys: Sequence[str]
    synthetic_NHW: Pixels  # noqa: N815
    refined_NHW: Pixels  # noqa: N815
    real_NHW: Pixels  # noqa: N815
    worst: Sequence[WorstDrift]
    """witness by witness, largest drift first"""
    drift_px: Values
    """of all measured samples"""
    null_drift_px: Values
    """of the looks that make the floor"""
    mean_abs_change: Values
    """of all samples, on [-1, 1]"""
    shifts: Shifts | None = None
    """of the iris landmarks; None without a landmark network"""
    notes: Sequence[str] = ()
    """what a reader must know before any number, e.g. that the real images are a stand-in"""

    def __post_init__(self) -> None:
        if not len(self.keys) == len(self.synthetic_NHW) == len(self.refined_NHW):
            raise ValueError(
                f"{len(self.keys)} keys, {len(self.synthetic_NHW)} synthetic and "
                f"{len(self.refined_NHW)} refined images are no pairs"
            )


def render_page(
    report: EyeReport, pictures: ReportPictures, earlier: EyeReport | None = None
) -> str:
    """The whole page as one string of HTML.

    Args:
        earlier: a report to compare with.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = _number
    environment.filters["measured"] = _measured
    environment.filters["pct"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    environment.filters["pretty"] = lambda content: orjson.dumps(
        content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    ).decode()
    return environment.get_template("report.html").render(
        report=report,
        pictures=pictures,
        tiles=_tiles(pictures),
        strip_length=STRIP_LENGTH,
        worst=_worst(pictures),
        plots=_plots(report, pictures),
        look_rows=look_figures.ROWS | {"memorised_share": "copies of real images"},
        witnesses=[(name, found) for name, found in report.witnesses if found is not None],
        condition_plots=_condition_plots(report),
        sample_text=sample_text,
        against=None if earlier is None else compared(report, earlier),
        gaze=GazeTable.of(report.drift.bins),
        derived={name: value_of(report, name) for name in report.derived},
        meanings={name: meaning for name, (_, meaning) in report.derived.items()},
        limit_text=limit_text,
        colours={"synthetic": SYNTHETIC, "refined": REFINED, "real": REAL, "floor": FLOOR},
        paper={
            "mean_px": PAPER_MEAN_PX,
            "sd_px": PAPER_SD_PX,
            "width_px": PAPER_EYE_WIDTH_PX,
            "mean_percent": 100 * PAPER_MEAN_PX / PAPER_EYE_WIDTH_PX,
            "sd_percent": 100 * PAPER_SD_PX / PAPER_EYE_WIDTH_PX,
        },
    )


@dataclass(frozen=True)
class GazeCell:
    """A bin of the gaze table, with the colour of its median."""

    bin: GazeBin
    style: str


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
        top = max((line.drift_px.median for line in bins if line.drift_px), default=0.0)
        cells = {
            (line.yaw_deg, line.pitch_deg): GazeCell(
                line, figures.heat(line.drift_px.median, max(top, 1.0)) if line.drift_px else ""
            )
            for line in bins
        }
        rows = [(pitch, [cells.get((yaw, pitch)) for yaw in yaws]) for pitch in pitches]
        return GazeTable(yaws, rows)


@dataclass(frozen=True)
class _Tile:
    key: str
    synthetic: str
    refined: str
    real: str | None


def _tiles(pictures: ReportPictures) -> list[_Tile]:
    """As many pairs as the budget allows, each with a real image that has nothing to do with it."""
    tiles: list[_Tile] = []
    used = 0
    for k, key in enumerate(pictures.keys[:MAX_TILES]):
        real = pictures.real_NHW[k] if k < len(pictures.real_NHW) else None
        tile = _Tile(
            key,
            figures.png_uri(pictures.synthetic_NHW[k]),
            figures.png_uri(pictures.refined_NHW[k]),
            None if real is None else figures.png_uri(real),
        )
        used += len(tile.synthetic) + len(tile.refined) + len(tile.real or "")
        if used > GRID_BUDGET_BYTES and tiles:
            break
        tiles.append(tile)
    return tiles


@dataclass(frozen=True)
class _WorstView:
    pair: WorstDrift
    before: Markup
    after: Markup


def _worst(pictures: ReportPictures) -> list[_WorstView]:
    """As many of the worst pairs as the budget allows."""
    views: list[_WorstView] = []
    used = 0
    for pair in pictures.worst[:MAX_WORST]:
        was = dataclasses.replace(pair.synthetic_outline, axes_px=None)
        before = [(pair.synthetic_outline, "#56b4e9")]
        after = [(was, "#56b4e9"), (pair.refined_outline, "#e69f00")]
        arrow = pair.synthetic_outline.center_px, pair.refined_outline.center_px
        view = _WorstView(
            pair,
            figures.overlay(pair.synthetic, before, points=pair.synthetic_points),
            figures.overlay(pair.refined, after, points=pair.refined_points, arrow=arrow),
        )
        used += len(view.before) + len(view.after)
        if used > WORST_BUDGET_BYTES and views:
            break
        views.append(view)
    return views


def _plots(report: EyeReport, pictures: ReportPictures) -> dict[str, Markup | None]:
    drift, null = report.drift.drift_px, report.calibration.null_drift_px
    marks = [Mark(null.median, f"null median {null.median:.2f} px", "#111")]
    if drift is not None:
        marks.append(Mark(drift.median, f"drift median {drift.median:.2f} px", REFINED))
        marks.append(Mark(drift.p95, f"95 % below {drift.p95:.2f} px", REFINED))
    change = report.mean_abs_change
    realism = report.realism
    return {
        "looks": look_figures.distances(report.looks),
        "spectra": look_figures.spectra(report.looks.spectra),
        "greys": look_figures.grey_histograms(report.looks.grey_histogram),
        "gradients": look_figures.gradient_histograms(report.looks.gradient_histogram),
        "arrows": None if pictures.shifts is None else arrows(pictures.shifts),
        "drift": figures.histogram(
            pictures.drift_px,
            axis="pupil-centre drift, crop px",
            colour=REFINED,
            floor=pictures.null_drift_px,
            marks=marks,
        ),
        "change": figures.histogram(
            pictures.mean_abs_change,
            axis="mean |Δ| of an image, on [−1, 1]",
            colour=SYNTHETIC,
            marks=[Mark(change.median, f"median {change.median:.3f}", SYNTHETIC)],
        ),
        "realism": figures.accuracies(
            [
                ("synthetic vs real", realism.synthetic_vs_real, SYNTHETIC),
                ("refined vs real", realism.refined_vs_real, REFINED),
                ("real vs real", realism.real_vs_real, FLOOR),
            ]
        ),
    }


def _condition_plots(report: EyeReport) -> list[tuple[str, list[Markup]]]:
    """For each witness, a plot for each condition."""
    found = []
    for name, witness in report.witnesses:
        if witness is None or witness.drift is None:
            continue
        by: dict[str, list[ValueBin]] = {}
        for line in witness.bins:
            by.setdefault(line.by, []).append(line)
        plots = [by_condition(bins, unit=witness.unit, floor=witness.floor) for bins in by.values()]
        found.append((f"{name.replace('_', ' ')}, {witness.unit}", plots))
    return found


def _number(value: float | Spread | None, digits: int = 2) -> str:
    """Fixed digits, a real minus sign, and a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, Spread):
        return f"{value.mean:.{digits}f} ± {value.sd:.{digits}f}"
    return f"{value:.{digits}f}".replace("-", "−")


def _measured(value: float) -> str:
    """Counts whole, anything else in four digits."""
    return (f"{value:,.0f}" if value == round(value) else f"{value:.4g}").replace("-", "−")
