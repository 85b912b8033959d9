"""An evaluation as a user runs it, with models that train in no time."""

import json
from pathlib import Path

import pytest

from cluster.job.command import parse
from factory.domains.eye.domain import EyeDomain
from factory.domains.eye.evaluation import EVALUATION as EVALUATION_OF_EYES
from factory.domains.hand.domain import HandDomain
from factory.evaluation.ablation import load_variants
from factory.evaluation.comparison.arms import RefinedArm
from factory.evaluation.comparison.config import EvaluationConfig
from factory.evaluation.comparison.run import compared_by, evaluate
from factory.evaluation.comparison.setup import Compared, EvaluationSetup
from factory.evaluation.comparison.trial_log import read_log
from factory.evaluation.names import file_name_of
from factory.networks.evaluation_kinds import Evaluation
from jobs.evaluate import EvaluateJob
from schemas.base import FormatError
from schemas.evaluation import EvaluationReport
from schemas.report import Spread
from schemas.score import Score, ScoreRecord
from schemas.toml import tables_in
from support import fakes
from support.evaluations import EVALUATION
from support.places import ROOT
from support.report_example import two_sample

pytestmark = pytest.mark.slow

EVIDENCE = ROOT / "benchmarks" / "evidence"
SETUP = """
renders = "{renders}"
real = "{real}"
num_held_out = 20
seeds = [0, 1]
control = "swapped"
log = "{log}"

[arms.constant]
kind = "constant"
[arms.renders]
kind = "renders"
[arms.swapped]
kind = "amplitudes"
[arms.real]
kind = "real"
test = "drawn"
sizes = [30]
held_out_share = 0.5

[models.columns]
kind = "columns"
collapses = [1]

[tests.drawn]
kind = "labelled"
dataset = "{renders}"
"""


@pytest.fixture(autouse=True)
def _cheap_models(monkeypatch) -> None:
    monkeypatch.setattr(EyeDomain, "evaluation", lambda self: EVALUATION)


@pytest.fixture
def config(split_pair, tmp_path) -> EvaluationConfig:
    text = SETUP.format(
        renders=split_pair[0].location, real=split_pair[1].location, log=tmp_path / "log.jsonl"
    )
    path = tmp_path / "setup.toml"
    path.write_text(text)
    return EvaluationConfig(setup=path, output=str(tmp_path / "out"))


def run(config: EvaluationConfig) -> EvaluationReport:
    return evaluate(config, compared_by(config), fakes.call_here)


def changed(config: EvaluationConfig, *changes: tuple[str, str]) -> EvaluationConfig:
    text = config.setup.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    config.setup.write_text(text)
    return config


def test_an_evaluation_compares_logs_and_resumes(config, tmp_path) -> None:
    report = run(config)
    by_arm = {result.arm: result for result in report.arms}
    assert list(by_arm) == ["constant", "renders", "swapped", "real"]
    assert all(result.collapsed_seeds == (1,) for result in report.arms if result.arm != "constant")
    assert by_arm["renders"].mean.value < by_arm["constant"].mean.value
    assert by_arm["constant"].by_seed[0][0] == 0 and report.num_trials == 7
    assert {(line.arm, line.other) for line in report.differences} == {
        ("constant", "renders"), ("constant", "swapped"), ("renders", "swapped"),
        ("swapped", "renders"), ("real", "renders"), ("real", "swapped"),
    }  # fmt: skip
    assert report.notes == ("drawn: The eyes are drawn.",)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "collapsed to a constant" in page and "http:" not in page and "https:" not in page
    log = read_log(tmp_path / "log.jsonl")
    assert len(log) == 7 and report.looks[0].num_settings == report.looks[0].num_new_settings == 4
    # More of it keeps what there is.
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/trials").iterdir()}
    more = run(changed(config, ("[0, 1]", "[0, 1, 2]"), ("collapses = [1]", "collapses = [1]")))
    assert more.num_trials == 10 and len(read_log(tmp_path / "log.jsonl")) == 10
    assert (
        records.items()
        <= {path: path.stat().st_mtime_ns for path in (tmp_path / "out/trials").iterdir()}.items()
    )
    assert more.looks[0].num_settings == 4 and more.looks[0].num_new_settings == 0
    assert (
        next(r for r in more.arms if r.arm == "renders").by_seed[0] == by_arm["renders"].by_seed[0]
    )


def test_one_arm_can_be_run_at_a_time(config, tmp_path) -> None:
    report = run(config.model_copy(update={"only": ("renders",)}))
    assert {result.arm for result in report.arms} == {"renders"} and not report.verdicts
    with pytest.raises(ValueError, match="no arm refined"):
        run(config.model_copy(update={"only": ("refined",)}))


