"""Pictures and plots of the report page: PNG files as data URIs, and SVG.

Colours are from the palette of Okabe and Ito, which people with colour blindness can tell apart;
what shares a plot also differs in form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from factory.images.png import Pixels, encode_png, png_data_uri
from schemas.report import TwoSample

SYNTHETIC, REFINED, REAL, FLOOR = "#0072b2", "#d55e00", "#007a5a", "#5b6470"
NUM_BINS = 36
TAIL_PERCENTILE = 99.0
"""percentile at which the axis of a histogram ends; what lies beyond is in the last bar"""

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Outline:
    """A measured circle, whose projection in the picture is an ellipse."""

    center_px: tuple[float, float]
    """(x, y); NaN where nothing was measured, and then nothing is drawn"""
    axes_px: tuple[float, float] | None = None
    """the two semi-axes; None draws the centre alone"""
    angle_rad: float = 0.0
    """direction of the first axis from x towards y (down)"""


def png_uri(image: Pixels) -> str:
    """A picture as a data URI, so that the page needs no other file."""
    return png_data_uri(encode_png(image))


def overlay(
    image: Pixels,
    outlines: Sequence[tuple[Outline, str]] = (),
    *,
    contours: Sequence[tuple[Sequence[Values], str]] = (),
    points: Values | None = None,
    point_px: float = 0.55,
    arrow: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Markup:
    """One enlarged picture with measured shapes drawn on it.

    The coordinates of the drawing are those of the picture, with pixel centres at integers, so that
    marks are where they were measured at any zoom.

    Args:
        outlines: circles, drawn with their centres, and the colour of each.
        contours: closed lines of (K, 2) points in px, and the colour of each set.
        points: (P, 2) landmarks in px; those that are NaN are left out.
        point_px: the radius of a landmark's dot.
        arrow: the start and the end of a movement, px.
    """
    height, width = image.shape[:2]
    marks = [
        _outline(outline, colour)
        for outline, colour in outlines
        if np.isfinite(outline.center_px).all()
    ]
    marks += [_closed(lines, colour) for lines, colour in contours]
    for x, y in [] if points is None else points[np.isfinite(points).all(axis=1)]:
        marks.append(_dot(float(x), float(y), point_px))
    if arrow is not None and np.isfinite(arrow).all():
        marks.append(_line(*arrow))
    return Markup(
        '<svg class="shot" viewBox="-0.5 -0.5 {width} {height}" role="img">'
        '<image href="{uri}" x="-0.5" y="-0.5" width="{width}" height="{height}" '
        'style="image-rendering:pixelated" preserveAspectRatio="none"/>{marks}</svg>'
    ).format(width=width, height=height, uri=png_uri(image), marks=Markup("").join(marks))


def _closed(lines: Sequence[Values], colour: str) -> Markup:
    path = "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in line) + "Z" for line in lines)
    return Markup(
        '<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.2" stroke-linejoin="round"/>'
    ).format(d=path, colour=colour)


def _dot(x: float, y: float, radius: float) -> Markup:
    return Markup(
        '<circle cx="{x:.2f}" cy="{y:.2f}" r="{r:g}" fill="#f0e442" stroke="#000" '
        'stroke-width="{w:g}"/>'
    ).format(x=x, y=y, r=radius, w=round(0.27 * radius, 2))


def _line(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    path = f"M{start[0]:.2f} {start[1]:.2f}L{end[0]:.2f} {end[1]:.2f}"
    return Markup(
        '<path d="{d}" stroke="#fff" stroke-width="0.9"/>'
        '<path d="{d}" stroke="#d55e00" stroke-width="0.5"/>'
    ).format(d=path)


def _outline(outline: Outline, colour: str) -> Markup:
    x, y = outline.center_px
    arm = 1.6
    cross = f"M{x - arm:.2f} {y:.2f}H{x + arm:.2f}M{x:.2f} {y - arm:.2f}V{y + arm:.2f}"
    drawn = Markup(
        '<path d="{d}" fill="none" stroke="#fff" stroke-width="0.8"/>'
        '<path d="{d}" fill="none" stroke="{colour}" stroke-width="0.42"/>'
    ).format(d=cross, colour=colour)
    if outline.axes_px is None:
        return drawn
    return drawn + Markup(
        '<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{rx:.2f}" ry="{ry:.2f}" fill="none" '
        'stroke="{colour}" stroke-width="0.45" transform="rotate({turn:.1f} {x:.2f} {y:.2f})"/>'
    ).format(
        x=x,
        y=y,
        rx=outline.axes_px[0],
        ry=outline.axes_px[1],
        colour=colour,
        turn=math.degrees(outline.angle_rad),
    )


@dataclass(frozen=True)
class Mark:
    """A value that is marked on the axis of a histogram."""

    value: float
    label: str
    colour: str


@dataclass(frozen=True)
class Plot:
    """The frame of a plot, in the units of the drawing."""

    left: float = 44
    right: float = 460
    top: float = 46
    bottom: float = 212
    width: float = 480
    height: float = 256

    def x(self, part: float) -> float:
        """The horizontal position of a share of the axis, 0 to 1."""
        return self.left + part * (self.right - self.left)

    def y(self, part: float) -> float:
        """The vertical position of a share of the axis, 0 (bottom) to 1."""
        return self.bottom - part * (self.bottom - self.top)

    def level(self, part: float, label: str, *, size: int = 13) -> str:
        """A line across at a share of the height, with its label on the left."""
        y = self.y(part)
        line = f'<path d="M{self.left} {y:.1f}H{self.right}" stroke="#d9dde2"/>'
        return line + text(self.left - 6, y + 4, label, "end", size=size)

    def upright(self, x: float, label: str, *, marked: bool) -> str:
        """A line from top to bottom, with its label below; a marked one is black and dashed."""
        style = 'stroke="#111" stroke-dasharray="5 3"' if marked else 'stroke="#d9dde2"'
        line = f'<path d="M{x:.1f} {self.top}V{self.bottom}" {style}/>'
        return line + text(x, self.bottom + 17, label, "middle")

    def axis(self, words: str) -> str:
        """What the horizontal axis shows, below it."""
        return text((self.left + self.right) / 2, self.height - 6, words, "middle")


def histogram(
    values: Values,
    *,
    axis: str,
    colour: str,
    floor: Values | None = None,
    marks: Sequence[Mark] = (),
) -> Markup:
    """A histogram of `values`, with that of `floor` as a dashed outline over it.

    The heights are shares of the values, and of the floor.

    Args:
        values: 0 or larger, in the unit that `axis` names; NaN are left out.
        axis: the label of the axis.
        colour: of the bars.
        floor: in the same unit.
        marks: values to mark on the axis.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Markup('<p class="none">Nothing was measured.</p>')
    shown = finite if floor is None else np.concatenate([finite, floor[np.isfinite(floor)]])
    step = nice_step(float(np.percentile(shown, TAIL_PERCENTILE)), 6)
    end = step * math.ceil(max(float(np.percentile(shown, TAIL_PERCENTILE)) / step, 1e-9))
    shares = _shares(finite, end)
    floor_shares = None if floor is None or floor.size == 0 else _shares(floor, end)
    top = max(shares.max(), 0 if floor_shares is None else floor_shares.max())
    plot = Plot()
    parts = [_share_axis(plot, float(top))]
    bar = (plot.right - plot.left) / NUM_BINS
    for k, share in enumerate(shares):
        y = plot.y(share / top)
        parts.append(
            f'<rect x="{plot.left + k * bar + 0.5:.1f}" y="{y:.1f}" width="{bar - 1:.1f}" '
            f'height="{plot.bottom - y:.1f}" fill="{colour}" fill-opacity="0.75"/>'
        )
    if floor_shares is not None:
        path = f"M{plot.left} {plot.bottom}" + "".join(
            f"V{plot.y(share / top):.1f}H{plot.left + (k + 1) * bar:.1f}"
            for k, share in enumerate(floor_shares)
        )
        parts.append(
            f'<path d="{path}V{plot.bottom}" fill="none" stroke="#111" stroke-width="1.8" '
            'stroke-dasharray="5 3"/>'
        )
    parts += [_mark(plot, mark, end, row) for row, mark in enumerate(marks)]
    for k in range(round(end / step) + 1):
        last = k == round(end / step)
        label = f"{k * step:g}" + ("+" if last and float(shown.max()) > end else "")
        parts.append(text(plot.x(k * step / end), plot.bottom + 17, label, "middle"))
    parts.append(plot.axis(axis))
    return svg(plot, parts, f"histogram of {axis}")


