"""The report of a comparison of content, and its lines on the terminal."""

from collections.abc import Iterator, Sequence

import numpy as np

from factory.evaluation.content.ranges import inside, range_in_words
from factory.networks.evaluation_kinds import ContentLabel, Values
from schemas.content import ContentOfLabel, ContentReport, Quantiles


def advice(
    labels: Sequence[ContentLabel], contents: Sequence[ContentOfLabel], values_NL: Values
) -> dict[str, object]:
    """The fields of a `ContentReport` that say what to do.

    Args:
        values_NL: the true labels of the renders.
    """
    kept_N = np.ones(len(values_NL), bool)
    with_range = []
    for label, content, values_N in zip(labels, contents, values_NL.T, strict=True):
        if content.recommended is not None:
            kept_N &= inside(values_N, content.recommended)
            with_range.append((label, content))
    first = [content for label, content in with_range if label.pays]
    others = [content for label, content in with_range if not label.pays]
    share = float(kept_N.mean()) if with_range else None
    return {
        "first_options": _options(first),
        "all_options": _options([content for _, content in with_range]),
        "share_kept_by_all": share,
        "in_words": tuple(_advice_in_words(labels, contents, first, others, share)),
    }


def _options(contents: Sequence[ContentOfLabel]) -> str | None:
    """The options of an ingest that keep the recommended ranges."""
    texts = [
        f"{content.option} {content.recommended[0]:g} {content.recommended[1]:g}"
        for content in contents
        if content.recommended is not None
    ]
    return " ".join(texts) or None


def _advice_in_words(
    labels: Sequence[ContentLabel],
    contents: Sequence[ContentOfLabel],
    first: Sequence[ContentOfLabel],
    others: Sequence[ContentOfLabel],
    share: float | None,
) -> Iterator[str]:
    if not first and not others:
        yield "No filter is recommended."
        return
    if first:
        kept = ", ".join(f"{content.share_kept:.0%}" for content in first)
        yield (
            f"Recommended: ingest the renders again with {_options(first)}, which keeps {kept} of "
            f"them. Matching {_names(first)} to the camera has been shown to pay "
            "(docs/evidence.md)."
        )
    elif lacking := [c for label, c in zip(labels, contents, strict=True) if label.pays]:
        yield (
            f"No range of {_names(lacking)} is recommended, the content whose matching has been "
            "shown to pay (docs/evidence.md)."
        )
    if others:
        together = _options([*first, *others])
        yield (
            f"Matching {_names(others)} {'too ' if first else ''}has not been shown to pay, and "
            f"costs images. Those who can draw more renders may try {together}, which "
            f"{'together keep' if len([*first, *others]) > 1 else 'keeps'} {share:.0%}."
        )


def _names(contents: Sequence[ContentOfLabel]) -> str:
    return " and ".join(content.name for content in contents)


def summary_lines(report: ContentReport) -> Iterator[str]:
    """The lines that a terminal shows: a table, and what to do."""
    yield (
        f"content of {report.num_renders} renders of {report.num_identities} identities and of "
        f"{report.num_real} real images, estimated; ranges are of 5 to 95 %"
    )
    head = ("label", "correlation", "renders", "real", "alike", "keep", "kept")
    rows = [head, *map(_row, report.labels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for content in report.labels:
        yield content.in_words
    yield from report.in_words


def _row(content: ContentOfLabel) -> tuple[str, ...]:
    return (
        f"{content.name} ({content.unit})",
        "-" if content.correlation is None else f"{content.correlation:.2f}",
        _range(content.renders),
        _range(content.real),
        f"{content.share_alike:.0%}",
        content.outcome if content.recommended is None else range_in_words(content.recommended),
        "-" if content.recommended is None else f"{content.share_kept:.0%}",
    )


def _range(quantiles: Quantiles) -> str:
    return f"{quantiles[0]:.3g} to {quantiles[-1]:.3g}"
