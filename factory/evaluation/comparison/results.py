"""From finished trials to the report of an evaluation: means, paired differences, verdicts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.comparison.arms import ConstantArm, DatasetArm, RealArm, RefinedArm
from factory.evaluation.comparison.setup import Compared
from factory.evaluation.comparison.trials import CONSTANT, Trial
from factory.measures.paired import ByBlock, Comparison, compared, mean_interval, share_closed
from factory.networks.evaluation_kinds import Errors
from schemas.evaluation import (
    ArmResult,
    EvaluationReport,
    GapClosed,
    Interval,
    Looks,
    PairedDifference,
    ScoredRefiner,
    TrialRecord,
    Verdict,
)
from schemas.evaluation import Outcome as VerdictOutcome

WITHIN = {"deg": (7.0,), "px": (1.0, 2.0, 5.0)}
"""bounds of which the share of the units is given: 7 degrees and 5 px are those of the paper"""


class Row(NamedTuple):
    """What is compared with each other: one arm of one size, one model, one test set."""

    arm: str
    size: int | None
    model: str
    test: str


@dataclass(frozen=True)
class Outcome:
    """One row's trainings that did not collapse."""

    by_block: ByBlock | None
    """None where all collapsed"""
    errors_SM: NDArray[np.float64]  # noqa: N815
    """(S, M) error of each unit"""
    collapsed: tuple[int, ...]
    """seeds"""
    records: tuple[TrialRecord, ...]

    def unit(self, test: str) -> str:
        """Of the errors on a test set."""
        return self.records[0].errors[test].unit


def outcomes_of(
    finished: Sequence[tuple[Trial, TrialRecord, Mapping[str, Errors]]],
) -> dict[Row, Outcome]:
    """The outcome of each row, in the order of the trials."""
    rows: dict[Row, list[tuple[TrialRecord, Errors]]] = defaultdict(list)
    for trial, record, errors in finished:
        for test in record.errors:
            row = Row(trial.arm_name, trial.size, trial.model_name, test)
            rows[row].append((record, errors[test]))
    return {row: _outcome(trials_of_row) for row, trials_of_row in rows.items()}


def _outcome(trials: Sequence[tuple[TrialRecord, Errors]]) -> Outcome:
    good = [(record.seed, errors) for record, errors in trials if not record.collapsed]
    errors = np.array([errors.values_M for _, errors in good])
    by_block = None
    if good:
        by_block = ByBlock.of([seed for seed, _ in good], errors, good[0][1].groups_M)
    return Outcome(
        by_block,
        errors,
        tuple(record.seed for record, _ in trials if record.collapsed),
        tuple(record for record, _ in trials),
    )


def make_report(
    setup: Compared,
    outcomes: Mapping[Row, Outcome],
    looks: Sequence[Looks],
    scored: Sequence[ScoredRefiner],
    notes: Sequence[str],
) -> EvaluationReport:
    """The report of all trials of an evaluation."""
    results = tuple(_result(setup, row, outcome) for row, outcome in outcomes.items())
    differences: list[PairedDifference] = []
    verdicts: list[Verdict] = []
    gaps: list[GapClosed] = []
    for row, outcome in outcomes.items():
        against = {
            name: _against(row, outcome, name, outcomes)
            for name in (setup.setup.baseline, setup.setup.control)
            if name is not None and name != row.arm
        }
        differences += [
            _difference(row, other, comparison, outcomes)
            for other, comparison in against.items()
            if comparison is not None
        ]
        arm = setup.arms[row.arm]
        if isinstance(arm, ConstantArm | RealArm) or row.arm == setup.setup.baseline:
            continue
        gaps += _gaps(setup, row, outcome, outcomes)
        if isinstance(arm, RefinedArm | DatasetArm):
            verdicts.append(_verdict(setup, row, against))
    return EvaluationReport(
        domain=setup.domain,
        baseline=setup.setup.baseline,
        control=setup.setup.control,
        seeds=setup.setup.seeds,
        num_trials=sum(len(outcome.records) for outcome in outcomes.values()),
        arms=results,
        differences=tuple(differences),
        gaps=tuple(gaps),
        verdicts=tuple(verdicts),
        looks=tuple(looks),
        scored=tuple(scored),
        notes=tuple(notes),
    )