def accuracies(lines: Sequence[tuple[str, TwoSample, str]]) -> Markup:
    """The accuracies of two-sample tests, with intervals, on an axis from 40 % to 100 %.

    Args:
        lines: (label, result, colour) of each test.
    """
    plot = Plot(left=164, top=10, bottom=26 + 44 * len(lines), height=66 + 44 * len(lines))
    low = 0.4

    def at(value: float) -> float:
        return plot.x((min(max(value, low), 1) - low) / (1 - low))

    parts = []
    for percent in (40, 50, 60, 70, 80, 90, 100):
        parts.append(plot.upright(at(percent / 100), f"{percent} %", marked=percent == 50))
    for k, (name, test, colour) in enumerate(lines):
        y = plot.top + 30 + 44 * k
        parts.append(
            f'<path d="M{at(test.low):.1f} {y}H{at(test.high):.1f}M{at(test.low):.1f} {y - 6}v12'
            f'M{at(test.high):.1f} {y - 6}v12" stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{at(test.accuracy):.1f}" cy="{y}" r="6.5" fill="{colour}"/>'
        )
        parts.append(text(plot.left - 12, y - 3, name, "end"))
        interval = f"{100 * test.accuracy:.1f} % ({100 * test.low:.1f} to {100 * test.high:.1f})"
        parts.append(text(plot.left - 12, y + 13, interval, "end", size=12))
    parts.append(plot.axis("held-out accuracy; 50 %: cannot be told from real"))
    return svg(plot, parts, "two-sample accuracies")


