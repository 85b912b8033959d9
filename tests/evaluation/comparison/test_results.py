"""Verdicts, by the rule of docs/evidence.md, on planted errors."""

import numpy as np
import pytest

from factory.evaluation.comparison.renders import Renders
from factory.evaluation.comparison.results import Outcome, Row, make_report
from factory.evaluation.comparison.setup import Compared, EvaluationSetup
from factory.measures.paired import ByBlock
from schemas.evaluation import EvaluationReport, Summary, TrialRecord

BLOCKS, SIZE = 17, 20


def outcome(mean: float, *, seeds: tuple[int, ...] = (0, 1, 2, 3, 4), sd: float = 0.2) -> Outcome:
    """An arm's errors: all arms share the effects of blocks."""
    shared = np.repeat(np.random.default_rng(0).normal(0, 1, BLOCKS), SIZE)
    rng = np.random.default_rng(round(1000 * mean))
    errors = (
        mean
        + shared
        + rng.normal(0, sd, (len(seeds), 1))
        + rng.normal(0, 1, (len(seeds), BLOCKS * SIZE))
    )
    groups = np.repeat(np.arange(BLOCKS), SIZE).astype(str)
    summary = Summary(unit="deg", num_units=BLOCKS * SIZE, mean=mean, median=mean, p95=mean)
    record = TrialRecord(
        digest="0" * 64, setting="1" * 64, arm="a", size=None, seed=0, model="cnn",
        arm_settings={}, model_settings={}, num_images=100, facts={}, errors={"webcam": summary},
        cpu_s=1.0,
    )  # fmt: skip
    return Outcome(ByBlock.of(seeds, errors, groups), errors, (), (record,))


def report_of(**means: Outcome) -> EvaluationReport:
    kinds = {"renders": "renders", "degraded": "degraded", "real": "real", "refined": "refined"}
    tables = {name: {"kind": kinds[name]} for name in means}
    if "real" in tables:
        tables["real"] |= {"test": "webcam", "sizes": [100]}
    if "refined" in tables:
        tables["refined"] |= {"refiners": ["r"]}
    setup = EvaluationSetup.model_validate(
        {
            "renders": "r",
            "control": "degraded" if "degraded" in means else None,
            "arms": tables,
            "models": {"cnn": {}},
            "tests": {"webcam": {}},
        }
    )
    compared = Compared(
        setup, "eye", Renders("r", None, "train", "test", 20), setup.arms, {}, {}, {}
    )
    rows = {Row(name, None, "cnn", "webcam"): mean for name, mean in means.items()}
    return make_report(compared, rows, (), (), ())


@pytest.mark.parametrize(
    ("refined", "degraded", "outcome_is"),
    [
        (6.0, 7.5, "pays"),
        (7.4, 7.4, "not shown"),  # no better than blur
        (8.0, 7.5, "not shown"),
        (9.5, 7.5, "harms"),
    ],
)
def test_refining_pays_only_where_it_beats_renders_and_the_control(
    refined, degraded, outcome_is
) -> None:
    report = report_of(renders=outcome(8.0), degraded=outcome(degraded), refined=outcome(refined))
    (verdict,) = report.verdicts
    assert verdict.arm == "refined" and verdict.outcome == outcome_is, verdict.why


def test_without_a_control_or_with_few_seeds_nothing_is_shown() -> None:
    (verdict,) = report_of(renders=outcome(8.0), refined=outcome(5.0)).verdicts
    assert verdict.outcome == "not shown" and "no control" in verdict.why
    few = (0, 1, 2)
    (verdict,) = report_of(
        renders=outcome(8.0, seeds=few), degraded=outcome(7.5, seeds=few),
        refined=outcome(5.0, seeds=few),
    ).verdicts  # fmt: skip
    assert verdict.outcome == "not shown" and "3 of 5 seeds" in verdict.why


def test_the_share_of_the_gap_names_how_many_real_images() -> None:
    report = report_of(
        renders=outcome(8.0), degraded=outcome(7.5), refined=outcome(6.0), real=outcome(4.0)
    )
    gap = next(gap for gap in report.gaps if gap.arm == "refined")
    assert gap.num_real == 100 and gap.share.low < 0.5 < gap.share.high
    assert {gap.arm for gap in report.gaps} == {"degraded", "refined"}


def test_an_arm_whose_every_training_collapsed_has_no_mean() -> None:
    collapsed = outcome(9.0)
    collapsed = Outcome(None, np.empty((0, 0)), (0, 1, 2, 3, 4), collapsed.records)
    report = report_of(renders=outcome(8.0), degraded=outcome(7.5), refined=collapsed)
    result = next(r for r in report.arms if r.arm == "refined")
    assert result.mean is None and result.collapsed_seeds == (0, 1, 2, 3, 4)
    (verdict,) = report.verdicts
    assert verdict.outcome == "not shown"
