"""What a night is told: tables, environment variables, and what is refused before it begins."""

from pathlib import Path

import pytest

from cluster.job.night.settings import NightSettings
from factory.store import lease as leases
from factory.store.lease import lease
from factory.validation.withheld import withhold
from jobs import validate
from jobs.night import OF_NIGHT_TABLE, Jobs, NightJob, planned
from jobs.night import main as night
from jobs.repair import RepairJob
from schemas.options import OptionError
from support import releases
from support.job_runs import run_job
from support.places import DATA

pytestmark = pytest.mark.slow
VARIABLES = {
    "SIMGAN_RENDERS": "/data/renders",
    "SIMGAN_SYNTHETIC": "/data/synthetic",
    "SIMGAN_REFINER": "/data/run",
    "SIMGAN_REFINED": "/data/refined",
    "SIMGAN_REAL": "/data/real",
    "SIMGAN_GATE": "eye",
}
TABLES = """
[ingest]
source = "unityeyes"
input = "/data/renders"
output = "/data/synthetic"
[refine]
refiner = "/data/run"
output = "/data/refined"
[validate]
real = "/data/real"
gate = "eye"
"""


@pytest.fixture
def file_with(tmp_path):
    """Writes a file of settings: the tables above, and further lines."""

    def write(*lines: str) -> Path:
        path = tmp_path / "night.toml"
        path.write_text(TABLES + "\n".join(lines))
        return path

    return write


def test_variables_alone_say_all(monkeypatch) -> None:
    jobs, settings = planned(NightJob(), VARIABLES)
    assert (jobs.of_ingest.source, jobs.of_ingest.min_shard) == ("unityeyes", 4096)
    assert jobs.of_refine.input == "/data/synthetic"
    assert jobs.of_validate.input == jobs.of_publish.input == "/data/refined"
    assert settings == NightSettings()


def test_variables_come_before_the_file(file_with) -> None:
    path = file_with("[night]", 'webhook = "https://a.example.com"', "keep_days = 3")
    given = {
        "SIMGAN_REFINED": "/other/refined",
        "SIMGAN_INGEST_OPTIONS": "--keep-gaze-yaw-deg -25 25 --workers 3",
        "SIMGAN_PUBLISH_OPTIONS": "--drop-failed",
        "SIMGAN_WEBHOOK": "https://b.example.com",
        "SIMGAN_KEEP_RELEASES": "5",
    }
    jobs, settings = planned(NightJob(settings=path), given)
    assert jobs.of_refine.output == jobs.of_publish.input == "/other/refined"
    assert jobs.of_ingest.keep_gaze_yaw_deg == (-25, 25) and jobs.of_ingest.workers == 3
    assert jobs.of_ingest.min_shard == 1 and jobs.of_publish.drop_failed
    assert settings.webhook is not None
    assert settings.webhook.get_secret_value() == "https://b.example.com"
    assert (settings.keep_releases, settings.keep_days) == (5, 3)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_that_is_missing_is_named(name) -> None:
    with pytest.raises(OptionError, match=f"{name} is not set; docs/deploy.md tells what it is"):
        planned(NightJob(), {key: value for key, value in VARIABLES.items() if key != name})


def test_an_option_of_the_further_ones_is_not_missing() -> None:
    given = {key: value for key, value in VARIABLES.items() if key != "SIMGAN_GATE"}
    jobs, _ = planned(NightJob(), given | {"SIMGAN_VALIDATE_OPTIONS": "--gate hand"})
    assert jobs.of_validate.gate is not None and jobs.of_validate.gate.name == "hand.toml"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["[night]", "keep_releasse = 3"], "keep_releasse"),
        (["[night]", "keep_releases = 0"], "keep_releases"),
        (["[night]", 'name = "nightly"'], "do not tell the day"),
        (["[night]", 'webhook = "file:///etc/passwd"'], "http:// or https:// URL"),
        (["[night]", "max_withheld_share = 2"], "max_withheld_share"),
        (["[publish]", 'release = "v1"'], "release is not for a night"),
        (["[publish]", 'export = "/x"'], "export is not for a night"),
        (["[publish]", "latest = false"], "leave latest out"),
        (["[nigth]", "keep_days = 3"], "nigth is no table of a job"),
    ],
)
def test_what_does_not_fit_a_night_is_refused(file_with, lines, words) -> None:
    with pytest.raises(OptionError, match=words):
        planned(NightJob(settings=file_with(*lines)), {})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("REFINE", "--input /x", "--input /x of jobs/refine.py is not for a night"),
        ("VALIDATE", "--input /x", "it follows from the other options, and is /data/refined"),
        ("PUBLISH", "--input /x", "it follows from the other options, and is /data/refined"),
        ("INGEST", "'--workers", "SIMGAN_INGEST_OPTIONS cannot be used: No closing quotation"),
    ],
)
def test_further_options_that_do_not_fit_a_night_are_refused(name, options, words) -> None:
    with pytest.raises(OptionError, match=words):
        planned(NightJob(), VARIABLES | {f"SIMGAN_{name}_OPTIONS": options})


