"""The jobs that look after a dataset as a user runs them: what they print, write and exit with."""

import importlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.job.command import parse
from cluster.job.completion import job_class
from factory.dataset.children import UnreachableChildError, registered_children
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset, OldFormatError
from factory.dataset.names import index_name
from factory.images.png import decode_png
from factory.refinement.run import refine
from factory.release.publish import publish
from factory.release.state import release_names
from factory.upkeep.run import means_of
from factory.upkeep.verify import NotWholeError
from jobs.repair import RepairJob
from schemas.lease import Lease
from support import fakes, planted, releases
from support.job_runs import work_here


@pytest.fixture
def run(capsys, monkeypatch) -> Callable[..., str]:
    """Run a job in this process; gives what it printed, also where it raised as expected."""
    work_here(monkeypatch)

    def run(name: str, *options: object, problems: str | None = None) -> str:
        main = importlib.import_module(f"jobs.{name}").main
        job = parse(job_class(name), [str(option) for option in options])
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
    printed = run(
        "describe", "--input", dataset.location, "--contact-sheet", tmp_path / "sheet.png"
    )
    assert "24" in printed and "gaze_yaw_rad" in printed
    assert decode_png((tmp_path / "sheet.png").read_bytes()).shape[2] == 3
    assert json.loads(run("gc", "--input", dataset.location, "--json")) == {"strays": []}
    assert planted.content(dataset, "nothing") == before


def test_a_release_is_described_and_broken_ones_are_named(run, dataset) -> None:
    releases.release(dataset)
    dataset.store.delete(fakes.tar_of(dataset, 0))
    location = f"{dataset.location}/releases/r1"
    assert "BROKEN" in run("describe", "--input", location)
    answer = json.loads(run("describe", "--input", location, "--json"))
    assert answer["release"]["num_samples"] == 24 and len(answer["release"]["broken"]) == 1
    assert "BROKEN" in run("verify", "--input", location, problems="2 problems")
    for name in ("gc", "repair", "expire", "upgrade"):
        options = ("--releases", "r1") if name == "expire" else ()
        with pytest.raises(ValueError, match="give its dataset"):
            run(name, "--input", location, *options)
    with pytest.raises(ValueError, match="give its dataset"):
        run("describe", "--input", location, "--contact-sheet", "sheet.png")


def test_garbage_is_removed_when_that_is_asked_for(run, dataset) -> None:
    dataset.store.delete(index_name(1))
    dataset.store.put("tmp/leftover", b"x")
    common = ("gc", "--input", dataset.location, "--older-than-hours", 0)
    assert "add --delete" in run(*common) and dataset.committed() == [0, 2, 3, 4]
    assert "removed" in run(*common, "--delete")
    assert dataset.committed() == [0, 2, 3, 4] and "garbage: none" in run(*common)


@pytest.mark.slow
def test_an_old_dataset_is_read_and_changed_only_after_its_upgrade(
    run, dataset, refiner, tmp_path
) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    releases.put_report(child)
    expected, number = planted.content(child, "reports/"), child.card.digest()
    old = planted.as_format_1(child)
    assert old.card.format_version == 1 and old.card.digest() == number
    assert fakes.committed_shards(old).keys() == fakes.committed_shards(child).keys()
    assert planted.verified(old, dataset) == [] and "24" in run("describe", "--input", old.location)
    assert "garbage: none" in run("gc", "--input", old.location)
    for change in (
        lambda: fakes.refine_here(dataset, refiner, Path(old.location)),
        lambda: publish(old, "r1", releases.REPORT_ID),
        lambda: run("gc", "--input", old.location, "--delete"),
        lambda: run("repair", "--input", old.location, "--apply"),
    ):
        with pytest.raises(
            OldFormatError, match=rf"jobs/upgrade.py --input {re.escape(old.location)}$"
        ):
            change()
    held = Lease(holder="a", host="node-7", pid=3, since=0.0, expires=time.time() + 60)
    old.store.put("lease/refine.json", held.to_json())
    with pytest.raises(ValueError, match=r"process 3 on node-7.* is at work"):
        run("upgrade", "--input", old.location)
    old.store.delete("lease/refine.json")
    files = {entry.name for entry in old.store.walk()} - {"dataset.json"}
    assert "upgraded from format 1 to 2" in run("upgrade", "--input", old.location)
    assert "nothing to do" in run("upgrade", "--input", old.location)
    new = Dataset.open(old.location)
    assert new.card == child.card
    assert files <= {entry.name for entry in new.store.walk()}, "nothing was renamed"
    publish(new, "r1", releases.REPORT_ID)
    assert planted.verified(new, dataset) == []
    planted.DAMAGE["a truncated tar"][0](new.store, 1)
    run("repair", "--input", new.location, "--apply", "--refiner", refiner)
    assert planted.verified(new, dataset) == []
    without = ("reports/", "releases/", "runs/", "children/")
    assert planted.content(new, *without).keys() == expected.keys()


