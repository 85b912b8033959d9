"""Plots of the measures of looks: distances on one scale, spectra and histograms.

Each set has a colour and a form: synthetic is a square and dashed, refined a circle and solid, real
a diamond and dotted.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from factory.validation.report.figures import (
    FLOOR,
    REAL,
    REFINED,
    SYNTHETIC,
    Plot,
    nice_step,
    number_text,
    svg,
    text,
)
from schemas.realism import Compared, Curves, Distance, LookDistances

ROWS = {
    "frechet": ("Fréchet, features", ""),
    "kernel": ("kernel, features, squared", ""),
    "sliced_wasserstein_fine": ("patches, fine", "sd of real"),
    "sliced_wasserstein_coarse": ("patches, coarse", "sd of real"),
    "spectrum_db": ("spectrum", "dB"),
    "grey": ("grey values", "grey levels"),
    "gradient": ("gradient", "grey levels per px"),
    "coverage": ("coverage", ""),
    "density": ("density", ""),
    "diversity": ("diversity", ""),
}
"""the measures of looks by their names in `LookDistances`, with their labels and units; an empty
unit says that there is none"""
LEAST, MOST = -0.5, 1.5
"""ends of the axis, where 0 is the floor and 1 the renders; values beyond are drawn at its ends"""
ROW_PX = 38
TAIL_SHARE = 0.005
"""largest share of a histogram that may lie beyond the axis"""
GREY_BINS, GRADIENT_BINS = 4, 4
"""number of bins that are drawn as one"""


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'


def _square(x: float, y: float, colour: str) -> str:
    return f'<path d="M{x - 4:.1f} {y - 4:.1f}h8v8h-8z" fill="{colour}"/>'


def _diamond(x: float, y: float, colour: str) -> str:
    return f'<path d="M{x - 5.5:.1f} {y:.1f}l5.5 -5.5l5.5 5.5l-5.5 5.5z" fill="{colour}"/>'


FORMS = (("floor", FLOOR, _diamond), ("synthetic", SYNTHETIC, _square), ("refined", REFINED, _dot))

SHOWN = {"synthetic": "renders"}
"""what the page calls a set that has another name in reports"""


def rows_of(looks: LookDistances) -> list[tuple[str, Compared]]:
    """(label, values) of each measure of looks, for `distances`."""
    return [
        (f"{label}, {unit}" if unit else label, getattr(looks, name))
        for name, (label, unit) in ROWS.items()
    ]


def distances(rows: Sequence[tuple[str, Compared]]) -> Markup:
    """A plot with one row for each measure, which shows floor, renders and refined images.

    Every row has its own scale, on which the floor is 0 and the renders are 1. A row in which these
    two cannot be told apart has a note instead.
    """
    bottom = 32.0 + ROW_PX * len(rows)
    plot = Plot(left=206, top=28, bottom=bottom, width=560, right=540, height=bottom + 40)
    parts = []
    for k, (name, colour, form) in enumerate(FORMS):
        parts.append(form(plot.left + 10 + 110 * k, 12, colour))
        parts.append(
            text(plot.left + 20 + 110 * k, 17, SHOWN.get(name, name), "start", colour=colour)
        )
    for tick in np.arange(LEAST, MOST + 0.25, 0.5).tolist():
        parts.append(plot.upright(_at(plot, tick), f"{tick:g}", marked=tick == 0))
    for row, (label, compared) in enumerate(rows):
        parts += _row(plot, plot.top + ROW_PX * (row + 0.5), label, compared)
    parts.append(plot.axis("0: as far as real from real; 1: as far as the renders"))
    return svg(plot, parts, "distances of looks, from the floor to the renders")


def _at(plot: Plot, value: float) -> float:
    return plot.x((min(max(value, LEAST), MOST) - LEAST) / (MOST - LEAST))


def _row(plot: Plot, y: float, label: str, compared: Compared) -> list[str]:
    numbers = " → ".join(number_text(one.value) for one in (compared.synthetic, compared.refined))
    parts = [
        text(plot.left - 10, y - 2, label, "end"),
        text(
            plot.left - 10,
            y + 13,
            f"{numbers}, floor {number_text(compared.floor.value)}",
            "end",
            size=12,
        ),
    ]
    gap = compared.synthetic.value - compared.floor.value
    if _overlap(compared.synthetic, compared.floor):
        note = "the renders are at the floor already"
        return [*parts, text((plot.left + plot.right) / 2, y + 5, note, "middle", size=12)]
    for (name, colour, form), dy in zip(FORMS, (-8, 0, 8), strict=True):
        one: Distance = getattr(compared, name)
        low, value, high = (
            _at(plot, (number - compared.floor.value) / gap)
            for number in (one.low, one.value, one.high)
        )
        parts.append(
            f'<path d="M{low:.1f} {y + dy:.1f}H{high:.1f}" stroke="{colour}" stroke-width="2.4"/>'
            + form(value, y + dy, colour)
        )
    return parts


def _overlap(left: Distance, right: Distance) -> bool:
    return left.low <= right.high and right.low <= left.high


def shares(curves: Curves, axis: str) -> Markup:
    """Histograms of a statistic, in shares of the images of each set.

    Args:
        curves: shares, at the lower edges of the bins.
        axis: the name of the statistic.
    """
    low, step = curves.at[0], curves.at[1] - curves.at[0]
    middles = tuple(at + step / 2 for at in curves.at)
    percent = {
        name: tuple(100 * share for share in getattr(curves, name))
        for name in ("synthetic", "refined", "real")
    }
    return _lines(Curves(at=middles, **percent), axis, "%", least=0, start=low)


def spectra(curves: Curves) -> Markup:
    """The mean power of each set, in dB, over spatial frequency."""
    return _lines(curves, "spatial frequency, cycles per pixel", "dB", least=None)


def grey_histograms(curves: Curves) -> Markup:
    """The share of the pixels of each set at each grey level."""
    return _lines(_coarser(curves, GREY_BINS), "grey level", "%", least=0)


def gradient_histograms(curves: Curves) -> Markup:
    """The share of each set's pixels at each gradient magnitude, without the end of the tail."""
    sets = np.array([curves.synthetic, curves.refined, curves.real])
    beyond = 1 - np.cumsum(sets, axis=1).min(axis=0)
    end = int(np.argmax(beyond <= TAIL_SHARE)) + GRADIENT_BINS
    shown = _coarser(curves, GRADIENT_BINS, end)
    return _lines(shown, "gradient, grey levels per pixel", "%", least=0)


