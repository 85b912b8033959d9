"""jobs/describe.py as a user runs it: what it prints, writes, and exits with."""

import json
import shutil
from collections.abc import Callable

import pytest

from cluster.job.command import parse
from factory.dataset.dataset import Dataset, index_name
from factory.images.png import decode_png
from factory.upkeep.run import means_of
from factory.upkeep.verify import NotWholeError
from jobs.describe import DescribeJob, main
from support import fakes, planted, releases
from support.job_runs import work_here


@pytest.fixture
def run(capsys) -> Callable[..., str]:
    """Run the job in this process; gives what it printed, also where it raised as expected."""

    def run(*options: object, problems: str | None = None) -> str:
        job = parse(DescribeJob, [str(option) for option in options])
        capsys.readouterr()
        if problems is None:
            main(job)
        else:
            with pytest.raises(NotWholeError, match=problems):
                main(job)
        return capsys.readouterr().out

    return run


@pytest.fixture
def dataset(synthetic, tmp_path) -> Dataset:
    return planted.copied(synthetic, tmp_path / "eyes")


@pytest.mark.slow
def test_looking_leaves_no_trace(run, dataset, tmp_path) -> None:
    before = planted.content(dataset, "nothing")
    printed = run("--input", dataset.location, "--contact-sheet", tmp_path / "sheet.png")
    assert "24" in printed and "gaze_yaw_rad" in printed
    assert decode_png((tmp_path / "sheet.png").read_bytes()).shape[2] == 3
    assert json.loads(run("--input", dataset.location, "--json", "--gc")) == {"strays": []}
    assert planted.content(dataset, "nothing") == before


def test_a_release_is_described_and_broken_ones_are_named(run, dataset) -> None:
    releases.release(dataset)
    dataset.store.delete(index_name(0))
    place = f"{dataset.location}/releases/r1"
    assert "BROKEN" in run("--input", place)
    answer = json.loads(run("--input", place, "--json"))
    assert answer["release"]["num_samples"] == 24 and len(answer["release"]["broken"]) == 1
    with pytest.raises(ValueError, match="give its dataset"):
        run("--input", place, "--gc")


def test_garbage_is_removed_when_that_is_asked_for(run, dataset) -> None:
    dataset.store.delete(index_name(1))
    dataset.store.put("tmp/leftover", b"x")
    common = ("--input", dataset.location, "--gc", "--older-than-hours", 0)
    assert "add --delete" in run(*common) and dataset.committed() == [0, 2, 3, 4]
    printed = run(*common, "--delete")
    assert "committed" in printed and "removed" in printed
    assert dataset.committed() == [0, 1, 2, 3, 4] and "garbage: none" in run(*common)


@pytest.mark.parametrize(
    "options",
    [("--delete",), ("--apply",), ("--shards", 1), ("--gc", "--repair"), ("--refiner", "x"),
     ("--verify", "--older-than-hours", -1)],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(run, tmp_path, options) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("--input", tmp_path, *options)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("option", "why"), [("--refiner", "was not refined"), ("--source-input", "was refined")]
)
def test_means_of_the_other_kind_of_dataset_are_refused(
    dataset, refiner, tmp_path, option, why
) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    of = dataset if option == "--refiner" else child
    job = parse(DescribeJob, ["--input", of.location, "--repair", option, str(refiner)])
    with pytest.raises(ValueError, match=why):
        means_of(job, of, dataset)


def test_a_dataset_in_a_folder_called_releases_is_one(run, dataset, tmp_path) -> None:
    place = planted.copied(dataset, tmp_path / "releases" / "eyes").location
    assert "24" in run("--input", place) and "garbage: none" in run("--input", place, "--gc")


@pytest.mark.slow
def test_a_check_says_what_it_read_and_what_is_still_wrong_after_a_repair(
    run, dataset, refiner, tmp_path, monkeypatch
) -> None:
    work_here(monkeypatch)
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    assert "nothing is wrong with 2 of 5 shards\n" in run(
        "--input", child.location, "--verify", "--shards", 0, 3
    )
    releases.release(child)
    for shard in (0, 1):
        planted.DAMAGE["a bit flipped in an image"][0](child.store, shard)
    planted.DAMAGE["a bit flipped in an image"][0](dataset.store, 0)  # so the child's has to wait
    mend = ("--input", child.location, "--repair", "--apply", "--refiner", refiner)
    printed = run(*mend, problems="2 problems")
    assert "1 shards made again: 1" in printed and "shard 0 is damaged" in printed
    shutil.rmtree(dataset.location)
    printed = run("--input", child.location, "--verify", problems="2 problems")
    assert "in 5 of 5 shards, not compared with their parent, which is out of reach" in printed