def heat(value: float, top: float) -> str:
    """The CSS background of a table cell, from white at 0 to orange at `top`.

    Dark text can be read on all of these colours.
    """
    part = min(max(value / top, 0.0), 1.0) if top > 0 else 0.0
    red, green, blue = (round(255 + part * (c - 255)) for c in (240, 150, 70))
    return f"background:rgb({red},{green},{blue})"


def _shares(values: Values, end: float) -> NDArray[np.float64]:
    """(NUM_BINS,) share of the finite values in each bin from 0 to `end`."""
    finite = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(finite, 0, end), bins=NUM_BINS, range=(0, end))
    return np.asarray(counts / max(1, finite.size))


def number_text(value: float) -> str:
    """Three significant digits, from a thousand on a whole number; with a real minus sign."""
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def nice_step(span: float, num: int) -> float:
    """A step for the ticks of an axis: 1, 2 or 5 times a power of ten, about `span` / `num`."""
    rough = max(span, 1e-6) / num
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))


def _share_axis(plot: Plot, top: float) -> str:
    step = nice_step(top, 4)
    num_lines = int(top / step + 1e-6) + 1
    return "".join(plot.level(k * step / top, f"{100 * k * step:g} %") for k in range(num_lines))


def _mark(plot: Plot, mark: Mark, end: float, row: int) -> str:
    x = plot.x(min(mark.value / end, 1))
    y = 14 + 16 * row
    side, dx = ("start", 5) if x < (plot.left + plot.right) / 2 else ("end", -5)
    return (
        f'<path d="M{x:.1f} {y - 9}V{plot.bottom}" stroke="{mark.colour}" stroke-width="1.8"/>'
        + text(x + dx, y, mark.label, side, colour=mark.colour)
    )


def text(
    x: float, y: float, words: str, anchor: str, *, size: int = 13, colour: str = "#333"
) -> str:
    """A label of a plot; `words` are escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(words)}</text>'
    )


def svg(plot: Plot, parts: Sequence[str], title: str) -> Markup:
    """The drawing of a plot.

    Args:
        parts: SVG elements, whose words are escaped already.
        title: what the drawing shows, for screen readers.
    """
    return Markup(  # the parts have only numbers, and words that `text` escaped
        f'<svg class="plot" viewBox="0 0 {plot.width:g} {plot.height:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
