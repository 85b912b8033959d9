"""The page of an evaluation: one HTML file that needs no other."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.comparison.results import Outcome, Row
from factory.images.png import Pixels, png_data_uri
from factory.store.extras import require
from factory.training.strips import columns_png
from schemas.evaluation import ArmResult, EvaluationReport, Interval

_COLOURS = {"constant": "#8a929b", "renders": "#0072b2", "real": "#007a5a"}
_CONTROL, _REFINED = "#7d5ba6", "#d55e00"
_REFINED_KINDS = ("refined", "dataset")
NUM_PICTURES = 8


class Figure(NamedTuple):
    """A plot with its words."""

    title: str
    uri: str
    alt: str
    caption: str


class Pictures(NamedTuple):
    """The same renders in the look of each arm; images (n, H, W) as stored."""

    by_arm: Mapping[str, Pixels]
    full_scale: float


def write_page(
    report: EvaluationReport, outcomes: Mapping[Row, Outcome], pictures: Pictures
) -> str:
    """The page, with everything inside.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    require("jinja2", "the page of an evaluation")
    import jinja2

    template = (Path(__file__).parent / "page.html").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        report=report,
        figures=_figures(report, outcomes),
        pictures=_sheet(pictures),
        rows=[_row(result) for result in report.arms],
        differences=[
            {
                **line.model_dump(include={"arm", "other", "model", "test", "num_seeds"}),
                "size": _size(line.size),
                "difference": _interval(line.difference, line.unit),
                "relative": _percent(line.relative),
            }
            for line in report.differences
        ],
        gaps=[
            {
                **line.model_dump(include={"arm", "model", "test", "num_real"}),
                "size": _size(line.size),
                "share": _percent(line.share),
            }
            for line in report.gaps
        ],
    )


def _row(result: ArmResult) -> dict[str, str]:
    mean = "every training collapsed"
    if result.mean is not None:
        mean = _interval(result.mean, result.unit)
    by_seed = ", ".join(f"{error:.2f}" for _, error in result.by_seed)
    if result.collapsed_seeds:
        by_seed += f"; {len(result.collapsed_seeds)} collapsed to a constant and left out"
    return {
        "arm": result.arm,
        "size": _size(result.size),
        "model": result.model,
        "test": result.test,
        "mean": mean,
        "by_seed": by_seed,
        "within": ", ".join(
            f"{share:.1%} within {bound}{_unit(result.unit)}"
            for bound, share in result.within.items()
        ),
    }


def _size(size: int | None) -> str:
    return "all" if size is None else f"{size:,}"


def _unit(unit: str) -> str:
    return "°" if unit == "deg" else f" {unit}"


def _interval(found: Interval, unit: str) -> str:
    return f"{found.value:.2f}{_unit(unit)} ({found.low:.2f} to {found.high:.2f})"


def _percent(found: Interval) -> str:
    value, low, high = (f"{100 * v:.0f}" for v in (found.value, found.low, found.high))
    return f"{value} % ({low} to {high})"


def _sheet(pictures: Pictures) -> str:
    if not pictures.by_arm:
        return ""
    columns = [(name, images[:, None]) for name, images in pictures.by_arm.items()]
    return png_data_uri(columns_png(columns, pictures.full_scale))


def _figures(report: EvaluationReport, outcomes: Mapping[Row, Outcome]) -> list[Figure]:
    """For each test set, the arms with their seeds; and the cumulative curves of one model."""
    figures = []
    for test in dict.fromkeys(result.test for result in report.arms):
        results = [r for r in report.arms if r.test == test and r.mean is not None]
        if not results:
            continue
        unit = results[0].unit
        figures.append(
            Figure(
                f"{test}: error of each arm",
                _arms_plot(results, report.baseline),
                f"Mean errors on {test}, one line an arm and model",
                f"Mean error, {unit}. Dots are seeds, bars are 95 % intervals over blocks and "
                f"seeds, the dashed line is the mean of {report.baseline}. Further left is "
                "better.",
            )
        )
        for model in dict.fromkeys(r.model for r in results if r.kind != "constant"):
            rows = {
                row: outcome
                for row, outcome in outcomes.items()
                if row.test == test and row.model == model and outcome.by_block is not None
            }
            kinds = {(r.arm, r.size): r.kind for r in results}
            figures.append(
                Figure(
                    f"{test}: share within an error, {model}",
                    _curves_plot(rows, kinds, unit),
                    f"Cumulative errors on {test}",
                    f"Share of what is scored (images, frames or joints) with at most so large an "
                    f"error ({unit}), all seeds together.",
                )
            )
    return figures


def _colour(kind: str) -> str:
    return _REFINED if kind in _REFINED_KINDS else _COLOURS.get(kind, _CONTROL)


def _arms_plot(results: Sequence[ArmResult], baseline: str) -> str:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(9, 0.8 + 0.38 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for row, result in enumerate(results):
        colour = _colour(result.kind)
        assert result.mean is not None
        axes.plot([result.mean.low, result.mean.high], [row, row], color=colour, lw=2.5, alpha=0.6)
        axes.plot(result.mean.value, row, "D", color=colour, ms=6)
        errors = [error for _, error in result.by_seed]
        axes.plot(errors, [row + 0.22] * len(errors), "o", color=colour, ms=3.5, alpha=0.8)
        size = "" if result.size is None else f" {result.size:,}"
        model = "" if result.kind == "constant" else f", {result.model}"
        labels.append(f"{result.arm}{size}{model}")
        if result.arm == baseline:
            axes.axvline(result.mean.value, color=colour, lw=0.8, ls="--", zorder=0)
    axes.set_yticks(range(len(results)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"mean error, {results[0].unit}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", lw=0.4)
    return _svg_uri(figure)


def _curves_plot(
    rows: Mapping[Row, Outcome], kinds: Mapping[tuple[str, int | None], str], unit: str
) -> str:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", ":", "-.")
    seen: dict[str, int] = {}
    largest = 0.0
    for row, outcome in rows.items():
        colour = _colour(kinds[row.arm, row.size])
        style = styles[seen.setdefault(colour, 0) % len(styles)]
        seen[colour] += 1
        errors: NDArray[np.float64] = np.sort(outcome.errors_SM.ravel())
        share = np.arange(1, len(errors) + 1) / len(errors)
        step = max(1, len(errors) // 400)
        size = "" if row.size is None else f" {row.size:,}"
        axes.plot(errors[::step], share[::step], style, color=colour, label=f"{row.arm}{size}")
        largest = max(largest, float(np.quantile(errors, 0.95)))
    axes.set_xlim(0, largest)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"error, {unit}")
    axes.set_ylabel("share of what is scored")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(lw=0.4)
    axes.legend(frameon=False)
    return _svg_uri(figure)


def _svg_uri(figure: "object") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")  # type: ignore[attr-defined]
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
