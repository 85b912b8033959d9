"""How values of files are written on the pages: numbers with few digits, lists in short."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

NOT_KNOWN = "—"
"""in place of what is null"""
LONGEST_TEXT = 300
"""characters of a text in a table"""


def short(value: Any, digits: int = 4) -> str:
    """A value in a cell: few digits of a number, the beginning of a text, a list in one line."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value, digits)
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(of)}" for name, of in value.items())
    if isinstance(value, Sequence):
        return ", ".join(f"({short(of)})" if _is_list(of) else short(of) for of in value)
    return str(value)


def number(value: float, digits: int = 4) -> str:
    """A number with few digits, without an exponent where it is not very small or large."""
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:.{min(places, 6)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def count(value: int) -> str:
    """A count, with commas between thousands."""
    return f"{value:,}"


def pretty(value: Any) -> str:
    """JSON that people read."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def is_long(value: Any) -> bool:
    """Whether a value is a list of lists, or of many numbers, which a page folds."""
    return _is_list(value) and (len(value) > 4 or any(map(_is_list, value)))


def counted(num: int, noun: str) -> str:
    """`1 shard`, `5 shards`."""
    return f"{num:,} {noun}" + ("" if num == 1 else "s")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "short": short,
    "count": count,
    "pretty": pretty,
    "is_long": is_long,
    "counted": counted,
}
