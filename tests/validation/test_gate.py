"""A gate fails what misses a limit, what was not measured, and files it does not understand."""

import hashlib
from pathlib import Path

import pytest

from factory.validation.gate import check, explain, judged, load_gate, measures, misses_of, value_of
from schemas.base import FormatError
from schemas.eye.report import EyeReport
from schemas.report import ShardCount
from support.places import ROOT
from support.report_example import (
    example_fidelity,
    example_judged,
    example_report,
    example_sample_check,
)

EYE_GATE = ROOT / "gates" / "eye-landmarks.toml"


def gate_file(folder: Path, *limits: str, head: str = "format_version = 1\n") -> Path:
    path = folder / "gate.toml"
    lines = [f'[[limit]]\nwhy = "because of the labels"\n{limit}\n' for limit in limits]
    path.write_text(head + "\n".join(lines))
    return path


def test_the_gate_of_this_repository_passes_a_good_report_and_stops_a_bad_one() -> None:
    gate = load_gate(EYE_GATE, EyeReport)
    good = example_judged()
    assert good.passed and good.gate == hashlib.sha256(EYE_GATE.read_bytes()).hexdigest()
    drifting = example_judged(1.2)
    assert drifting.passed is False
    missed = {line.measure for line in drifting.checks if not line.passed}
    assert {"drift.drift_px.median", "drift.drift_px.p95"} <= missed
    unreal = judged(example_report(closed_share=0.77), gate)
    assert misses_of(unreal) == ["derived.closed_share"]


@pytest.mark.parametrize(
    ("limit", "passed"),
    [
        ("at_most = 0.14", False),
        ("at_most = 0.141", True),
        ("at_least = 0.141", True),
        ("at_least = 0.1411", False),
        ("at_least = 0.1\nat_most = 1", True),
        ("at_least = 0\nat_most = 0.1", False),
    ],
)
def test_limits_include_their_ends(tmp_path: Path, limit: str, passed: bool) -> None:
    path = gate_file(tmp_path, f'measure = "mean_abs_change.mean"\n{limit}')
    (line,) = check(example_report(), load_gate(path, EyeReport))
    assert (line.passed, line.value) == (passed, 0.141)


def test_what_was_not_measured_fails(tmp_path: Path) -> None:
    report = example_report()
    nothing = report.drift.model_copy(
        update={"drift_px": None, "mean_shift_px": None, "num_measured": 0, "bins": ()}
    )
    report = report.model_copy(update={"drift": nothing})
    names = ("drift.drift_px.median", "derived.mean_shift_px", "derived.worst_bin_drift_px")
    path = gate_file(tmp_path, *(f'measure = "{name}"\nat_most = 1e9' for name in names))
    checks = check(report, load_gate(path, EyeReport))
    assert [(line.value, line.passed) for line in checks] == [(None, False)] * 3
    assert value_of(report, "derived.abstained_share") == 1
    judgement = report.model_copy(update={"checks": checks})
    assert "not measured" in explain(judgement)


def test_an_unknown_measure_is_refused_with_those_of_similar_name(tmp_path: Path) -> None:
    path = gate_file(tmp_path, 'measure = "drift.drift.median"\nat_most = 1')
    with pytest.raises(FormatError, match=r"no measure 'drift\.drift\.median'.*drift\.drift_px"):
        load_gate(path, EyeReport)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("format_version = 99\nthresholds = 3\n", "newer than this program"),
        ("limit = [", "not TOML"),
        ("format_version = 1\n", "limit: Field required"),
        ("limit = []\n", "at least 1 item"),
        ('[[limit]]\nmeasure = "num_samples"\nwhy = "enough to see"\n', "neither at_most"),
        ('[[limit]]\nmeasure = "num_samples"\nat_least = 1\nwhy = ""\n', "why"),
        (
            '[[limit]]\nmeasure = "num_samples"\nat_lest = 1\nat_most = 2\nwhy = "enough to see"\n',
            "at_lest",
        ),
        (
            '[[limit]]\nmeasure = "num_samples"\nat_least = nan\nwhy = "enough to see"\n',
            "finite number",
        ),
    ],
)
def test_a_file_that_is_no_gate_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        load_gate(path, EyeReport)


