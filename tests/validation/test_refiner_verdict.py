"""The verdict on a refiner, on planted cases."""

import pytest

from factory.validation.gate import judged, load_gate
from factory.validation.refiner_verdict import evaluated_verdicts, verdict_in_short, verdict_of
from schemas.base import digest_of
from schemas.evaluation import EvaluationReport, Summary, TrialRecord, Verdict
from schemas.eye.report import EyeReport
from schemas.realism import ClosedShare, Distance
from schemas.report import GateCheck, Spread
from support.places import ROOT
from support.report_example import example_card, example_report, example_witness

NOTHING = Distance(value=0.0, low=0.0, high=0.0)
NOT_MEASURED = ClosedShare(share=None, why_not="the renders are at the floor")


def report_of(
    *, change: float = 0.14, share: Distance | ClosedShare | None = None, scale_px: float = 0.45
) -> EyeReport:
    """Eyes that changed so much in the median, that closed such a share, and that drifted."""
    report = example_report(scale_px)
    closed = share if isinstance(share, ClosedShare) else ClosedShare(share=share, why_not=None)
    looks = report.looks.model_copy(update={} if share is None else {"closed_share": closed})
    spread = Spread(num=1440, mean=change, sd=0.01, median=change, p95=1.3 * change)
    return report.model_copy(update={"mean_abs_change": spread, "looks": looks})


def distance(value: float, reach: float) -> Distance:
    return Distance(value=value, low=value - reach, high=value + reach)


@pytest.mark.parametrize(
    ("report", "outcome", "words"),
    [
        (report_of(change=0.0, share=NOTHING), "did nothing", "changed by 0.000"),
        (report_of(change=0.019, share=distance(0.01, 0.02)), "did nothing", "less than 0.02"),
        (report_of(change=0.019, share=distance(0.3, 0.02)), "closed", "closed 30 %"),
        (report_of(change=0.0, share=NOT_MEASURED), "did nothing", "changed by 0.000"),
        (report_of(), "closed", "closed 93 % of the distance to real images (95 % interval 90"),
        (report_of(share=distance(0.01, 0.02)), "closed nothing", "1 % (95 % interval -1 to 3 %)"),
        (report_of(share=distance(-0.2, 0.05)), "went away", "20 % of the distance (95 %"),
        (report_of(share=NOT_MEASURED), "not known", "not known: the renders are at the floor"),
        (report_of(scale_px=2.0), "moved labels", "iris: median 2.3"),
    ],
)  # fmt: skip
def test_planted_cases_get_their_verdict(report, outcome, words) -> None:
    verdict = verdict_of(report)
    assert verdict.outcome == outcome and words in verdict.words
    assert bool(verdict.moved) == (outcome == "moved labels")


def test_moved_labels_do_not_hide_what_became_of_the_look() -> None:
    verdict = verdict_of(report_of(scale_px=2.0))
    assert verdict.words.startswith("moved labels (pupil: median 2.3")
    assert "; and 4 more); closed 93 % of the distance" in verdict.words and len(verdict.moved) == 6


def test_a_drift_that_is_small_or_within_chance_is_no_movement_whatever_the_floor() -> None:
    """A median of 0.75 px is less than eyes are allowed; that of few samples may be chance."""
    report = report_of()
    assert verdict_of(with_iris(report, example_witness(0.64))).outcome == "closed"
    assert verdict_of(with_iris(report, example_witness(0.75))).outcome == "moved labels"
    unsure = example_witness(2.0)
    assert unsure.drift is not None and unsure.floor is not None
    drift = unsure.drift.model_copy(update={"median_low": unsure.floor.p95})
    assert verdict_of(with_iris(report, unsure.model_copy(update={"drift": drift}))).moved == ()
    no_floor = example_witness(2.0).model_copy(update={"floor": None})
    assert verdict_of(with_iris(report, no_floor)).moved == ()


def with_iris(report: EyeReport, witness) -> EyeReport:
    witnesses = report.witnesses.model_copy(update={"iris": witness})
    return report.model_copy(update={"witnesses": witnesses})


