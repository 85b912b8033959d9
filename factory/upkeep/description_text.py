"""A description as aligned lines for a terminal."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from factory.dataset.lineage import Ancestor
from factory.release.state import ReleaseState
from factory.upkeep.describe import Description
from factory.upkeep.label_spread import ColumnSpread, Numbers
from schemas.text import one_line

MAX_LISTED = 8
"""reasons, identities and the like that are named; the others are counted"""
_INDENT = " " * 14
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def text_of(described: Description) -> str:
    """Everything that is known of a dataset."""
    blocks = [
        _head(described),
        _counts(described),
        _labels(described.labels),
        _rejects(described),
        _lineage(described),
        _reports(described),
        _trouble(described),
    ]
    return "\n\n".join("\n".join(map(one_line, block)) for block in map(list, blocks) if block)


def release_text(release: ReleaseState, location: str) -> str:
    """What a release holds, and whether it is complete and undamaged.

    Args:
        location: of the release itself.
    """
    splits = ", ".join(f"{split} {count:,}" for split, count in release.splits.items())
    lines = [
        location,
        _line("samples", f"{release.num_samples:,} ({splits})"),
        _line("shards", f"{release.num_shards:,}: {numbers(release.shards)}"),
        _line("size", size_text(release.size)),
        _line("released by", f"report {release.report_id}, gate {release.gate[:12]}…"),
        _line("state", "BROKEN" if release.broken else "whole"),
        *(f"{_INDENT}{wrong}" for wrong in release.broken),
    ]
    return "\n".join(map(one_line, lines))


def numbers(values: Iterable[int], limit: int = 12) -> str:
    """`0–5, 7, 9–12`: runs of numbers, no more than `limit` of them."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    parts = [f"{low}" if low == high else f"{low}–{high}" for low, high in runs[:limit]]
    rest = sum(high - low + 1 for low, high in runs[limit:])
    return ", ".join(parts) + (f" and {rest:,} more" if rest else "")


def size_text(num_bytes: float) -> str:
    """`1.21 GB`; thousands, as disks and object stores count."""
    unit = 0
    while num_bytes >= 1000 and unit < len(_UNITS) - 1:
        num_bytes, unit = num_bytes / 1000, unit + 1
    return f"{num_bytes:.0f} B" if unit == 0 else f"{num_bytes:.3g} {_UNITS[unit]}"