@pytest.mark.slow
def test_every_measure_can_be_read_from_a_report() -> None:
    report = example_report()
    witnesses = report.witnesses.model_copy(update={"mediapipe": report.witnesses.iris})
    report = report.model_copy(update={"witnesses": witnesses, "fidelity": example_fidelity()})
    names = measures(EyeReport)
    assert len(names) == len(set(names)) and set(EyeReport.derived) <= set(names)
    assert {"drift.drift_px.p95", "realism.real_vs_real.accuracy"} <= set(names)
    assert all(isinstance(value_of(report, name), float) for name in names)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_fails(tmp_path: Path, value: float) -> None:
    report = example_report()
    change = report.mean_abs_change.model_copy(update={"mean": value})
    report = report.model_copy(update={"mean_abs_change": change})
    path = gate_file(tmp_path, 'measure = "mean_abs_change.mean"\nat_least = -1e9')
    (line,) = check(report, load_gate(path, EyeReport))
    assert (line.passed, line.value) == (False, None)


def test_derived_measures() -> None:
    report = example_report()
    assert value_of(report, "derived.mean_shift_px") == pytest.approx((0.08**2 + 0.05**2) ** 0.5)
    assert value_of(report, "derived.worst_planted_error_px") == 0.043
    assert value_of(report, "derived.realism_gain") == pytest.approx(0.997 - 0.83)
    assert value_of(report, "derived.refined_over_floor") == pytest.approx(0.83 - 0.508)
    assert value_of(report, "derived.abstained_share") == pytest.approx(140 / 1440)
    bins = [line for line in report.drift.bins if line.drift_px is not None]
    worst = max(line.drift_px.median for line in bins if line.drift_px)
    assert value_of(report, "derived.worst_bin_drift_px") == worst


def test_the_explanation_fits_a_screen_and_puts_misses_first() -> None:
    bad = example_judged(1.2)
    lines = explain(bad).splitlines()
    assert lines[0].startswith("FAIL: ") and f"of {len(bad.checks) + 1} limits" in lines[0]
    verdicts = [line.split()[0] for line in lines if line.startswith(("  miss", "  kept"))]
    assert verdicts == sorted(verdicts, reverse=True) and len(verdicts) == len(bad.checks) + 1
    assert len(lines) <= 40 and max(map(len, lines)) <= 120
    good = example_judged()
    assert explain(good).startswith(f"PASS: all {len(good.checks) + 1} limits kept")
    assert "1 limits on samples" in explain(good)


def test_limits_on_samples_and_bad_shards_fail_a_report_that_keeps_all_others() -> None:
    shard = ShardCount(shard=12, num_missed=88, num_samples=100)
    for check_line in (example_sample_check(30), example_sample_check(9, (shard,))):
        report = example_judged(samples=(check_line,))
        assert report.passed is False and misses_of(report) == ["iris_registration_px > 2"]
    explained = explain(report)
    assert "iris_registration_px > 2" in explained and "000012 with 88 of 100" in explained


def test_many_misses_still_fit_a_screen() -> None:
    report = example_judged(samples=(example_sample_check(500),) * 60)
    assert len(explain(report).splitlines()) <= 40 and "and 50 more" in explain(report)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('measure = "iris_drift"\nat_most = 1', "close: .*iris_drift_px"),
        ('measure = "iris_drift_px"', "neither at_most nor at_least"),
        ('measure = "iris_drift_px"\nat_most = 1\nmax_share = 2', "max_share"),
    ],
)
def test_a_limit_on_samples_that_means_nothing_is_refused(
    tmp_path: Path, table: str, message: str
) -> None:
    path = gate_file(tmp_path, 'measure = "mean_abs_change.mean"\nat_most = 1')
    why = 'why = "because of the labels"'
    path.write_text(f"{path.read_text()}\n[[sample]]\n{table}\n{why}\n")
    with pytest.raises(FormatError, match=message):
        load_gate(path, EyeReport)


def test_both_gates_of_eyes_find_the_odd_sample_alike():
    gaze, places = (
        load_gate(ROOT / "gates" / name, EyeReport) for name in ("eye.toml", "eye-landmarks.toml")
    )
    relative = [limit for limit in gaze.samples if limit.is_relative]
    assert len(relative) == 30 and list(places.samples) == relative
