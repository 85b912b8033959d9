"""A plot of drift by condition: quantiles of each bin of a condition, with their intervals."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from factory.validation.report.figures import FLOOR, REFINED, Plot, nice_step, svg, text
from schemas.report import Spread, ValueBin


def by_condition(bins: Sequence[ValueBin], *, unit: str, floor: Spread | None) -> Markup:
    """The median and the 95th percentile in each bin of one condition, with their intervals.

    Args:
        bins: of one condition.
        unit: of the values, as it stands behind a number.
        floor: the null drift, whose median is drawn as a dashed line; None draws none.
    """
    known = [line.estimate for line in bins if line.estimate is not None]
    if not known:
        return Markup('<p class="none">Nothing was measured.</p>')
    plot = Plot(left=66, top=14, bottom=170, height=242)
    top = max(*(line.p95_high for line in known), floor.median if floor else 0.0, 1e-6)
    step = nice_step(top, 4)
    top = step * np.ceil(top / step)
    parts = []
    for k in range(round(top / step) + 1):
        parts.append(plot.level(k * step / top, f"{k * step:g}{unit}"))
    if floor is not None:
        y = plot.y(floor.median / top)
        parts.append(
            f'<path d="M{plot.left} {y:.1f}H{plot.right}" stroke="#111" stroke-dasharray="5 3"/>'
        )
    for k, line in enumerate(bins):
        x = plot.x((k + 0.5) / len(bins))
        words = (*_range(line), f"({line.num_samples:,})")
        for row, part in enumerate(words):
            parts.append(text(x, plot.bottom + 16 + 14 * row, part, "middle", size=11))
        if line.estimate is None:
            parts.append(text(x, plot.bottom - 6, "–", "middle"))
            continue
        estimate = line.estimate
        parts.append(
            _bar(plot, x - 6, estimate.median_low / top, estimate.median_high / top, REFINED)
        )
        parts.append(
            f'<circle cx="{x - 6:.1f}" cy="{plot.y(estimate.median / top):.1f}" r="4.5" '
            f'fill="{REFINED}"/>'
        )
        parts.append(_bar(plot, x + 6, estimate.p95_low / top, estimate.p95_high / top, FLOOR))
        y = plot.y(estimate.p95 / top)
        parts.append(
            f'<path d="M{x + 1:.1f} {y + 4:.1f}L{x + 6:.1f} {y - 5:.1f}L{x + 11:.1f} {y + 4:.1f}Z" '
            f'fill="{FLOOR}"/>'
        )
    name = bins[0].by.replace(", deg", ", °") + " (number of samples)"
    parts.append(text((plot.left + plot.right) / 2, plot.height - 4, name, "middle"))
    return svg(plot, parts, f"drift in {unit} by {name}")


def _bar(plot: Plot, x: float, low: float, high: float, colour: str) -> str:
    return (
        f'<path d="M{x:.1f} {plot.y(low):.1f}V{plot.y(min(high, 1)):.1f}" stroke="{colour}" '
        'stroke-width="2.5"/>'
    )


def _range(line: ValueBin) -> tuple[str, str]:
    """In two lines, since neighbours stand close together."""
    low, high = (None if v is None else f"{v:g}".replace("-", "−") for v in (line.low, line.high))
    if low is None and high is not None:
        return "under", high
    return ("over", f"{low}") if high is None else (f"{low} to", high)
