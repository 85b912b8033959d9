"""The limits of the gate as the page shows them: each in words, with what was found."""

from collections.abc import Iterator
from typing import NamedTuple

from factory.validation.gate import limit_text
from factory.validation.measure_words import measure_of, sample_limit_words, sample_measure_of
from schemas.report import GateCheck, Report, SampleCheck

NUM_SHARDS_NAMED = 3
NUM_MISSES_NAMED = 3
"""missed limits that the verdict's sentence names"""


class LimitLine(NamedTuple):
    """A limit in words."""

    measure: str
    """what is limited"""
    code: str
    """the name by which the gate file limits it"""
    value: str
    allowed: str
    why: str
    passed: bool
    measured: bool
    """False where nothing was measured, which misses the limit"""


def limit_lines(report: Report) -> list[LimitLine]:
    """Every limit of the gate: those on numbers of the report, then those on single samples."""
    return [
        *(_of_number(report, check) for check in report.checks),
        *(_of_samples(report, check) for check in report.samples),
    ]


def misses_in_words(lines: list[LimitLine]) -> str:
    """The first missed limits by their measures, and how many more there are."""
    names = list(dict.fromkeys(line.measure for line in lines if not line.passed))
    shown = "; ".join(names[:NUM_MISSES_NAMED])
    num_more = len(names) - NUM_MISSES_NAMED
    return shown + (f"; and {num_more} more" if num_more > 0 else "")


def _of_number(report: Report, check: GateCheck) -> LimitLine:
    measure = measure_of(report, check.measure)
    return LimitLine(
        measure=measure.words,
        code=check.measure,
        value="not measured" if check.value is None else measure.shown(check.value),
        allowed=limit_text(check, measure.shown),
        why=check.why,
        passed=check.passed,
        measured=check.value is not None,
    )


def _of_samples(report: Report, check: SampleCheck) -> LimitLine:
    measure = sample_measure_of(report, check.measure)
    measured = check.num_measured > 0
    return LimitLine(
        measure=f"{measure.words}, samples with {sample_limit_words(check, measure)}",
        code=check.measure,
        value="; ".join(_values(check)) if measured else "not measured on any sample",
        allowed="any number"
        if check.most_allowed is None
        else f"at most {_samples(check.most_allowed)}",
        why=check.why,
        passed=check.passed,
        measured=measured,
    )


def _values(check: SampleCheck) -> Iterator[str]:
    share = f" ({100 * check.share:.2g}\N{NO-BREAK SPACE}%)" if check.num_missed else ""
    dropped = ", counted but not dropped" if check.num_missed and not check.drop else ""
    yield f"{_samples(check.num_missed)}{share}{dropped}"
    shown = check.bad_shards[:NUM_SHARDS_NAMED]
    for shard in shown:
        yield (
            f"shard {shard.shard:06d} is bad: {shard.num_missed:,} of its {shard.num_samples:,} "
            "samples"
        )
    if check.num_bad_shards > len(shown):
        yield f"and {check.num_bad_shards - len(shown):,} more bad shards"


def _samples(num: int) -> str:
    return f"{num:,} sample{'s' * (num != 1)}"
