"""The page of an evaluation: one HTML file that needs no other."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from factory.evaluation.comparison.plots import arms_plot, curves_plot, scores_plot
from factory.evaluation.comparison.results import Outcome, Row
from factory.evaluation.names import file_name_of
from factory.evaluation.pages import page_of
from factory.images.png import Pixels, png_data_uri
from factory.training.strips import columns_png
from schemas.evaluation import ArmResult, EvaluationReport, Interval

NUM_PICTURES = 8
MIN_SCORED = 3
"""refiners with a score, from which on errors are drawn against scores"""


class Figure(NamedTuple):
    """A plot with its words."""

    name: str
    """of its file, without the suffix"""
    title: str
    svg: bytes
    alt: str
    caption: str
    first: bool = False
    """whether it is among what a reader should see, and is not folded"""

    @property
    def uri(self) -> str:
        """The picture as an address that needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


class Pictures(NamedTuple):
    """The same renders in the look of each arm; images (n, H, W) as stored."""

    by_arm: Mapping[str, Pixels]
    full_scale: float


def write_page(report: EvaluationReport, figures: Sequence[Figure], pictures: Pictures) -> str:
    """The page, with everything inside.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return page_of(
        Path(__file__).with_name("page.html"),
        "the page of an evaluation",
        report=report,
        arms=list(dict.fromkeys(result.arm for result in report.arms)),
        tests=list(dict.fromkeys(result.test for result in report.arms)),
        figures=figures,
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
    unit = _unit(result.unit)
    mean = "every training collapsed"
    if result.mean is not None:
        mean = _interval(result.mean, result.unit)
    by_seed = ", ".join(_minus(f"{error:.2f}{unit}") for _, error in result.by_seed)
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
            f"{100 * share:.1f} % within {bound}{unit}" for bound, share in result.within.items()
        ),
    }


def _size(size: int | None) -> str:
    return "all" if size is None else f"{size:,}"


def _unit(unit: str) -> str:
    return "°" if unit == "deg" else f" {unit}"


def _interval(interval: Interval, unit: str) -> str:
    return _minus(f"{interval.value:.2f}{_unit(unit)} ({interval.low:.2f} to {interval.high:.2f})")


def _percent(interval: Interval) -> str:
    value, low, high = (f"{100 * v:.0f}" for v in (interval.value, interval.low, interval.high))
    return _minus(f"{value} % ({low} to {high})")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _sheet(pictures: Pictures) -> str:
    if not pictures.by_arm:
        return ""
    columns = [(name, images[:, None]) for name, images in pictures.by_arm.items()]
    return png_data_uri(columns_png(columns, pictures.full_scale))


def figures_of(
    report: EvaluationReport, outcomes: Mapping[Row, Outcome], titles: Mapping[str, str]
) -> list[Figure]:
    """All figures of the page.

    Args:
        titles: of the numbers that refiners are scored by.
    """
    return [*_error_figures(report, outcomes), *_score_figures(report, titles)]


def _error_figures(report: EvaluationReport, outcomes: Mapping[Row, Outcome]) -> list[Figure]:
    """For each test set, the arms with their seeds; and the cumulative curves of one model."""
    figures = []
    for test in dict.fromkeys(result.test for result in report.arms):
        results = [r for r in report.arms if r.test == test and r.mean is not None]
        if not results:
            continue
        unit = results[0].unit
        figures.append(
            Figure(
                file_name_of("error", test),
                f"{test}: error of each arm",
                arms_plot(results, report.baseline),
                f"Mean errors on {test}, one line an arm and model",
                f"Mean error, {unit}. Dots are seeds, bars are 95 % intervals over blocks and "
                f"seeds, the dashed line is the mean of {report.baseline}. Further left is "
                "better.",
                first=True,
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
                    file_name_of("curves", test, model),
                    f"{test}: share within an error, {model}",
                    curves_plot(rows, kinds, unit),
                    f"Cumulative errors on {test}",
                    f"Share of what is scored (images, frames or joints) with at most so large an "
                    f"error ({unit}), all seeds together.",
                )
            )
    return figures


def _score_figures(report: EvaluationReport, titles: Mapping[str, str]) -> list[Figure]:
    """For each test set and model, the error on real images against the scores of refiners, where
    at least three were scored."""
    figures = []
    for test, model in dict.fromkeys((line.test, line.model) for line in report.scored):
        lines = [line for line in report.scored if (line.test, line.model) == (test, model)]
        if len(lines) < MIN_SCORED:
            continue
        levels = {
            result.arm: result.mean.value
            for result in report.arms
            if result.arm in (report.baseline, report.control)
            and (result.test, result.model) == (test, model)
            and result.mean is not None
        }
        figures.append(
            Figure(
                file_name_of("scores", test, model),
                f"{test}: error against the scores of refiners, {model}",
                scores_plot(lines, titles, levels),
                f"Mean errors on {test} against what refiners were scored by",
                f"Mean error, {lines[0].unit}, of {model} trained on what each refiner made, "
                "against the refiner's scores on held-out images. A dot is a seed; a line joins "
                "the means of the arms. A score that says beforehand what pays rises or falls "
                "with the error; one that does not is no reason to refuse a refiner.",
            )
        )
    return figures
