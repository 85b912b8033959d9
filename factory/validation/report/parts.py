"""What the pages of all domains are made of: the frame around a domain's template, pictures within
a budget, and the plots of what every report has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
from markupsafe import Markup
from numpy.typing import NDArray

from factory.images.png import Pixels
from factory.store.extras import require
from factory.validation.gate import value_of
from factory.validation.measure_words import UNITS, behind
from factory.validation.refiner_verdict import verdict_in_short
from factory.validation.report import figures
from factory.validation.report.against import compared
from factory.validation.report.condition_figures import by_condition
from factory.validation.report.figures import FLOOR, REAL, REFINED, SYNTHETIC, Mark
from factory.validation.report.limits import limit_lines, misses_in_words
from schemas.report import Report, Spread, ValueBin, Witness

if TYPE_CHECKING:
    import jinja2

MAX_TILES, STRIP_LENGTH, NUM_WORST_FIRST, MAX_WORST = 38, 8, 6, 24
GRID_BUDGET_BYTES, WORST_BUDGET_BYTES = 1_000_000, 800_000
"""of data URIs; of larger images fewer are shown"""
_Shown = TypeVar("_Shown")


@dataclass(frozen=True)
class Tile:
    """A pair and a real image that has nothing to do with it, as data URIs."""

    key: str
    synthetic: str
    refined: str
    real: str | None


def tiles_of(
    keys: Sequence[str], synthetic_NHW: Pixels, refined_NHW: Pixels, real_NHW: Pixels
) -> list[Tile]:
    """As many pairs as the budget allows, each with a real image."""
    tiles = (
        Tile(
            key,
            figures.png_uri(synthetic_NHW[k]),
            figures.png_uri(refined_NHW[k]),
            figures.png_uri(real_NHW[k]) if k < len(real_NHW) else None,
        )
        for k, key in enumerate(keys[:MAX_TILES])
    )
    return _first_of(
        tiles,
        lambda tile: len(tile.synthetic) + len(tile.refined) + len(tile.real or ""),
        GRID_BUDGET_BYTES,
    )


@dataclass(frozen=True)
class View:
    """A pair with what was measured drawn on it."""

    drift: str
    """how far apart, by which witness, e.g. `2.3 px by pupil`"""
    caption: str
    """which sample it is"""
    before: Markup
    after: Markup


def within_budget(views: Iterable[View]) -> list[View]:
    """As many of them as the budget allows."""
    return _first_of(views, lambda view: len(view.before) + len(view.after), WORST_BUDGET_BYTES)


def _first_of(
    shown: Iterable[_Shown], size_of: Callable[[_Shown], int], most_bytes: int
) -> list[_Shown]:
    """The first of them that are not larger together, at least one."""
    taken: list[_Shown] = []
    for one in shown:
        most_bytes -= size_of(one)
        if most_bytes < 0 and taken:
            break
        taken.append(one)
    return taken


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the page of any domain shows beside the numbers of its report.

    Arrays of pictures are (N, H, W) as stored; the first two are pairs, `keys` name them.

    Raises:
        ValueError: there are not as many keys and pictures of each.
    """

    keys: Sequence[str]
    synthetic_NHW: Pixels  # noqa: N815
    refined_NHW: Pixels  # noqa: N815
    real_NHW: Pixels  # noqa: N815
    drift_px: NDArray[np.floating]
    """by the witness that is shown first, of all measured samples"""
    null_drift_px: NDArray[np.floating]
    """of the looks that make the floor"""
    mean_abs_change: NDArray[np.floating]
    """of all samples, on [-1, 1]"""
    notes: Sequence[str] = ()
    """what a reader must know before any number, e.g. that the real images are a stand-in"""

    def __post_init__(self) -> None:
        if not len(self.keys) == len(self.synthetic_NHW) == len(self.refined_NHW):
            raise ValueError(
                f"{len(self.keys)} keys, {len(self.synthetic_NHW)} synthetic and "
                f"{len(self.refined_NHW)} refined images are no pairs"
            )


