"""The job of estimators: its kinds are those of the domains, its options those of the kind."""

import pytest

from cluster.job.command import load_config, parse
from cluster.job.estimators import estimator_job, run_estimator
from factory.domains.base import Domain
from factory.domains.eye.domain import EYE_DOMAIN
from factory.domains.registry import estimators, known_domains
from schemas.base import FormatError
from support.coins import COIN_DOMAIN

REQUIRED = ["--synthetic", "a", "--output", "b"]


def test_every_kind_is_found_by_the_name_of_its_files() -> None:
    kinds = estimators()
    assert list(kinds) == ["landmarks", "gaze", "joints"]
    assert [kind.name for kind in kinds.values()] == list(kinds)
    assert [kind.domain for kind in kinds.values()] == ["eye", "eye", "hand"]


def test_a_domain_may_bring_none() -> None:
    assert Domain.estimators(COIN_DOMAIN) == {}


def test_two_domains_cannot_bring_one_name(monkeypatch) -> None:
    class Other(type(EYE_DOMAIN)):
        name = "other"

    domains = {**known_domains(), "other": Other()}
    monkeypatch.setattr("factory.domains.registry.known_domains", lambda: domains)
    with pytest.raises(FormatError, match="domains eye and other both bring an estimator 'landm"):
        estimators()


def test_a_kind_adds_the_options_of_its_training(tmp_path) -> None:
    job = parse(estimator_job("gaze"), [*REQUIRED, "--lr-schedule", "cosine"])
    training = job.part(job.KIND.training)
    assert (job.synthetic, job.split, training.lr_schedule) == ("a", "train", "cosine")
    assert training == type(training)(lr_schedule="cosine")
    (tmp_path / "all.toml").write_text("[joints]\nsteps = 7\n[gaze]\nsteps = 8\n")
    given = {"synthetic": "a", "output": "b"}
    assert load_config(estimator_job("joints"), tmp_path / "all.toml", given).steps == 7


@pytest.mark.parametrize("arguments", [[], ["nose"], REQUIRED, ["gaze", *REQUIRED, "--maps", "3"]])
def test_unknown_kinds_and_options_are_refused(capsys, arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        run_estimator(arguments)
    assert caught.value.code == 2
    assert "jobs/estimator.py" in capsys.readouterr().err


def test_an_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'nose'; there are landmarks, gaze, joints"):
        estimator_job("nose")