def test_a_missed_limit_on_labels_says_that_they_moved_and_no_other_limit_does() -> None:
    gate = load_gate(ROOT / "gates" / "eye-landmarks.toml", EyeReport)
    good = judged(report_of(), gate)
    assert good.passed and verdict_of(good).moved == ()
    for measure, at_most, said in (
        (
            "drift.drift_px.p95",
            0.1,
            "percentile of the drift of the fitted iris is 1.09 px, at most",
        ),
        ("derived.mean_shift_px", 0.01, "length of the mean displacement is 0.0943 px, at most"),
        ("calibration.null_drift_px.median", 0.01, None),
        ("derived.worst_planted_error_px", 0.001, None),
        ("realism.refined_vs_real.accuracy", 0.5, None),
    ):
        limit = gate.limits[0].model_copy(update={"measure": measure, "at_most": at_most})
        missed = judged(report_of(), gate.model_copy(update={"limits": (limit,)}))
        assert not missed.passed
        moved = verdict_of(missed).moved
        assert len(moved) == (said is not None) and all(said in words for words in moved)
    absent = GateCheck(
        measure="witnesses.gaze.drift.median", at_most=3, why="x", value=None, passed=False
    )
    assert verdict_of(report_of().model_copy(update={"checks": (absent,)})).moved == ()


def test_the_first_lines_of_a_page_count_what_says_that_labels_moved() -> None:
    moved = verdict_of(report_of(scale_px=2.0), (PAYS,))
    assert verdict_in_short(moved) == "moved labels, as 6 measurements say; pays for cnn on webcam"
    one = moved.model_copy(update={"moved": moved.moved[:1], "evaluated": ()})
    assert verdict_in_short(one) == "moved labels, as 1 measurement says"
    closed = verdict_of(report_of())
    assert verdict_in_short(closed) == closed.words and verdict_in_short(None) == ""


# --- beside an evaluation -------------------------------------------------------------------------

CARD = example_card("refined", "eyes, refined")
PAYS = Verdict(arm="ours", size=None, model="cnn", test="webcam", outcome="pays", why="It does.")
OTHER = PAYS.model_copy(update={"arm": "blurred", "outcome": "harms"})


def trial(arm: str, arm_settings: dict) -> TrialRecord:
    return TrialRecord(
        digest=digest_of(arm),
        setting="0" * 64,
        arm=arm,
        size=None,
        seed=0,
        model="cnn",
        arm_settings=arm_settings,
        model_settings={},
        num_images=10,
        facts={},
        errors={"webcam": Summary(unit="deg", num_units=3, mean=7.0, median=6.5, p95=12.0)},
        cpu_s=1.0,
    )


def evaluation_in(folder, arm_settings: dict) -> str:
    report = EvaluationReport(
        domain="eye", baseline="renders", control=None, seeds=(0,), num_trials=2, arms=(),
        differences=(), gaps=(), verdicts=(PAYS, OTHER), looks=(), notes=(),
    )  # fmt: skip
    (folder / "trials").mkdir()
    (folder / "evaluation.json").write_bytes(report.to_json())
    for record in (trial("ours", arm_settings), trial("blurred", {"kind": "degraded"})):
        (folder / "trials" / f"{record.digest}.json").write_bytes(record.to_json())
    return str(folder)


@pytest.mark.parametrize(
    "arm_settings",
    [
        {"kind": "refined", "refiners": ["1" * 64, "b" * 64]},
        {"kind": "dataset", "dataset": digest_of(["e" * 64])},
    ],
)
def test_an_evaluation_of_the_same_refiner_or_dataset_is_repeated(tmp_path, arm_settings) -> None:
    evaluated = evaluated_verdicts(evaluation_in(tmp_path, arm_settings), CARD, ["e" * 64])
    assert evaluated == (PAYS,)
    verdict = verdict_of(report_of(), evaluated)
    assert verdict.words.endswith("; pays for cnn on webcam") and verdict.evaluated == (PAYS,)


def test_an_evaluation_of_others_is_refused_by_name(tmp_path) -> None:
    evaluation = evaluation_in(tmp_path, {"kind": "refined", "refiners": ["1" * 64]})
    with pytest.raises(ValueError, match=r"no arm with the refiner b{64}.*of: blurred, ours"):
        evaluated_verdicts(evaluation, CARD, ["e" * 64])
    with pytest.raises(FileNotFoundError, match=r"no evaluation\.json"):
        evaluated_verdicts(str(tmp_path / "trials"), CARD, [])
