"""Which renders show what real images show, and the ranges of labels to keep them by.

Axes in names: N renders, M real images, L labels.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.content.reading import Estimates
from factory.networks.evaluation_kinds import ContentLabel, Values
from schemas.content import ContentOfLabel, ContentOutcome, Quantiles

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""of the quantiles of a report"""
MIN_CORRELATION = 0.7
"""of estimated with true labels, below which nothing is recommended"""
MIN_ALIKE = 20
"""renders that are like real images, below which no range is read off them"""
NEARLY_ALL = 0.95
"""share of the renders from which on none need be left out"""
COVERED = 0.9
"""share of the real images below which the renders are said to lack what they show"""
_ALIKE = (0.01, 0.99)
"""quantiles of the estimates of one set that count as its range"""
_KEPT = (0.05, 0.95)
"""quantiles of the labels of renders that are like real images, between which renders are kept"""


def within_range_of(values_N: Values, others_M: Values) -> NDArray[np.bool_]:
    """(N,) which values lie between the 1 and 99 % quantiles of others."""
    low, high = np.quantile(others_M, _ALIKE)
    return np.asarray((low <= values_N) & (values_N <= high))


def inside(values_N: Values, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """(N,) which values lie in a range, both ends included, as the options of an ingest keep
    them."""
    return np.asarray((limits[0] <= values_N) & (values_N <= limits[1]))


def rounded_outwards(low: float, high: float, step: float) -> tuple[float, float]:
    """The smallest range between multiples of a step that holds another one, and is not empty."""
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return round(first * step, 9), round(last * step, 9)


def content_of(
    labels: Sequence[ContentLabel], values_NL: Values, estimates: Estimates
) -> tuple[ContentOfLabel, ...]:
    """What each label says of renders and real images.

    Args:
        values_NL: the true labels of the renders.
        estimates: those of the same renders, and of the real images.
    """
    return tuple(
        _of_label(label, *columns)
        for label, *columns in zip(
            labels, values_NL.T, estimates.renders_NL.T, estimates.real_ML.T, strict=True
        )
    )


def _of_label(
    label: ContentLabel, true_N: Values, renders_N: Values, real_M: Values
) -> ContentOfLabel:
    alike = within_range_of(renders_N, real_M)
    correlation = _correlation(true_N, renders_N)
    outcome: ContentOutcome = "filter"
    limits, share_kept = None, None
    if correlation is None or correlation < MIN_CORRELATION:
        outcome = "not readable"
    elif alike.sum() < MIN_ALIKE:
        outcome = "none alike"
    else:
        low, high = np.quantile(true_N[alike], _KEPT)
        limits = rounded_outwards(float(low), float(high), label.step)
        share_kept = float(inside(true_N, limits).mean())
        if max(share_kept, alike.mean()) > NEARLY_ALL:
            outcome = "nothing to filter"
    content = ContentOfLabel(
        name=label.name,
        unit=label.unit,
        option=f"--{label.option.replace('_', '-')}",
        correlation=correlation,
        true_renders=_quantiles(true_N),
        renders=_quantiles(renders_N),
        real=_quantiles(real_M),
        share_alike=float(alike.mean()),
        share_covered=float(within_range_of(real_M, renders_N).mean()),
        outcome=outcome,
        alike=limits,
        share_kept=share_kept,
        in_words="",
    )
    return content.model_copy(update={"in_words": _in_words(content)})


def _quantiles(values: Values) -> Quantiles:
    first, second, third, fourth, fifth = np.quantile(values, LEVELS).tolist()
    return first, second, third, fourth, fifth


def _correlation(one: Values, two: Values) -> float | None:
    if min(one.std(), two.std()) < 1e-9:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def range_in_words(limits: tuple[float, float]) -> str:
    """`0.2 to 0.42`."""
    return f"{limits[0]:g} to {limits[1]:g}"


def _in_words(content: ContentOfLabel) -> str:
    if content.outcome == "not readable":
        by = "but all are the same"
        if content.correlation is not None:
            by = f"they do by {content.correlation:.2f}"
        return (
            f"{content.name} cannot be read off such images: on held-out renders, estimates and "
            f"labels should correlate by {MIN_CORRELATION} at least, {by}. That takes renders "
            "whose labels vary. Nothing is recommended."
        )
    said = (
        f"{content.name}: real images are estimated at {content.real[0]:.3g} to "
        f"{content.real[-1]:.3g} {content.unit} (5 to 95 %), renders at {content.renders[0]:.3g} "
        f"to {content.renders[-1]:.3g}. {content.share_alike:.0%} of the renders are like the real "
        "images"
    )
    if content.alike is None or content.share_kept is None:
        said += ": too few to read a range off them"
    elif content.outcome == "filter":
        said += (
            f"; keep labels of {range_in_words(content.alike)}, which {content.share_kept:.0%} have"
        )
    elif content.share_alike > NEARLY_ALL:
        said += ": nothing needs to be filtered"
    else:
        said += (
            f", with labels of {range_in_words(content.alike)}, which {content.share_kept:.0%} "
            "have: nothing needs to be filtered"
        )
    if content.share_covered < COVERED:
        said += (
            f". {1 - content.share_covered:.0%} of the real images show what hardly any render "
            "does: draw renders that do"
        )
    return f"{said}."