def test_a_release_is_given_up_and_its_tars_are_removed(run, dataset) -> None:
    releases.release(dataset, "first")
    held_back = dataset.store.size(fakes.tar_of(dataset, 1))
    withdraw(dataset, 1, 1, "a test")
    releases.release(dataset, "second", id="20261122-000000-bbbb")
    collect = ("gc", "--input", dataset.location, "--older-than-hours", 0)
    expire = ("expire", "--input", dataset.location, "--releases")
    assert "a release names its tar" in run(*collect, "--delete")
    with pytest.raises(ValueError, match="second: it is the latest release"):
        run(*expire, "second")
    printed = run(*expire, "first")
    assert f"{held_back / 1e3:.0f} kB" in printed and "add --delete" in printed
    assert release_names(dataset) == ["first", "second"]
    assert "given up" in run(*expire, "first", "--delete")
    assert release_names(dataset) == ["second"]
    with pytest.raises(FileNotFoundError, match="'first' was dropped"):
        run("describe", "--input", f"{dataset.location}/releases/first")
    assert "removed" in run(*collect, "--delete") and "garbage: none" in run(*collect)
    assert planted.verified(dataset) == []


def test_a_child_out_of_reach_stops_what_could_harm_it(run, dataset, refiner, tmp_path) -> None:
    child = refine(dataset, refiner=refiner, output=str(tmp_path / "child"), engine="torch")
    assert list(registered_children(dataset)) == [child.location]
    refine(dataset, refiner=refiner, output=child.location, engine="torch")
    moved = Path(child.location).rename(tmp_path / "moved")
    dataset.store.put("tmp/leftover", b"x")
    common = ("gc", "--input", dataset.location, "--older-than-hours", 0)
    assert "tmp/leftover" in run(*common), "nothing is changed by looking"
    for options in ((*common, "--delete"), ("repair", "--input", dataset.location, "--apply")):
        with pytest.raises(UnreachableChildError, match=r"--children; .* --ignore-unreachable"):
            run(*options)
    assert dataset.store.size("tmp/leftover") is not None
    run(*common, "--delete", "--children", moved, "--ignore-unreachable")
    assert dataset.store.size("tmp/leftover") is None


@pytest.mark.parametrize(
    ("name", "options"),
    [("gc", ("--older-than-hours", -1)), ("gc", ("--apply",)), ("verify", ("--delete",)),
     ("repair", ("--shards", -1)), ("expire", ()), ("expire", ("--releases",))],
)  # fmt: skip
def test_options_of_another_command_are_refused(run, tmp_path, name, options) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(name, "--input", tmp_path, *options)
    assert exit_.value.code == 2


@pytest.mark.parametrize("name", ["verify", "gc", "repair", "expire", "upgrade"])
def test_what_describe_did_once_is_refused_by_the_name_of_the_command(name, run, capsys) -> None:
    """With every option that the command has, before or after the one that named it."""
    for option in (name, *job_class(name).model_fields.keys() - job_class("describe").model_fields):
        if option == "releases":  # was the value of --expire
            continue
        with pytest.raises(SystemExit) as exit_:
            run("describe", "--input", "x", f"--{option.replace('_', '-')}")
        said = capsys.readouterr().err
        assert exit_.value.code == 2 and f"python jobs/{name}.py" in said, option


@pytest.mark.parametrize(
    ("option", "why"), [("--refiner", "was not refined"), ("--source-input", "was refined")]
)
def test_means_of_the_other_kind_of_dataset_are_refused(
    dataset, refiner, tmp_path, option, why
) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    of = dataset if option == "--refiner" else child
    job = parse(RepairJob, ["--input", of.location, option, str(refiner)])
    with pytest.raises(ValueError, match=why):
        means_of(job, of, dataset)


def test_a_dataset_in_a_folder_called_releases_is_one(run, dataset, tmp_path) -> None:
    location = planted.copied(dataset, tmp_path / "releases" / "eyes").location
    assert "24" in run("describe", "--input", location)
    assert "garbage: none" in run("gc", "--input", location)


@pytest.mark.slow
def test_a_check_says_what_it_read_and_what_is_still_wrong_after_a_repair(
    run, dataset, refiner, tmp_path
) -> None:
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    assert "nothing is wrong with 2 of 5 shards\n" in run(
        "verify", "--input", child.location, "--shards", 0, 3
    )
    releases.release(child)
    for shard in (0, 1):
        planted.DAMAGE["a bit flipped in an image"][0](child.store, shard)
    planted.DAMAGE["a bit flipped in an image"][0](dataset.store, 0)  # so the child's has to wait
    mend = ("repair", "--input", child.location, "--apply", "--refiner", refiner)
    printed = run(*mend, problems="2 problems")
    assert "1 shards made again: 1" in printed and "shard 0 is damaged" in printed
    shutil.rmtree(dataset.location)
    printed = run("verify", "--input", child.location, problems="2 problems")
    assert "in 5 of 5 shards, not compared with their parent, which is out of reach" in printed
