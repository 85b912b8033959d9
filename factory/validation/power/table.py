"""The power of a validation as a table: from the measurements of clean and of damaged samples to
what share of damaged ones is caught, and to a gate."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.store.extras import require
from factory.validation.power.damages import Damage, Tail
from factory.validation.power.limits import (
    CleanHalves,
    DamagedFlags,
    Refusals,
    bound_of,
    by_measure,
    damaged_flags,
    fitted_limits,
    flags_of,
    halves_of,
)
from schemas.gate import SampleLimit
from schemas.power import MIN_SETS, Bound, Caught, PowerReport, PowerSettings

COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#cc79a7", "#5b6470")
STYLES = ("-", "--", ":", "-.")


class DamageMeasures(NamedTuple):
    """Measurements of the clean samples, in the same order, after all of them were damaged."""

    damage: Damage
    measures: pa.Table
    is_harmed: NDArray[np.bool_]
    """(N,) which samples it changes by as much as it should"""


def power_of(
    clean: pa.Table,
    damaged: Sequence[DamageMeasures],
    tails: Sequence[Tail],
    settings: PowerSettings,
    *,
    dataset: str,
    witnesses: str,
    given: Sequence[SampleLimit] = (),
) -> PowerReport:
    """Fit limits on one half of the identities; count false alarms and caught damage on the other.
    Limits that are given are tried on all samples instead.

    Args:
        clean: measurements of the clean samples.
        dataset: digest of the dataset's card.
        witnesses: digest of what the samples were measured with.
        given: limits of a gate.

    Raises:
        ValueError: measurements of a damage are not of the clean samples, in their order; a damage
            harms none of the samples that it is tried on; or there are too few samples or
            identities to fit limits on.
    """
    if given:
        tried = np.arange(len(clean))
        refusals = _refusals(clean, given, settings)
    else:
        refusals, (_, tried) = _fitted(clean, tails, settings, settings.seed)
    limits = refusals.limits
    caught = []
    for damage, measures, is_harmed in damaged:
        if not measures["key"].equals(clean["key"]):
            raise ValueError(
                f"the measurements of {damage.name} are not of the clean samples: {len(measures)} "
                f"rows, expected {len(clean)} with the same keys in the same order"
            )
        if not is_harmed[tried].any():
            raise ValueError(
                f"{damage.name} harms none of the {len(tried)} clean samples that it is "
                "tried on; take a larger dataset"
            )
        rows = pa.array(tried)
        flagged = damaged_flags(clean.take(rows), measures.take(rows), is_harmed[tried], limits)
        caught += [_caught(damage, refusals, flagged, size) for size in settings.set_sizes]
    return PowerReport(
        dataset=dataset,
        witnesses=witnesses,
        num_samples=len(clean),
        num_identities=len(set(clean["identity"].to_pylist())),
        settings=settings,
        is_fitted=not given,
        limits=tuple(limits),
        false_alarms={
            size: refusals.of_clean(size, settings.num_clean) for size in settings.set_sizes
        },
        of_other_splits={} if given else _of_other_splits(clean, tails, settings),
        caught=tuple(caught),
    )


def _fitted(
    clean: pa.Table, tails: Sequence[Tail], settings: PowerSettings, seed: int
) -> tuple[Refusals, CleanHalves]:
    """Limits fitted on one half, and the other half to try them on."""
    halves = halves_of(clean, seed)
    limits = fitted_limits(clean.take(pa.array(halves.fit)), tails, settings)
    return _refusals(clean.take(pa.array(halves.test)), limits, settings), halves


def _refusals(clean: pa.Table, limits: Sequence[SampleLimit], settings: PowerSettings) -> Refusals:
    people = clean["identity"].to_pylist()
    return Refusals(flags_of(clean, limits), people, limits, settings)


def _of_other_splits(
    clean: pa.Table, tails: Sequence[Tail], settings: PowerSettings
) -> dict[int, Bound]:
    others = range(settings.seed + 1, settings.seed + settings.num_splits)
    fitted = [_fitted(clean, tails, settings, seed)[0] for seed in others]
    by_size = {}
    for size in settings.set_sizes if fitted else ():
        bounds = [refusals.of_clean(size, MIN_SETS) for refusals in fitted]
        by_size[size] = bound_of(sum(b.num for b in bounds), sum(b.trials for b in bounds))
    return by_size


def _caught(damage: Damage, refusals: Refusals, damaged: DamagedFlags, size: int) -> Caught:
    curve, smallest, each = refusals.smallest_share(damaged, size)
    return Caught(
        damage=damage.name,
        kind=damage.kind,
        must_catch=damage.must_catch,
        set_size=size,
        smallest_share=smallest,
        by_measure=dict(by_measure(refusals.limits, each)),
        curve=tuple(curve),
        bad_shard=refusals.of_bad_shard(damaged, size),
    )


# --- table, gate and curves ---------------------------------------------------------------------


def markdown(report: PowerReport) -> str:
    """The tables for docs/."""
    settings, sizes = report.settings, report.settings.set_sizes
    head = " | ".join(f"of {size:,}" for size in sizes)
    origin = "fitted on half of the identities, tried on the other half"
    lines = [
        f"{report.num_samples:,} clean samples of {report.num_identities} identities; "
        f"{len(report.limits)} limits {origin if report.is_fitted else 'of a gate'}. "
        "Clean sets refused: "
        + "; ".join(
            f"{bound.num} of {bound.trials:,} sets of {size:,} (95 % upper bound "
            f"{100 * bound.upper:.2g} %)"
            for size, bound in report.false_alarms.items()
        )
        + ". "
        + _of_others(report),
        "",
        f"| damage | smallest share caught with {100 * settings.power:.0f} % power: {head} "
        f"| one bad shard in {settings.shards} (of {max(sizes):,}) "
        f"| measures that catch it, and from which share of {max(sizes):,} |",
        "|---|" + "---|" * (len(sizes) + 2),
    ]
    by_damage: dict[str, dict[int, Caught]] = {}
    for line in report.caught:
        by_damage.setdefault(line.damage, {})[line.set_size] = line
    for name, by_size in by_damage.items():
        largest = by_size[max(sizes)]
        shares = " | ".join(_share(by_size[size].smallest_share) for size in sizes)
        measures = sorted(largest.by_measure.items(), key=lambda entry: entry[1])
        first = ", ".join(f"{measure} {_share(share)}" for measure, share in measures[:5]) or "none"
        must = "**" if largest.must_catch else ""
        lines.append(f"| {must}{name}{must} | {shares} | {_share(largest.bad_shard)} | {first} |")
    return "\n".join(lines) + "\n"


def _of_others(report: PowerReport) -> str:
    if not report.of_other_splits:
        return ""
    refused = "; ".join(
        f"{bound.num} of {bound.trials:,} sets of {size:,} (at most {100 * bound.upper:.2g} %)"
        for size, bound in report.of_other_splits.items()
    )
    return f"The same for {report.settings.num_splits - 1} other random halves: {refused}."


def _share(share: float | None) -> str:
    return "not caught" if share is None else f"{100 * share:.3g} %"


def gate_toml(limits: Sequence[SampleLimit]) -> str:
    """The `[[sample]]` tables of a gate file."""
    return "\n".join(_table(limit) for limit in limits)


def _table(limit: SampleLimit) -> str:
    lines = ["[[sample]]", f'measure = "{limit.measure}"']
    for name in ("at_most", "at_least", "max_share", "shard_share"):
        if getattr(limit, name) is not None:
            lines.append(f"{name} = {getattr(limit, name):g}")
    if not limit.drop:
        lines.append("drop = false")
    return "\n".join([*lines, f'why = "{limit.why}"', ""])


def curves_png(report: PowerReport) -> bytes:
    """Share of the sets refused against the share that is damaged, a panel for each kind.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "a picture of the curves")
    from matplotlib.figure import Figure

    size = max(report.settings.set_sizes)
    kinds: dict[str, list[Caught]] = {}
    for line in report.caught:
        if line.set_size == size:
            kinds.setdefault(line.kind, []).append(line)
    columns = 4
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(13, 2.6 * rows), layout="constrained")
    for panel, (kind, lines) in enumerate(kinds.items()):
        axes = figure.add_subplot(rows, columns, panel + 1)
        for k, line in enumerate(lines):
            shares = 100 * np.asarray(report.shares[: len(line.curve)])
            label = line.damage.removeprefix(kind).strip() or kind
            axes.plot(
                shares, 100 * np.asarray(line.curve), STYLES[k % 4], color=COLOURS[k % 5],
                label=label, marker="o", markersize=2.5,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(-3, 103)
        axes.axhline(100 * report.settings.power, color="#999", linewidth=0.8)
        axes.axvline(1, color="#999", linewidth=0.8)
        axes.set_title(kind.replace("_", " "), fontsize=10)
        axes.legend(fontsize=8, frameon=False)
        axes.tick_params(labelsize=8)
    figure.supxlabel(f"damaged samples, % of {size:,}")
    figure.supylabel("sets refused, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
