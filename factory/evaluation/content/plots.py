"""The plot of a comparison of content."""

from collections.abc import Sequence

import numpy as np

from factory.evaluation.comparison.plots import svg_of
from factory.evaluation.content.ranges import range_in_words, within_range_of
from factory.evaluation.content.reading import Estimates
from factory.networks.evaluation_kinds import Values
from schemas.content import ContentOfLabel

_RENDERS, _REAL, _KEPT = "#0072b2", "#007a5a", "#e69f00"
_BINS = 40


def content_plot(
    contents: Sequence[ContentOfLabel], values_NL: Values, estimates: Estimates
) -> bytes:
    """A column for each label, as SVG: above, what is estimated of renders and of real images;
    below, the true labels of all renders and of those that are like real images, with the
    recommended range shaded.

    Args:
        values_NL: the true labels of the renders.
        estimates: those of the same renders, and of the real images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(contents), 5.6), layout="constrained")
    panels = figure.subplots(2, len(contents), squeeze=False, sharex="col")
    for number, content in enumerate(contents):
        true_N, renders_N, real_M = (
            values[:, number] for values in (values_NL, estimates.renders_NL, estimates.real_ML)
        )
        above, below = panels[:, number]
        everything = np.concatenate([true_N, renders_N, real_M])
        low, high = np.quantile(everything, (0.001, 0.999))
        bins = np.linspace(low, high, _BINS + 1).tolist() if high > low else _BINS
        for values, name, colour in ((renders_N, "renders", _RENDERS), (real_M, "real", _REAL)):
            weights = np.full(len(values), 1 / len(values))
            above.hist(
                values,
                bins,
                weights=weights,
                histtype="stepfilled",
                color=colour,
                alpha=0.5,
                label=name,
            )
        alike = true_N[within_range_of(renders_N, real_M)]
        below.hist(
            true_N, bins, histtype="stepfilled", color=_RENDERS, alpha=0.5, label="all renders"
        )
        below.hist(
            alike, bins, histtype="stepfilled", color=_RENDERS, label="estimated as real images are"
        )
        if content.recommended is not None:
            below.axvspan(
                *content.recommended, color=_KEPT, alpha=0.25, zorder=0,
                label=f"keep {range_in_words(content.recommended)}",
            )  # fmt: skip
        correlation = "" if content.correlation is None else f", r = {content.correlation:.2f}"
        above.set_title(f"{content.name}{correlation}: {content.outcome}", fontsize=10)
        above.set_xlabel(f"estimated, {content.unit}")
        below.set_xlabel(f"true label, {content.unit}")
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="x", lw=0.4)
            axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
            axes.legend(frameon=False, fontsize=8)
            axes.tick_params(labelbottom=True)
    panels[0][0].set_ylabel("share of the images")
    panels[1][0].set_ylabel("number of renders")
    return svg_of(figure)
