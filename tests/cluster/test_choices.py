"""Options that are for one source or one domain alone: shown and taken where that one is named."""

from pathlib import Path

import pytest

from cluster.job.choices import Choices, ChoosingJob
from cluster.job.command import JobConfig, parse
from factory.domains.registry import sources
from jobs.ingest import IngestJob
from jobs.simulate import SimulateJob

FIXED = ["--input", "x", "--output", "y"]


def answer(capsys, kind: type[JobConfig], *arguments: str) -> tuple[int, str, str]:
    """Exit code, and what was printed to both streams, of arguments that end the process."""
    with pytest.raises(SystemExit) as ended:
        parse(kind, list(arguments))
    return (int(ended.value.code or 0), *capsys.readouterr())


OF_RENDERS = ("--keep-gaze-yaw-deg", "--target-gaze", "--corner-error-px")


@pytest.mark.parametrize(
    ("source", "shown", "hidden"),
    [
        ("unityeyes", ("--crop.height", *OF_RENDERS), ("--blocks", "--only-names", "--nyu.kind")),
        ("images", ("--crop.height",), (*OF_RENDERS, "--blocks", "--only-names", "--nyu.kind")),
        ("screen-targets", ("--crop.height", "--blocks"), (*OF_RENDERS, "--only-names")),
        ("nyu", ("--nyu.kind", "--nyu.mask"), (*OF_RENDERS, "--crop.height", "--blocks")),
    ],
)
def test_help_shows_the_options_of_the_source_that_was_named(
    capsys, tmp_path, source, shown, hidden
) -> None:
    (tmp_path / "c.toml").write_text(f'[ingest]\nsource = "{source}"\n')
    for named in (["--source", source], [f"--source={source}"], ["--config", f"{tmp_path}/c.toml"]):
        code, printed, _ = answer(capsys, IngestJob, *named, "--help")
        assert code == 0 and "--shard-size" in printed and "--options" not in printed
        assert all(flag in printed for flag in shown)
        assert not [flag for flag in hidden if flag in printed]


def test_help_without_a_source_lists_them_and_the_options_of_all(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, printed, _ = answer(capsys, IngestJob, "--help")
    assert code == 0 and "--shard-size" in printed
    assert "`python jobs/ingest.py --source NAME --help`" in printed
    for name, kind in sources().items():
        summary = (kind.__doc__ or "").partition("\n")[0]
        assert f"\n  {name:14}  {summary[:-1]}\n" in printed and summary.endswith(".")
    for flag in (*OF_RENDERS, "--crop", "--blocks", "--nyu", "--options"):
        assert flag not in printed


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("images", ["--keep-opening", "0", "1"], "is for the source unityeyes, not for images"),
        ("images", ["--keep_opening=0"], "--keep_opening is for the source unityeyes"),
        ("unityeyes", ["--blocks", "all"], "is for the source screen-targets, not for unityeyes"),
        ("nyu", ["--crop.no-colour"], "is for the source unityeyes, mpiigaze, images, screen-"),
        ("unityeyes", ["--nyu.kind", "real"], "--nyu.kind is for the source nyu, not for unit"),
        ("nyu", ["--options", "kind", "real"], "--options is not for nyu"),
    ],
)
def test_an_option_of_another_source_is_refused_with_its_name(
    capsys, source, options, said
) -> None:
    code, _, printed = answer(capsys, IngestJob, "--source", source, *FIXED, *options)
    assert code == 2 and said in printed


def test_a_config_file_that_names_its_source_is_held_to_it(capsys, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[ingest]\nsource = "images"\nkeep_opening = [0.0, 1.0]\n')
    code, _, printed = answer(capsys, IngestJob, "--config", str(config), *FIXED)
    assert code == 2 and f"{config} [ingest]: keep_opening is for the source unityeyes" in printed
    named = parse(IngestJob, ["--config", str(config), *FIXED, "--source", "mpiigaze"])
    assert named.keep_opening == (0, 1), "which is left aside later, with a warning"


def test_a_domain_that_is_not_named_is_the_default(capsys) -> None:
    given = ["--count", "1", "--output", "x"]
    code, printed, _ = answer(capsys, SimulateJob, "--help")
    assert code == 0 and "--height" in printed and "--hand.cameras" not in printed
    code, printed, _ = answer(capsys, SimulateJob, "--domain", "hand", "--help")
    assert "--hand.cameras" in printed and "--height" not in printed
    code, printed, _ = answer(capsys, SimulateJob, "--domain", "foot", "--help")
    assert code == 0 and "\n  eye\n  hand\n" in printed and "--height" not in printed
    code, _, printed = answer(capsys, SimulateJob, *given, "--hand.cameras", "2")
    assert code == 2 and "--hand.cameras is for the domain hand, not for eye" in printed
    assert parse(SimulateJob, [*given, "--domain", "hand", "--hand.cameras", "2"]).hand.cameras == 2


def test_the_job_is_of_the_class_that_was_asked_for_and_its_options_keep_their_order() -> None:
    job = parse(IngestJob, ["--source", "images", *FIXED, "--crop.width", "60"])
    assert isinstance(job, IngestJob) and type(job).__name__ == "IngestJob"
    assert list(type(job).model_fields) == list(IngestJob.model_fields)


def test_a_name_that_is_no_choice_is_left_to_the_field_that_takes_it(capsys) -> None:
    code, _, printed = answer(capsys, IngestJob, "--source", "unity", *FIXED)
    assert code == 2 and "no source 'unity'; there are unityeyes" in printed


def test_a_note_stands_in_the_help_of_its_choice(capsys) -> None:
    class MeltJob(ChoosingJob):
        """Melt."""

        chosen_by = "metal"
        metal: str

        @classmethod
        def choices(cls) -> Choices:
            return {"tin": frozenset(), "lead": frozenset()}

        @classmethod
        def note(cls, choice: str) -> str:
            return f"{choice} melts at {505 if choice == 'tin' else 601} K"

    for metal, kelvins in (("tin", 505), ("lead", 601)):
        printed = answer(capsys, MeltJob, "--metal", metal, "--help")[1]
        assert f"{metal} melts at {kelvins} K" in printed
