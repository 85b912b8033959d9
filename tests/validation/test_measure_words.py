"""Limits in words: every measure of the gates that come along has words, a unit and no code."""

import pytest

from factory.validation.gate import limit_text, load_gate
from factory.validation.measure_words import (
    Measure,
    measure_of,
    sample_limit_words,
    sample_measure_of,
)
from schemas.eye.report import EyeReport
from schemas.report import GateCheck
from support.places import ROOT
from support.report_example import example_report, example_sample_check


@pytest.mark.parametrize("name", ["eye", "eye-landmarks", "demo"])
def test_every_measure_of_a_shipped_gate_is_in_words(name: str) -> None:
    gate, report = load_gate(ROOT / "gates" / f"{name}.toml", EyeReport), example_report()
    measures = [measure_of(report, limit.measure) for limit in gate.limits]
    measures += [sample_measure_of(report, limit.measure) for limit in gate.samples]
    assert measures
    for measure in measures:
        assert " " in measure.words and not {"_", ";", ":"} & set(measure.words)


@pytest.mark.parametrize(
    ("name", "words", "value", "shown"),
    [
        ("witnesses.iris.drift.median", "median of the drift by the witness iris", 0.4, "0.4 px"),
        ("witnesses.gaze.floor.p95", "95th percentile of the floor of the witness gaze", 3, "3°"),
        ("witnesses.iris_registration.drift.p95_high", "upper end of the interval of the 95th", 2.5,
         "2.5 px"),
        ("witnesses.iris.drift.num", "number of samples behind the drift", 1300, "1,300"),
        ("derived.closed_share", "share of the distance to real images", 0.831, "83.1 %"),
        ("looks.closed_share.share.low", "lower end of the interval of the share", 0.8, "80 %"),
        ("looks.spectrum_db.refined.value", "refined of spectrum db of looks", -1.25, "−1.25 dB"),
        ("realism.refined_vs_real.accuracy", "refined images told from real ones", 0.5, "50 %"),
        ("drift.num_measured", "number of samples whose drift was measured", 811, "811"),
        ("mean_abs_change.median", "median of the change of an image", 0.119, "0.119"),
    ],
)  # fmt: skip
def test_a_number_has_its_words_and_its_unit(name, words, value, shown) -> None:
    measure = measure_of(example_report(), name)
    assert measure.words.startswith(words)
    assert measure.shown(value).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_bounds_are_in_the_unit_of_what_they_bound() -> None:
    check = GateCheck(
        measure="x", at_least=0.02, at_most=0.5, why="for this test", value=0.3, passed=True
    )
    share, plain = Measure("a share", "%", 100.0), Measure("a number", "")
    assert limit_text(check) == limit_text(check, plain.shown) == "at least 0.02, at most 0.5"
    assert limit_text(check, share.shown).replace("\N{NO-BREAK SPACE}", " ") == (
        "at least 2 %, at most 50 %"
    )


def test_a_bound_that_is_relative_says_of_what() -> None:
    check = example_sample_check()
    px = Measure("displacement", "px")
    assert sample_limit_words(check, px) == "more than 2\N{NO-BREAK SPACE}px"
    spreads = check.model_copy(
        update={"limit": "iris_registration_px > 2 (8 spreads above the median)"}
    )
    assert sample_limit_words(spreads, px).endswith("px (8 spreads above the median)")
    unknown = spreads.model_copy(update={"at_most": None})
    assert sample_limit_words(unknown, px) == "8 spreads above the median"