def _coarser(curves: Curves, num: int, end: int | None = None) -> Curves:
    """Histograms whose bins join `num` bins each.

    Args:
        end: the number of bins that are kept; None keeps all.

    Returns:
        Shares in per cent at the middles of the new bins; a last, incomplete one is left out.
    """
    at = np.array(curves.at[:end])
    num_joined = len(at) // num * num
    middle = at[:num_joined].reshape(-1, num).mean(axis=1) + (at[1] - at[0]) / 2

    def summed(shares: Sequence[float]) -> tuple[float, ...]:
        return tuple((100 * np.array(shares[:num_joined]).reshape(-1, num).sum(axis=1)).tolist())

    return Curves(
        at=tuple(middle.tolist()),
        synthetic=summed(curves.synthetic),
        refined=summed(curves.refined),
        real=summed(curves.real),
    )


def _lines(
    curves: Curves, axis: str, unit: str, *, least: float | None, start: float = 0.0
) -> Markup:
    """A line for each set over an axis from `start` to the last position of the curves."""
    plot = Plot(top=34)
    at = np.array(curves.at) - start
    lines = {
        "synthetic": (np.array(curves.synthetic), SYNTHETIC, "7 4"),
        "refined": (np.array(curves.refined), REFINED, ""),
        "real": (np.array(curves.real), REAL, "2 3"),
    }
    everything = np.concatenate([values for values, _, _ in lines.values()])
    bottom, top = float(everything.min()) if least is None else least, float(everything.max())
    top = max(top, bottom + 1e-6)
    grid_step = nice_step(top - bottom, 4)
    parts = [
        plot.level((level - bottom) / (top - bottom), f"{level:g} {unit}", size=12)
        for level in np.arange(
            np.ceil(bottom / grid_step) * grid_step, top + 1e-9, grid_step
        ).tolist()
    ]
    step = nice_step(float(at[-1]), 5)
    for tick in (step * np.arange(np.ceil(start / step), (start + at[-1]) / step + 1e-3)).tolist():
        x = plot.x((tick - start) / at[-1])
        parts.append(text(x, plot.bottom + 17, f"{round(tick, 9):g}", "middle"))
    for k, (name, (values, colour, dashes)) in enumerate(lines.items()):
        path = _path(plot, at / at[-1], (values - bottom) / (top - bottom))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dashes}"'
        x = plot.left + 20 + 150 * k
        parts.append(f'<path d="{path}" {stroke}/><path d="M{x} 14h30" {stroke}/>')
        parts.append(text(x + 36, 18, SHOWN.get(name, name), "start", colour=colour))
    parts.append(plot.axis(axis))
    return svg(plot, parts, f"synthetic, refined and real: {unit} over {axis}")


def _path(plot: Plot, x_B: NDArray[np.float64], y_B: NDArray[np.float64]) -> str:
    points = [f"{plot.x(x):.1f} {plot.y(y):.1f}" for x, y in zip(x_B, y_B, strict=True)]
    return "M" + "L".join(points)
