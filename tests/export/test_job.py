"""`jobs/publish.py --export`: a release is made and exported, or exported as it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.job.command import parse
from factory.dataset.dataset import Dataset
from jobs.publish import PublishJob, main
from support import releases
from support.exports import plain_samples
from support.filtered import FAILED
from support.job_runs import work_here

pytestmark = pytest.mark.slow


@pytest.fixture
def publish(monkeypatch) -> Callable[..., None]:
    """Run the job in this process, its work too."""
    work_here(monkeypatch)

    def publish(*options: object) -> None:
        main(parse(PublishJob, [str(option) for option in options]))

    return publish


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text())


def test_a_release_is_made_and_exported_by_one_command(refined, publish, tmp_path) -> None:
    publish("--input", refined.location, "--release", "r1", "--export", tmp_path / "x",
            "--licence", "CC0-1.0")  # fmt: skip
    assert (Path(refined.location) / "releases" / "r1" / "manifest.json").is_file()
    exported = manifest_of(tmp_path / "x")
    assert (exported["num_samples"], exported["licence"]) == (24, "CC0-1.0")


def test_a_release_that_exists_is_exported_whatever_was_validated_since(
    refined, publish, tmp_path
) -> None:
    publish("--input", refined.location, "--release", "r1")
    releases.put_report(refined, id="20261122-000000-bbbb", passed=False)
    publish("--input", refined.location, "--release", "r1", "--export", tmp_path / "x")
    assert manifest_of(tmp_path / "x")["release"] == "r1"


def test_a_release_of_kept_samples_is_exported_from_the_filtered_dataset(
    refined, publish, tmp_path
) -> None:
    options = ("--input", refined.location, "--release", "r1", "--drop-failed")
    publish(*options, "--export", tmp_path / "x")
    samples = plain_samples(sorted((tmp_path / "x").glob("*.tar")))
    assert len(samples) == 17 and not FAILED.keys() & samples.keys()
    assert "missed a limit" not in (tmp_path / "x" / "README.md").read_text()
    child = Dataset.open(tmp_path / "refined-kept")
    publish("--input", child.location, "--release", "r1", "--export", tmp_path / "y")
    assert manifest_of(tmp_path / "y") == manifest_of(tmp_path / "x")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--licence", "MIT"], "--licence goes with --export"),
        (["--export", "s3://bucket/x"], "--export writes to a local folder"),
        (["--export", "x", "--abandon"], "--abandon goes with"),
        (["--kept", "y"], "--kept and --workers go with --drop-failed"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(capsys, options, reason) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(PublishJob, ["--input", "d", "--release", "r1", *options])
    assert exited.value.code == 2
    assert reason in " ".join(capsys.readouterr().err.split())