def test_errors_stand_beside_the_scores_of_refiners_that_have_one(config, tmp_path) -> None:
    tables = ""
    for arm, num_seeds in (("held", 2), ("free", 1), ("unscored", 1)):
        places = [fakes.save_tiny_refiner(tmp_path / f"{arm}-{s}", s) for s in range(num_seeds)]
        tables += (
            f'[arms.{arm}]\nkind = "refined"\nrefiners = {json.dumps(list(map(str, places)))}\n'
        )
    for number, name in enumerate(("held-0", "held-1", "free-0")):
        score = Score(
            num_samples=40,
            drift_px=Spread(num=30, mean=number, sd=0, median=number, p95=number),
            mean_abs_delta=0.1,
            two_sample=two_sample(0.8),
        )
        record = ScoreRecord[Score](refiner=fakes.SHA, measured_with=fakes.SHA, score=score)
        (tmp_path / name / "score.json").write_bytes(record.to_json())
    report = run(changed(config, ("[arms.constant]", f"{tables}[arms.constant]"), ("[1]", "[]")))
    # Both seeds of the models take the one refiner of an arm that has only one.
    assert [
        (line.arm, line.seed, line.metrics["drift_median_px"], line.metrics["mean_abs_delta"])
        for line in report.scored
    ] == [("held", 0, 0, 0.1), ("held", 1, 1, 0.1), ("free", 0, 2, 0.1), ("free", 1, 2, 0.1)]
    by_arm = {result.arm: dict(result.by_seed) for result in report.arms}
    assert all(line.error == by_arm[line.arm][line.seed] for line in report.scored)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "drawn: error against the scores of refiners, columns" in page
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"error-drawn.svg", "curves-drawn-columns.svg", "scores-drawn-columns.svg"}
    (tmp_path / "free-0" / "score.json").write_text("{}")
    with pytest.raises(FormatError, match=r"free-0/score\.json"):
        run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((('control = "swapped"', 'control = "blur"'),), r"control: there is no table .*blur"),
        ((("[arms.renders]", "[arms.drawn]"),), r"baseline: there is no table \[arms\.renders\]"),
        ((('test = "drawn"', 'test = "webcam"'),), r"\[arms\.real\] test: .*\[tests\.webcam\]"),
        ((('kind = "columns"', 'kind = "cnn"'),), r"\[models\.columns\]: kind = 'cnn'; there are"),
        ((("collapses = [1]", "collapse = [1]"),), r"\[models\.columns\]: collapse"),
        ((("collapses = [1]", "smallest_px = 900"),), "900 px wide"),
        ((("[0, 1]", "[0, 0]"),), "seeds: one is named twice"),
        ((("num_held_out", 'split = "dev"\nnum_held_out'),), "no split dev"),
    ],
)
def test_setups_that_do_not_fit_are_refused_by_name(config, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        Compared.load(changed(config, *changes).setup)


def test_the_setup_of_the_repository_is_read() -> None:
    job = parse(EvaluateJob, ["--setup", "configs/evaluation.toml", "--output", "out/e"])
    assert job.setup.name == "evaluation.toml"
    assert 'kind = "screen_targets"' in (ROOT / "configs" / "evaluation.toml").read_text()


def made(path: Path, evaluation: Evaluation) -> EvaluationSetup:
    """A setup whose models and test sets the domain can make; no dataset is looked for."""
    setup = EvaluationSetup.model_validate(tables_in(path))
    for tables, kinds in (
        (setup.models, evaluation.regressors),
        (setup.tests, evaluation.test_sets),
    ):
        for table in tables.values():
            options = {**table}
            kinds[options.pop("kind")].model_validate(options)
    return setup


@pytest.mark.parametrize(
    "name", ["choice", "frozen", "variants-arms", "damage-arms", "photographs"]
)
def test_the_setups_behind_the_evidence_name_what_eyes_bring(name) -> None:
    assert made(EVIDENCE / f"{name}.toml", EVALUATION_OF_EYES).arms


def test_the_arms_of_variants_are_the_runs_of_the_ablation() -> None:
    variants = load_variants(EVIDENCE / "variants.toml")
    setup = EvaluationSetup.model_validate(tables_in(EVIDENCE / "variants-arms.toml"))
    refined = {name: arm for name, arm in setup.arms.items() if isinstance(arm, RefinedArm)}
    assert list(refined) == list(variants)
    for name, arm in refined.items():
        runs = [f"out/variants/{file_name_of(name)}/seed-{seed}" for seed in setup.seeds]
        assert list(arm.refiners) == runs


def test_the_setup_of_hands_names_what_the_domain_brings() -> None:
    setup = made(ROOT / "configs" / "evaluation-hand.toml", HandDomain().evaluation())
    assert setup.control == "matched degradation" and len(setup.seeds) >= 5
