"""jobs/describe.py as a user runs it: what it prints, writes, and exits with."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.job.command import parse
from factory.dataset.children import UnreachableChildError, registered_children
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset, OldFormatError
from factory.dataset.names import index_name
from factory.images.png import decode_png
from factory.refinement.card import refined_card
from factory.refinement.run import refine_dataset
from factory.release.publish import publish
from factory.release.state import release_names
from factory.upkeep.run import means_of
from factory.upkeep.verify import NotWholeError
from jobs.describe import DescribeJob, main
from schemas.lease import Lease
from support import fakes, planted, releases
from support.job_runs import work_here


@pytest.fixture
def run(capsys, monkeypatch) -> Callable[..., str]:
    """Run the job in this process; gives what it printed, also where it raised as expected."""
    work_here(monkeypatch)

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
    dataset.store.delete(fakes.tar_of(dataset, 0))
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
    assert "removed" in run(*common, "--delete")
    assert dataset.committed() == [0, 2, 3, 4] and "garbage: none" in run(*common)


def test_an_old_dataset_is_read_and_changed_only_after_its_upgrade(
    run, dataset, refiner, tmp_path
) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    releases.put_report(child)
    expected, number = planted.content(child, "reports/"), child.card.digest()
    old = planted.as_format_1(child)
    assert old.card.format_version == 1 and old.card.digest() == number
    assert fakes.committed_shards(old).keys() == fakes.committed_shards(child).keys()
    assert planted.verified(old, dataset) == [] and "24" in run("--input", old.location)
    assert "garbage: none" in run("--input", old.location, "--gc")
    for change in (
        lambda: fakes.refine_here(dataset, refiner, Path(old.location)),
        lambda: publish(old, "r1", releases.REPORT_ID),
        lambda: run("--input", old.location, "--gc", "--delete"),
        lambda: run("--input", old.location, "--repair", "--apply"),
    ):
        with pytest.raises(OldFormatError, match=rf"--input {re.escape(old.location)} --upgrade"):
            change()
    held = Lease(holder="a", host="node-7", pid=3, since=0.0, expires=time.time() + 60)
    old.store.put("lease/refine.json", held.to_json())
    with pytest.raises(ValueError, match=r"process 3 on node-7.* is at work"):
        run("--input", old.location, "--upgrade")
    old.store.delete("lease/refine.json")
    files = {entry.name for entry in old.store.walk()} - {"dataset.json"}
    assert "upgraded from format 1 to 2" in run("--input", old.location, "--upgrade")
    assert "nothing to do" in run("--input", old.location, "--upgrade")
    new = Dataset.open(old.location)
    assert new.card == child.card
    assert files <= {entry.name for entry in new.store.walk()}, "nothing was renamed"
    publish(new, "r1", releases.REPORT_ID)
    assert planted.verified(new, dataset) == []
    planted.DAMAGE["a truncated tar"][0](new.store, 1)
    run("--input", new.location, "--repair", "--apply", "--refiner", refiner)
    assert planted.verified(new, dataset) == []
    without = ("reports/", "releases/", "runs/", "children/")
    assert planted.content(new, *without).keys() == expected.keys()


def test_a_release_is_given_up_and_its_tars_are_removed(run, dataset) -> None:
    releases.release(dataset, "first")
    held_back = dataset.store.size(fakes.tar_of(dataset, 1))
    withdraw(dataset, 1, 1, "a test")
    releases.release(dataset, "second", id="20261122-000000-bbbb")
    common = ("--input", dataset.location)
    collect = (*common, "--gc", "--older-than-hours", 0)
    assert "a release names its tar" in run(*collect, "--delete")
    with pytest.raises(ValueError, match="second is the latest release"):
        run(*common, "--expire", "second")
    printed = run(*common, "--expire", "first")
    assert f"{held_back / 1e3:.0f} kB" in printed and "add --delete" in printed
    assert release_names(dataset) == ["first", "second"]
    assert "given up" in run(*common, "--expire", "first", "--delete")
    assert release_names(dataset) == ["second"]
    with pytest.raises(FileNotFoundError, match="'first' was dropped"):
        run("--input", f"{dataset.location}/releases/first")
    assert "removed" in run(*collect, "--delete") and "garbage: none" in run(*collect)
    assert planted.verified(dataset) == []


def test_a_child_out_of_reach_stops_what_could_harm_it(run, dataset, refiner, tmp_path) -> None:
    child = refine(dataset, refiner, tmp_path / "child")
    assert list(registered_children(dataset)) == [child.location]
    refine(dataset, refiner, tmp_path / "child")
    moved = Path(child.location).rename(tmp_path / "moved")
    dataset.store.put("tmp/leftover", b"x")
    common = ("--input", dataset.location, "--gc", "--older-than-hours", 0)
    assert "tmp/leftover" in run(*common), "nothing is changed by looking"
    for options in ((*common, "--delete"), ("--input", dataset.location, "--repair", "--apply")):
        with pytest.raises(UnreachableChildError, match=r"--children; .* --ignore-unreachable"):
            run(*options)
    assert dataset.store.size("tmp/leftover") is not None
    run(*common, "--delete", "--children", moved, "--ignore-unreachable")
    assert dataset.store.size("tmp/leftover") is None


def refine(parent: Dataset, refiner: Path, output: Path) -> Dataset:
    """The refine job in this process."""
    refine_dataset(
        parent, str(output), refined_card(parent, refiner, "refined"), str(refiner),
        engine="torch", batch_size=4, device="cpu", make_shards=fakes.make_shards_here,
    )  # fmt: skip
    return Dataset.open(output)


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
    run, dataset, refiner, tmp_path
) -> None:
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
