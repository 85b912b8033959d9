"""The plots of an evaluation's page."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.comparison.results import Outcome, Row
from schemas.evaluation import ArmResult, ScoredRefiner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"constant": "#8a929b", "renders": "#0072b2", "real": "#007a5a"}
_CONTROL, _REFINED = "#7d5ba6", "#d55e00"
_REFINED_KINDS = ("refined", "dataset")


def _colour(kind: str) -> str:
    return _REFINED if kind in _REFINED_KINDS else _COLOURS.get(kind, _CONTROL)


def arms_plot(results: Sequence[ArmResult], baseline: str) -> bytes:
    """Arms from top to bottom: mean error with its interval, and a dot for each seed. The result
    of each of these functions is an SVG picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.8 + 0.38 * len(results)), layout="constrained")
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
    return svg_of(figure)


def curves_plot(
    rows: Mapping[Row, Outcome], kinds: Mapping[tuple[str, int | None], str], unit: str
) -> bytes:
    """Cumulative curves: the share of what is scored against the error.

    Args:
        kinds: of the arms, by name and size.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
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
    return svg_of(figure)


def scores_plot(
    lines: Sequence[ScoredRefiner], titles: Mapping[str, str], levels: Mapping[str, float]
) -> bytes:
    """The error against each number of a score, one panel each.

    Args:
        titles: of the numbers, by name; the others are not drawn.
        levels: mean errors of other arms, drawn as dashed lines.
    """
    from matplotlib.figure import Figure

    names = [name for name in titles if any(name in line.metrics for line in lines)]
    by_arm: dict[str, list[ScoredRefiner]] = defaultdict(list)
    for line in lines:
        by_arm[line.arm].append(line)
    figure = Figure(figsize=(9, 3.4 * -(-len(names) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(names) // 2), 2, sharey=True, squeeze=False).ravel()
    for name, axes in zip(names, panels, strict=False):
        means = []
        for number, (arm, own) in enumerate(by_arm.items()):
            known = [(line.metrics[name], line.error) for line in own if name in line.metrics]
            if not known:
                continue
            values: NDArray[np.float64] = np.array(known)
            axes.plot(*values.T, "o", ms=4, color=f"C{number % 10}", label=arm)
            means.append(values.mean(axis=0))
        axes.plot(*np.array(sorted(map(tuple, means))).T, color="#57606a", lw=0.8, zorder=0)
        for arm, level in levels.items():
            axes.axhline(level, color="#57606a", lw=0.8, ls="--", zorder=0)
            axes.annotate(
                arm, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                fontsize=8,
            )  # fmt: skip
        axes.set_xlabel(titles[name])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(lw=0.4)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[::2]:
        axes.set_ylabel(f"mean error, {lines[0].unit}")
    panels[0].legend(frameon=False, fontsize=8)
    return svg_of(figure)


def svg_of(figure: "Figure") -> bytes:
    """A figure as an SVG picture: the same bytes for the same figure, so that a picture that did
    not change is no change."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "evaluation"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