def _result(setup: Compared, row: Row, outcome: Outcome) -> ArmResult:
    unit = outcome.unit(row.test)
    table = outcome.by_block
    seeds = () if table is None else table.seeds
    within = {}
    if table is not None:
        within = {f"{b:g}": float((outcome.errors_SM <= b).mean()) for b in WITHIN.get(unit, ())}
    return ArmResult(
        **row._asdict(),
        kind=setup.arms[row.arm].kind,
        unit=unit,
        mean=None if table is None else mean_interval(table),
        by_seed=tuple(
            (seed, float(errors.mean()))
            for seed, errors in zip(seeds, outcome.errors_SM, strict=True)
        ),
        collapsed_seeds=outcome.collapsed,
        within=within,
        updates=tuple(
            int(record.facts["updates"]) for record in outcome.records if "updates" in record.facts
        ),
    )


def _same(row: Row, arm: str, outcomes: Mapping[Row, Outcome]) -> Row | None:
    """The row of another arm that this one is compared with: of the same size where there is one,
    as constant and real arms have sizes of their own."""
    for size in (row.size, None):
        other = Row(arm, size, row.model, row.test)
        if other in outcomes:
            return other
    sizes = [
        other
        for other in outcomes
        if other.arm == arm and other.test == row.test and row.model in (other.model, CONSTANT)
    ]
    return sizes[0] if len(sizes) == 1 else None


def _against(
    row: Row, outcome: Outcome, arm: str, outcomes: Mapping[Row, Outcome]
) -> Comparison | None:
    other = _same(row, arm, outcomes)
    if other is None or outcome.by_block is None:
        return None
    theirs = outcomes[other].by_block
    return None if theirs is None else compared(outcome.by_block, theirs)


def _difference(
    row: Row,
    other: str,
    comparison: Comparison,
    outcomes: Mapping[Row, Outcome],
) -> PairedDifference:
    return PairedDifference(
        **row._asdict(),
        other=other,
        unit=outcomes[row].unit(row.test),
        num_seeds=comparison.num_seeds,
        difference=comparison.difference,
        relative=comparison.relative,
    )


def _gaps(
    setup: Compared, row: Row, outcome: Outcome, outcomes: Mapping[Row, Outcome]
) -> list[GapClosed]:
    """What the arm closed of the gap to each arm of real images."""
    baseline = _same(row, setup.setup.baseline, outcomes)
    of_baseline = None if baseline is None else outcomes[baseline].by_block
    gaps = []
    for other, theirs in outcomes.items():
        is_real = isinstance(setup.arms[other.arm], RealArm)
        if not is_real or (other.model, other.test) != (row.model, row.test):
            continue
        if outcome.by_block is None or of_baseline is None or theirs.by_block is None:
            continue
        share = share_closed(outcome.by_block, of_baseline, theirs.by_block)
        if share is not None:
            gaps.append(
                GapClosed(
                    **row._asdict(),
                    real=other.arm,
                    num_real=other.size or theirs.records[0].num_images,
                    share=share,
                )
            )
    return gaps


def _verdict(setup: Compared, row: Row, against: Mapping[str, Comparison | None]) -> Verdict:
    """The rule of docs/evidence.md."""
    baseline, control = setup.setup.baseline, setup.setup.control

    def says(outcome: VerdictOutcome, why: str) -> Verdict:
        return Verdict(**row._asdict(), outcome=outcome, why=why)

    to_baseline = against.get(baseline)
    if to_baseline is None:
        return says("not shown", f"There is no result of {baseline} to compare with.")
    text = f"The error is {_percent(to_baseline.relative)} that of {baseline}"
    if to_baseline.num_seeds < MIN_SEEDS:
        return says("not shown", f"{text}, with {to_baseline.num_seeds} of {MIN_SEEDS} seeds.")
    if to_baseline.difference.low > 0:
        return says("harms", f"{text}.")
    if to_baseline.difference.high >= 0:
        return says("not shown", f"{text}, and the interval includes 0.")
    to_control = against.get(control) if control is not None else None
    if to_control is None:
        return says("not shown", f"{text}, but there is no control to compare with.")
    text += f", and {_percent(to_control.relative)} that of {control}"
    if to_control.difference.high >= 0:
        return says("not shown", f"{text}, and this interval includes 0.")
    return says("pays", f"{text}.")


MIN_SEEDS = 5
"""with fewer, nothing is shown"""


def _percent(relative: Interval) -> str:
    """`12 % below (95 %: 4 to 19 % below)`."""
    side = "below" if relative.value < 0 else "above"
    low, high = (f"{100 * v:+.0f}" for v in (relative.low, relative.high))
    return f"{abs(100 * relative.value):.0f} % {side} (95 % interval {low} to {high} %)"
