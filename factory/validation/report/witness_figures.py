"""Plots of what the witnesses say: drift by condition with its intervals, and where irises go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from factory.validation.report.figures import (
    FLOOR,
    REFINED,
    Plot,
    nice_step,
    svg,
    text,
)
from schemas.report import Spread, ValueBin

MIN_ARROW_SAMPLES = 5


def by_condition(bins: Sequence[ValueBin], *, unit: str, floor: Spread | None) -> Markup:
    """Median and 95th percentile of each bin of one condition, with their intervals.

    Args:
        floor: null drift; its median is drawn as a dashed line.
    """
    known = [line.estimate for line in bins if line.estimate is not None]
    if not known:
        return Markup('<p class="none">Nothing was measured.</p>')
    plot = Plot(left=40, top=14, bottom=170, height=226)
    top = max(*(line.p95_high for line in known), floor.median if floor else 0.0, 1e-6)
    step = nice_step(top, 4)
    top = step * np.ceil(top / step)
    parts = []
    for k in range(round(top / step) + 1):
        y = plot.y(k * step / top)
        parts.append(f'<path d="M{plot.left} {y:.1f}H{plot.right}" stroke="#d9dde2"/>')
        parts.append(text(plot.left - 6, y + 4, f"{k * step:g}", "end"))
    if floor is not None:
        y = plot.y(floor.median / top)
        parts.append(
            f'<path d="M{plot.left} {y:.1f}H{plot.right}" stroke="#111" stroke-dasharray="5 3"/>'
        )
    for k, line in enumerate(bins):
        x = plot.x((k + 0.5) / len(bins))
        parts.append(text(x, plot.bottom + 17, _range(line), "middle", size=11))
        parts.append(text(x, plot.bottom + 31, f"{line.num_samples:,}", "middle", size=11))
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
    name = bins[0].by
    parts.append(text((plot.left + plot.right) / 2, plot.height - 4, name, "middle"))
    return svg(plot, parts, f"drift in {unit} by {name}")


def _bar(plot: Plot, x: float, low: float, high: float, colour: str) -> str:
    return (
        f'<path d="M{x:.1f} {plot.y(low):.1f}V{plot.y(min(high, 1)):.1f}" stroke="{colour}" '
        'stroke-width="2.5"/>'
    )


def _range(line: ValueBin) -> str:
    low, high = (None if v is None else f"{v:g}".replace("-", "−") for v in (line.low, line.high))
    if low is None or high is None:
        return f"under {high}" if low is None and high is not None else f"over {low}"
    return f"{low} to {high}"


@dataclass(frozen=True)
class Shifts:
    """Displacements of N samples and where each looks."""

    yaw_deg_N: NDArray[np.floating]  # noqa: N815
    pitch_deg_N: NDArray[np.floating]  # noqa: N815
    shift_N2: NDArray[np.floating]  # noqa: N815
    """(x right, y down) px; NaN where nothing was measured"""


def arrows(shifts: Shifts, step_deg: float = 10.0) -> Markup:
    """Mean displacement of the iris by direction of gaze, enlarged: the scale is written below.

    Laid out as the eye looks: up is up, and image left (positive yaw) is left.
    """
    known = np.isfinite(shifts.shift_N2).all(axis=1)
    yaw, pitch = shifts.yaw_deg_N[known], shifts.pitch_deg_N[known]
    if not len(yaw):
        return Markup('<p class="none">Nothing was measured.</p>')
    cells = np.floor(np.stack([yaw, pitch], axis=1) / step_deg + 0.5).astype(int)
    low, high = cells.min(axis=0), cells.max(axis=0)
    columns, rows = (high - low + 1).tolist()
    size = min(52.0, 400 / columns, 230 / rows)
    plot = Plot(left=60, right=60 + size * columns, top=10, bottom=10 + size * rows,
                 height=50 + size * rows)  # fmt: skip
    inside = [(cell, (cells == cell).all(axis=1)) for cell in np.unique(cells, axis=0)]
    means = [
        shifts.shift_N2[known][here].mean(axis=0) if here.sum() >= MIN_ARROW_SAMPLES else None
        for _, here in inside
    ]
    longest = max((float(np.hypot(*mean)) for mean in means if mean is not None), default=0.0)
    scale_px = nice_step(longest, 1)
    parts = []
    for (cell, _), mean in zip(inside, means, strict=True):
        x = plot.left + (high[0] - cell[0] + 0.5) * size
        y = plot.top + (high[1] - cell[1] + 0.5) * size
        parts.append(
            f'<rect x="{x - size / 2 + 1:.1f}" y="{y - size / 2 + 1:.1f}" width="{size - 2:.1f}" '
            f'height="{size - 2:.1f}" fill="#f4f5f7"/>'
        )
        if mean is not None:
            dx, dy = 0.9 * size * mean / scale_px
            parts.append(_arrow(x, y, float(dx), float(dy)))
    for k in range(columns):
        x = plot.left + (columns - k - 0.5) * size
        label = f"{(low[0] + k) * step_deg:g}°".replace("-", "−")
        parts.append(text(x, plot.bottom + 15, label, "middle", size=11))
    for k in range(rows):
        y = plot.top + (rows - k - 0.5) * size
        label = f"{(low[1] + k) * step_deg:g}°".replace("-", "−")
        parts.append(text(plot.left - 6, y + 4, label, "end", size=11))
    words = f"gaze yaw, pitch upwards; an arrow as long as a cell: {scale_px:g} px"
    parts.append(text(8, plot.height - 4, words, "start", size=12))
    return svg(plot, parts, "mean displacement of the iris by direction of gaze")


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """Around its middle, with a head."""
    length = max(float(np.hypot(dx, dy)), 1e-6)
    ux, uy = dx / length, dy / length
    tip_x, tip_y = x + dx / 2, y + dy / 2
    sides = [(tip_x - 5 * ux + 3 * s * uy, tip_y - 5 * uy - 3 * s * ux) for s in (1, -1)]
    head = "".join(f"L{px:.1f} {py:.1f}" for px, py in sides)
    return (
        f'<path d="M{x - dx / 2:.1f} {y - dy / 2:.1f}L{tip_x:.1f} {tip_y:.1f}" '
        f'stroke="{REFINED}" stroke-width="2.2"/>'
        f'<path d="M{tip_x:.1f} {tip_y:.1f}{head}Z" fill="{REFINED}"/>'
    )