def age_text(seconds: float) -> str:
    """`3 min`, `5 h`, `12 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _line(name: str, text: str) -> str:
    return f"{name:<12}  {text}"


def _head(described: Description) -> Iterator[str]:
    card = described.card
    image = card.image
    colour = "RGB" if image.channels == 3 else "grey"
    labelled = "labelled" if card.labelled else "unlabelled"
    if card.kept is not None:
        labelled += f", those that report {card.kept.report} kept"
    yield described.location
    yield _line("dataset", f"{card.name}: {card.kind} {card.domain} images, {labelled}")
    yield _line(
        "images",
        f"{image.height}×{image.width} (h×w) {colour}, {image.bits} bits, "
        f"{card.shard_size:,} samples planned into a shard",
    )
    yield _line("card", f"{described.card_digest[:16]}…, format {card.format_version}")
    yield _line("config", f"{card.config_digest[:16]}…")


def _counts(described: Description) -> Iterator[str]:
    gaps = described.gaps
    missing = ""
    if gaps.not_committed:
        whose = "planned" if described.num_planned is not None else "in the parent"
        if described.card.kept is not None:
            whose = "validated"
        missing = (
            f"; {len(gaps.not_committed):,} {whose} and not made: {numbers(gaps.not_committed)}"
        )
    yield _line("shards", f"{described.num_shards:,} committed{missing}")
    if gaps.skipped:
        yield f"{_INDENT}numbers that nothing holds: {numbers(gaps.skipped)}"
    yield _line("samples", f"{described.num_samples:,}")
    if len(described.splits) > 1:
        for split, count in described.splits.items():
            share = count.num_samples / described.num_samples if described.num_samples else 0
            yield (
                f"{_INDENT}{split:<10} {count.num_samples:>12,} {share:>7.1%}  "
                f"in {count.num_shards:,} shards"
            )
    if described.num_superseding:
        replacing = f"{described.num_superseding:,} of them replace"
        yield f"{_INDENT}{replacing} older samples of the same inputs"
    if gaps.num_missing_samples:
        yield (
            f"{_INDENT}{gaps.num_missing_samples:,} planned inputs did not become samples, "
            f"in {gaps.num_shards_with_missing:,} shards"
        )
    mean = described.tars_bytes / described.num_shards if described.num_shards else 0
    yield _line(
        "size",
        f"{size_text(described.tars_bytes)} in tars ({size_text(mean)} each), "
        f"{size_text(described.index_bytes)} in indexes",
    )
    if described.identities:
        yield _line(
            "identities", f"{len(described.identities):,}: {_counted(described.identities, 6)}"
        )


def _labels(columns: Sequence[ColumnSpread]) -> Iterator[str]:
    rows = [row for column in columns if column.numbers for row in _number_rows(column)]
    if rows:
        header = ("labels", "null", "min", "5 %", "25 %", "median", "75 %", "95 %", "max", "mean")
        yield from _aligned([header, *rows])
        if any(column.numbers is not None and column.numbers.sampled for column in columns):
            yield "quantiles of longer columns are those of a random sample of 65,536 values"
    for column in columns:
        if column.values is not None:
            null = f"; null {column.num_null:,}" if column.num_null else ""
            yield _line(column.column, f"{_counted(column.values, MAX_LISTED)}{null}")
    empty = [column.column for column in columns if not column.num]
    if empty and rows:
        yield _line("all null", ", ".join(empty))


def _number_rows(column: ColumnSpread) -> Iterator[tuple[str, ...]]:
    assert column.numbers is not None
    yield _row(column.column, column.num_null, column.numbers, 1.0)
    if column.column.endswith("_rad"):
        yield _row("  in degrees", None, column.numbers, 180 / math.pi)


def _row(name: str, num_null: int | None, of: Numbers, factor: float) -> tuple[str, ...]:
    values = [of.min, *of.quantiles, of.max, of.mean]
    largest = max(abs(value * factor) for value in values)
    places = 0 if largest >= 1000 else 1 if largest >= 10 else 3
    shown = (f"{round(value * factor, places) + 0.0:.{places}f}" for value in values)  # no -0.0
    return (name, "" if num_null is None else f"{num_null:,}", *shown)


def _rejects(described: Description) -> Iterator[str]:
    rejects = described.rejects
    for name, total, reasons in (
        ("rejected", rejects.num_rejected, rejects.rejected),
        ("filtered", rejects.num_filtered, rejects.filtered),
    ):
        if not total:
            continue
        yield _line(name, f"{total:,} inputs")
        for reason, count in list(reasons.items())[:MAX_LISTED]:
            yield f"{_INDENT}{count:>9,}  {reason}"
        others = list(reasons.values())[MAX_LISTED:]
        if others:
            yield f"{_INDENT}{sum(others):>9,}  for {len(others):,} other reasons"


def _lineage(described: Description) -> Iterator[str]:
    for depth, ancestor in enumerate(described.lineage):
        yield _line("made" if depth == 0 else "  parent", _made(ancestor, depth))
    writers = (f"{name} ({count:,} shards)" for name, count in described.writers.items())
    if described.writers:
        yield _line("written by", ", ".join(writers))


def _made(ancestor: Ancestor, depth: int) -> str:
    where = "" if depth == 0 else f"{ancestor.location}, card {ancestor.card[:16]}…, "
    match ancestor.reach:
        case "not there":
            return f"{where}cannot be reached there"
        case "another dataset":
            return f"{where}NOT what lies there now"
        case _:
            made_by = f"by {ancestor.made_by}" if ancestor.made_by else "by nobody known"
            kind = "" if depth == 0 else f"{ancestor.kind} dataset {ancestor.name} made "
            return f"{where}{kind}{made_by}"


def _reports(described: Description) -> Iterator[str]:
    for index, report in enumerate(described.reports):
        verdict = {True: "passed", False: "FAILED", None: "no gate"}[report.passed]
        stale = "" if report.of_present_shards else "; shards changed since"
        failed = f": {', '.join(report.failed)}" if report.failed else ""
        yield _line(
            "reports" if index == 0 else "",
            f"{report.id}  {verdict:<7}  {report.num_samples:>9,} samples{failed}{stale}",
        )
    for index, release in enumerate(described.releases):
        state = "BROKEN" if release.broken else "whole"
        held_back = release.held_back_bytes
        yield _line(
            "releases" if index == 0 else "",
            f"{release.name}  {state}  {release.num_samples:,} samples in "
            f"{release.num_shards:,} shards, {size_text(release.size)}"
            + (f", holds back {size_text(held_back)}" if held_back else ""),
        )
        for wrong in release.broken[:MAX_LISTED]:
            yield f"{_INDENT}  {wrong}"
        if len(release.broken) > MAX_LISTED:
            yield f"{_INDENT}  and {len(release.broken) - MAX_LISTED:,} more"
    if (latest := described.latest) is not None:
        where = "" if latest.dataset is None else f" of {latest.dataset}"
        yield _line("latest", f"{latest.release}{where}, published {latest.published}")
    for index, shard in enumerate(list(described.withheld.values())[:MAX_LISTED]):
        why = f"shard {shard.shard}, since {shard.since[:10]}: {shard.why}"
        yield _line("withheld" if index == 0 else "", why)
    if len(described.withheld) > MAX_LISTED:
        yield f"{_INDENT}and {len(described.withheld) - MAX_LISTED:,} more shards"
    for index, run in enumerate(reversed(described.runs)):
        of = f" (the latest of {described.num_runs:,})" if described.num_runs > 1 else ""
        yield _line("runs" if index == 0 else "", f"{run.id}  {run.job}{of if index == 0 else ''}")


def _trouble(described: Description) -> Iterator[str]:
    for shard, why in list(described.suspect.items())[:MAX_LISTED]:
        yield _line("DAMAGED", f"shard {shard}: {why}")
    if len(described.suspect) > MAX_LISTED:
        yield f"{_INDENT}and {len(described.suspect) - MAX_LISTED:,} more shards"
    for name, why in list(described.unreadable.items())[:MAX_LISTED]:
        yield _line("UNREADABLE", f"{name}: {why}")
    if described.suspect or described.unreadable:
        yield f"{_INDENT}jobs/verify.py reads everything and says what mends it"


def _counted(counts: Mapping[str, int], limit: int) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:limit]]
    rest = len(counts) - limit
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{name:<{max(widths[0], 12)}}  {'  '.join(shown)}"