def test_a_file_without_a_table_of_the_night_is_refused(tmp_path) -> None:
    path = tmp_path / "night.toml"
    path.write_text("night = 5\n" + TABLES)
    with pytest.raises(OptionError, match="night is no table"):
        planned(NightJob(settings=path), {})


def test_a_wrong_webhook_is_not_quoted(file_with) -> None:
    with pytest.raises(OptionError) as raised:
        planned(NightJob(settings=file_with()), {"SIMGAN_WEBHOOK": "htps://x/s3cr3t"})
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("lines", [["[refine.x]", "a = 1"], ["[publish]", "drop_faild = true"]])
def test_wrong_options_of_a_job_are_refused_as_it_refuses_them(file_with, lines, capsys) -> None:
    with pytest.raises(SystemExit) as exited:
        planned(NightJob(settings=file_with(*lines)), {})
    assert exited.value.code == 2 and "unknown option" in capsys.readouterr().err


def test_the_table_of_the_night_is_the_one_that_config_refuses(file_with) -> None:
    assert set(OF_NIGHT_TABLE) == set(NightSettings.model_fields)
    path = file_with("[night]", "keep_days = 3")
    said = run_job("night", "--config", path, expect=2)
    assert "keep_days is read from the file that --settings names; give that instead" in said


def test_a_gate_or_real_images_that_cannot_be_used_end_the_night_before_it_begins(
    file_with, single_reals, tmp_path, monkeypatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIMGAN_REFINED", str(tmp_path / "refined"))
    said = run_job("night", "--settings", file_with(), expect=2)
    assert "--real /data/real cannot be used" in said
    monkeypatch.setenv("SIMGAN_REAL", single_reals.location)
    gate = tmp_path / "gate.toml"
    gate.write_text((DATA / "open-gate.toml").read_text().replace("num_samples", "num_smples"))
    monkeypatch.setenv("SIMGAN_GATE", str(gate))
    said = run_job("night", "--settings", file_with(), expect=2)
    assert f"--gate {gate} cannot be used" in said and "num_samples" in said
    assert not (tmp_path / "refined").exists()


def test_the_steps_are_the_jobs_with_their_options(monkeypatch) -> None:
    jobs, _ = planned(NightJob(), VARIABLES | {"SIMGAN_REFINE_OPTIONS": "--workers 3"})
    called = []
    monkeypatch.setattr(validate, "validated", called.append)
    for name in ("ingest", "refine", "publish", "repair"):
        monkeypatch.setattr(f"jobs.{name}.main", called.append)
    steps: Jobs = jobs
    steps.ingest()
    steps.refine()
    steps.validate([3, 4])
    steps.publish("2026-11-30", "r", "/data/refined-kept-2026-11-30")
    steps.mend("/data/synthetic")
    steps.mend("/data/refined")
    ingested, refined, validated, published, source, child = called
    assert (ingested, refined) == (jobs.of_ingest, jobs.of_refine)
    assert validated.leave_out == (3, 4) and validated.real == "/data/real"
    assert (published.release, published.report) == ("2026-11-30", "r")
    assert published.kept == "/data/refined-kept-2026-11-30"
    assert source == RepairJob(
        input="/data/synthetic", apply=True, source_input="/data/renders", workers=3
    )
    assert child == RepairJob(
        input="/data/refined",
        apply=True,
        parent="/data/synthetic",
        refiner="/data/run",
        workers=3,
        withdraw_stale=True,
    )


def test_a_shard_that_is_not_withheld_cannot_be_taken_back(refined, monkeypatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIMGAN_REFINED", refined.location)
    with pytest.raises(OptionError, match=r"--take-back 3 .* shard 3 is not withheld"):
        night(NightJob(take_back=(3,)))


def test_a_shard_is_taken_back_by_its_number(refined, monkeypatch, capsys) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIMGAN_REFINED", refined.location)
    withhold(refined, {3: "a test"}, releases.report_on(refined))
    night(NightJob(take_back=(3,)))
    assert capsys.readouterr().out == "the next night validates again: shards 3\n"
    assert list(refined.store.entries("withheld")) == []


def test_a_night_beside_another_one_does_nothing(refined, single_reals, monkeypatch) -> None:
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.02)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIMGAN_REFINED", refined.location)
    monkeypatch.setenv("SIMGAN_REAL", single_reals.location)
    monkeypatch.setattr("jobs.ingest.main", lambda job: pytest.fail("it ran"))
    with lease(refined.store, "night", ttl_s=2):
        said = run_job("night")
    assert f"another night is at work on {refined.location}; this one does nothing" in said


def test_a_missing_night_ends_with_1(refined, monkeypatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIMGAN_REFINED", refined.location)
    said = run_job("night", "--overdue-hours", 26, expect=1)
    assert f"{refined.location} has no latest release; at most 26 h were expected" in said