def change_and_realism(report: Report, mean_abs_change: NDArray[Any]) -> dict[str, Markup | None]:
    """The plots of `realism.html`."""
    change, realism = report.mean_abs_change, report.realism
    return {
        "change": figures.histogram(
            mean_abs_change,
            axis="mean |Δ| of an image, on [−1, 1]",
            colour=SYNTHETIC,
            marks=[Mark(change.median, f"median {change.median:.3f}", SYNTHETIC)],
        ),
        "realism": figures.accuracies(
            [
                ("synthetic vs real", realism.synthetic_vs_real, SYNTHETIC),
                ("refined vs real", realism.refined_vs_real, REFINED),
                ("real vs real", realism.real_vs_real, FLOOR),
            ]
        ),
    }


def condition_plots(
    witnesses: Iterable[tuple[str, Witness | None]],
) -> list[tuple[str, list[Markup]]]:
    """For each witness, a plot for each condition."""
    all_plots = []
    for name, witness in witnesses:
        if witness is None or witness.drift is None:
            continue
        by: dict[str, list[ValueBin]] = {}
        for line in witness.bins:
            by.setdefault(line.by, []).append(line)
        unit = UNITS[witness.unit]
        plots = [by_condition(bins, unit=behind(unit), floor=witness.floor) for bins in by.values()]
        all_plots.append((f"{name.replace('_', ' ')}, {unit}", plots))
    return all_plots


def rendered(
    template: Path,
    report: Report,
    *,
    notes: Sequence[str],
    tiles: Sequence[Tile],
    worst: Sequence[View],
    plots: Mapping[str, Markup | None],
    earlier: Report | None,
    reason_words: Mapping[str, str] | None = None,
    **more: Any,
) -> str:
    """The whole page as one string of HTML.

    Args:
        template: extends `base.html`, which lies beside this module.
        worst: pairs that lie farthest apart, the first of every witness before the second ones.
        reason_words: a sentence for every reason why a sample was not measured that the report has
            as a code; other reasons are words already.
        more: what the template knows beyond what all do.
    """
    limits = limit_lines(report)
    words = reason_words or {}
    return (
        _environment(template.parent)
        .get_template(template.name)
        .render(
            report=report,
            notes=notes,
            tiles=tiles,
            strip_length=STRIP_LENGTH,
            worst=worst,
            num_worst_first=NUM_WORST_FIRST,
            plots=plots,
            witnesses=[(name, one) for name, one in report.by_witness() if one is not None],
            condition_plots=condition_plots(report.by_witness()),
            limits=limits,
            missed_names=misses_in_words(limits),
            refiner_in_short=verdict_in_short(report.refiner_verdict),
            against=None if earlier is None else compared(report, earlier),
            derived={name: value_of(report, name) for name in report.derived},
            reason_in_words=lambda reason: words.get(reason, reason),
            colours={"synthetic": SYNTHETIC, "refined": REFINED, "real": REAL, "floor": FLOOR},
            **more,
        )
    )


def _environment(folder: Path) -> "jinja2.Environment":
    require("jinja2", "the page of a report")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = _number
    environment.filters["in_unit"] = _in_unit
    environment.filters["measured"] = figures.number_text
    environment.filters["when"] = _when
    environment.filters["pct"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    environment.filters["mean"] = fmean
    environment.filters["pretty"] = lambda content: orjson.dumps(
        content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    ).decode()
    return environment


def _number(value: float | Spread | None, digits: int = 2) -> str:
    """Fixed digits, a real minus sign, and a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, Spread):
        return f"{value.mean:.{digits}f} ± {value.sd:.{digits}f}"
    return f"{value:.{digits}f}".replace("-", "−")


def _in_unit(value: float | Spread | None, unit: str, digits: int = 2) -> str:
    """A number with its unit, as `Witness.unit` or a page names it."""
    number = _number(value, digits)
    return number if value is None else number + behind(UNITS.get(unit, unit))


def _when(moment: str) -> str:
    """`2026-11-30 15:44 UTC` of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
