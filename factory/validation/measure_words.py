"""What the numbers that a gate limits are called in words, and their units, for readers who have
never seen a gate file."""

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from schemas.report import Report, SampleCheck

STATISTICS = {
    "median": "median of {}",
    "p95": "95th percentile of {}",
    "p99": "99th percentile of {}",
    "mean": "mean of {}",
    "sd": "standard deviation of {}",
    "num": "number of samples behind {}",
    "value": "{}",
    "accuracy": "{}",
    "low": "lower end of the interval of {}",
    "high": "upper end of the interval of {}",
    "median_low": "lower end of the interval of the median of {}",
    "median_high": "upper end of the interval of the median of {}",
    "p95_low": "lower end of the interval of the 95th percentile of {}",
    "p95_high": "upper end of the interval of the 95th percentile of {}",
    "mean_low": "lower end of the interval of the mean of {}",
    "mean_high": "upper end of the interval of the mean of {}",
}
"""the last part of a number's name, with what it says of the rest"""
UNITS = {"px": "px", "deg": "°", "mm": "mm", "percent": "%", "db": "dB"}
"""the endings of names of measures, with how a page writes the unit"""
SHARES = re.compile(r"share|rate$|accuracy|realism_gain|refined_over_floor|label_fit|coverage")
"""names of numbers from 0 to 1, and of differences of such, that are shown in per cent"""


def behind(unit: str) -> str:
    """A unit as it follows a number: ` px`, `°`; nothing for none."""
    return unit if unit in ("", "°") else f"\N{NO-BREAK SPACE}{unit}"


class Measure(NamedTuple):
    """A measure in words."""

    words: str
    """without its unit, e.g. `median of the drift by the iris witness`"""
    unit: str
    """as it stands behind a number: `px`, `°`, `%`; empty where it has none"""
    factor: float = 1.0
    """from the number in the report to the number that is shown: 100 for shares"""

    def shown(self, value: float) -> str:
        """A value with its unit: counts whole, percentages in one digit, all else in three
        significant digits, with a real minus sign."""
        value *= self.factor
        if self.unit == "%":
            number = f"{value:.1f}".removesuffix(".0")
        elif value == round(value):
            number = f"{value:,.0f}"
        else:
            number = f"{value:.3g}"
        number = number.replace("-", "\N{MINUS SIGN}")
        return number + behind(self.unit)


def measure_of(report: Report, name: str) -> Measure:
    """The measure that a limit on a number of a report bounds.

    Args:
        name: dotted, as in a gate file.
    """
    if name in report.derived:
        return _with_unit(report.derived[name][1], name)
    path, _, statistic = name.rpartition(".")
    if statistic not in STATISTICS:
        path, statistic = name, "value"
    rest = next(
        (words for known, words in report.number_words.items() if fnmatchcase(path, known)), None
    )
    parts = path.split(".")
    if rest is None:
        rest = " of ".join(reversed(parts)).replace("_", " ")
    witness = parts[1] if parts[0] == "witnesses" and len(parts) > 1 else None
    if witness is not None:
        rest = rest.format(witness=witness.replace("_", " "))
        units = {key: one.unit for key, one in report.by_witness() if one is not None}
        if statistic != "num" and witness in units:
            return Measure(STATISTICS[statistic].format(rest), UNITS[units[witness]])
    return _with_unit(STATISTICS[statistic].format(rest), name if statistic != "num" else "")


def sample_measure_of(report: Report, name: str) -> Measure:
    """The measure of single samples that a limit bounds.

    Args:
        name: a column of the domain's measurements.
    """
    return _with_unit(report.sample_measures.get(name, name.replace("_", " ")), name)


def sample_limit_words(check: SampleCheck, measure: Measure) -> str:
    """What a sample that misses the limit does, e.g. `more than 8 px (8 spreads above the
    median)`."""
    bounds = (("less than", check.at_least), ("more than", check.at_most))
    parts = [f"{side} {measure.shown(bound)}" for side, bound in bounds if bound is not None]
    relative = re.findall(r"[\d.]+ spreads (?:above|below) the median", check.limit)
    if not parts:
        return ", ".join(relative)
    return " or ".join(parts) + (f" ({', '.join(relative)})" if relative else "")


def _with_unit(meaning: str, name: str) -> Measure:
    """The words before a colon or semicolon; what follows them explains."""
    words = re.split(r"[;:]", meaning)[0].replace("|refined - parent|", "|Δ|")
    words = re.sub(r", (-1|0) to 1$", "", words).replace("[-1, 1]", "[−1, 1]")
    for part in reversed(name.split(".")):
        if SHARES.search(part):
            return Measure(words, "%", 100.0)
        if unit := UNITS.get(part.rpartition("_")[2]):
            return Measure(words, unit)
    return Measure(words, "")
