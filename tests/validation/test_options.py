"""Options of validation that belong to one domain come from it, and reach its validator."""

import pytest

from cluster.job.command import parse
from factory.domains.base import Domain
from factory.domains.registry import options_by_domain, options_of
from factory.measures.looks.settings import LookSettings
from factory.validation.settings import ValidationSettings
from jobs.power import PowerJob
from jobs.validate import ValidateJob

VALIDATE = ["--input", "refined", "--real", "real"]


def test_a_command_line_reaches_the_domain_that_it_is_for():
    given = ["--finder.min-score", "0.4", "--looks.num-rounds", "20", "--test.seeds", "3"]
    job = parse(ValidateJob, [*VALIDATE, *given])
    assert options_by_domain(job, "measuring_options")["eye"].finder.min_score == 0.4
    assert options_by_domain(job, "validation_options")["eye"].looks.num_rounds == 20
    assert job.part(ValidationSettings).test.seeds == (3,)
    assert not options_by_domain(job, "measuring_options")["hand"].model_fields_set


def test_a_config_file_reaches_the_domain_that_it_is_for(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("[validate.looks]\nnum_rounds = 20\n[power.finder]\nmin_score = 0.4\n")
    job = parse(ValidateJob, ["--config", str(path), *VALIDATE])
    looks = options_by_domain(job, "validation_options")["eye"].looks
    assert looks == LookSettings(num_rounds=20)
    power = parse(PowerJob, ["--config", str(path), "--input", "refined", "--output", "power"])
    assert options_by_domain(power, "measuring_options")["eye"].finder.min_score == 0.4


def test_the_core_has_no_options_of_a_domain():
    of_domains = {
        name
        for hook in ("measuring_options", "validation_options")
        for kind in options_of(hook)
        for name in kind.model_fields
    }
    assert of_domains == {"finder", "looks"}
    assert not of_domains & ValidationSettings.model_fields.keys()


def test_an_option_of_another_job_is_refused():
    with pytest.raises(SystemExit) as error:
        parse(PowerJob, ["--input", "i", "--output", "o", "--looks.num-rounds", "20"])
    assert error.value.code == 2


def test_a_domain_without_options_adds_none():
    assert not Domain.measuring_options(None).model_fields  # type: ignore[arg-type]
