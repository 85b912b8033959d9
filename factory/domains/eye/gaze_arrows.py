"""A plot of where irises moved, by the direction of the gaze."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from factory.validation.report.figures import REFINED, Plot, nice_step, svg, text

STEP_DEG = 10.0
"""width of the bins of gaze directions"""
MIN_ARROW_SAMPLES = 5
"""a direction with fewer measured samples gets no arrow"""


@dataclass(frozen=True)
class Shifts:
    """The displacements of the irises of N samples, and their gaze directions."""

    yaw_deg_N: NDArray[np.floating]  # noqa: N815
    pitch_deg_N: NDArray[np.floating]  # noqa: N815
    shift_N2: NDArray[np.floating]  # noqa: N815
    """(x right, y down) in px; NaN where nothing was measured"""


def arrows(shifts: Shifts) -> Markup:
    """A plot of the mean displacement of the iris in each bin of gaze directions.

    Up is a gaze upwards, and left is image left (positive yaw). Arrows are enlarged; the plot
    states their scale.
    """
    known = np.isfinite(shifts.shift_N2).all(axis=1)
    yaw, pitch = shifts.yaw_deg_N[known], shifts.pitch_deg_N[known]
    if not len(yaw):
        return Markup('<p class="none">Nothing was measured.</p>')
    cells = np.floor(np.stack([yaw, pitch], axis=1) / STEP_DEG + 0.5).astype(int)
    low, high = cells.min(axis=0), cells.max(axis=0)
    columns, rows = (high - low + 1).tolist()
    size = min(52.0, 400 / columns, 230 / rows)
    plot = Plot(left=60, right=60 + size * columns, top=10, bottom=10 + size * rows,
                 height=50 + size * rows)  # fmt: skip
    inside = [(cell, (cells == cell).all(axis=1)) for cell in np.unique(cells, axis=0)]
    means = [
        shifts.shift_N2[known][in_cell].mean(axis=0) if in_cell.sum() >= MIN_ARROW_SAMPLES else None
        for _, in_cell in inside
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
        label = f"{(low[0] + k) * STEP_DEG:g}°".replace("-", "−")
        parts.append(text(x, plot.bottom + 15, label, "middle", size=11))
    for k in range(rows):
        y = plot.top + (rows - k - 0.5) * size
        label = f"{(low[1] + k) * STEP_DEG:g}°".replace("-", "−")
        parts.append(text(plot.left - 6, y + 4, label, "end", size=11))
    words = f"gaze yaw, pitch upwards; an arrow as long as a cell: {scale_px:g} px"
    parts.append(text(8, plot.height - 4, words, "start", size=12))
    return svg(plot, parts, "mean displacement of the iris by direction of gaze")


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """An arrow whose middle is at (x, y)."""
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
