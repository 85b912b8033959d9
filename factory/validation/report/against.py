"""A report beside an earlier one: what became better or worse by more than chance."""

from collections import Counter
from typing import Literal, NamedTuple

from factory.validation.measure_words import UNITS
from schemas.report import Report

Change = Literal["better", "worse", "same", "–"]


class Line(NamedTuple):
    """One number, then and now, in words."""

    name: str
    then: str
    now: str
    change: Change


class Against(NamedTuple):
    """What the page shows."""

    title: str
    lines: list[Line]

    @property
    def sum(self) -> str:
        """How many numbers are better, worse, and neither."""
        counts = Counter(line.change for line in self.lines)
        return f"{counts['better']} better, {counts['worse']} worse, {counts['same']} unclear"


class _Number(NamedTuple):
    """With the interval in which it lies; smaller is better."""

    value: float
    low: float
    high: float


def compared(report: Report, earlier: Report) -> Against:
    """Every number that has an interval in both, and shares that have none."""
    then, plain_then = _numbers(earlier), _plain(earlier)
    lines = [
        Line(name, _in_words(then.get(name)), _in_words(now), _change(then.get(name), now))
        for name, now in _numbers(report).items()
    ]
    lines += [
        Line(name, plain_then.get(name, "not measured"), now, "–")
        for name, now in _plain(report).items()
    ]
    return Against(f"report {earlier.id} of {earlier.dataset.name}, {earlier.created}", lines)


def _numbers(report: Report) -> dict[str, _Number]:
    numbers = {}
    for name, witness in report.by_witness():
        if witness is not None and witness.drift is not None:
            drift, unit = witness.drift, UNITS[witness.unit]
            name = name.replace("_", " ")
            numbers[f"drift by {name}, median, {unit}"] = _Number(
                drift.median, drift.median_low, drift.median_high
            )
            numbers[f"drift by {name}, 95th percentile, {unit}"] = _Number(
                drift.p95, drift.p95_low, drift.p95_high
            )
    closed = report.closed_share()
    if closed is not None and closed.share is not None:
        share = closed.share
        numbers["distance to real that is left, %"] = _Number(
            100 * (1 - share.value), 100 * (1 - share.high), 100 * (1 - share.low)
        )
    test = report.realism.refined_vs_real
    numbers["told from real, % right"] = _Number(
        100 * test.accuracy, 100 * test.low, 100 * test.high
    )
    return numbers


def _plain(report: Report) -> dict[str, str]:
    fids = {}
    if (fidelity := report.fidelity) is not None:
        fids[f"FID of refined, {fidelity.num_images:,} images"] = f"{fidelity.refined.fid:.1f}"
    return fids | {
        "mean |Δ| on [−1, 1]": f"{report.mean_abs_change.mean:.3f}",
        "samples dropped": f"{100 * report.verdicts.dropped_share:.2f} %",
        "samples": f"{report.num_samples:,}",
    }


def _in_words(number: _Number | None) -> str:
    if number is None:
        return "not measured"
    return f"{number.value:.2f} ({number.low:.2f} to {number.high:.2f})"


def _change(then: _Number | None, now: _Number) -> Change:
    if then is None:
        return "–"
    if now.high < then.low:
        return "better"
    return "worse" if now.low > then.high else "same"
