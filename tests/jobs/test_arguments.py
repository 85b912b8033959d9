"""Arguments that cannot be meant are refused with a sentence, before anything is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval
from pydantic import BaseModel

from cluster.job.command import parse, run_command
from cluster.job.completion import job_class
from cluster.job.estimators import estimator_job
from factory.domains.eye.options import EyeIngestOptions, eye_source_options
from factory.domains.registry import estimators
from factory.store.open import open_store
from schemas.place import places_in
from support.places import ROOT

COMMANDS = [
    path.stem
    for path in (ROOT / "jobs").glob("*.py")
    if path.stem not in ("__init__", "__main__", "estimator", *estimators())
]
"""the jobs with a class of their own"""


def counts_without_bound(annotation: Any, name: str, *, is_bound: bool = False) -> Iterator[str]:
    """Names of the integers in the type of an option that may be negative."""
    metadata = getattr(annotation, "__metadata__", ())
    is_bound = is_bound or any(isinstance(one, Ge | Gt | Interval) for one in _flat(metadata))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field, info in annotation.model_fields.items():
            yield from counts_without_bound(info.rebuild_annotation(), f"{name}.{field}")
    elif annotation is int:
        yield from () if is_bound else (name,)
    else:
        inner = (annotation.__origin__,) if metadata else get_args(annotation)
        for one in inner:
            yield from counts_without_bound(one, name, is_bound=is_bound)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for one in metadata:
        yield one
        yield from getattr(one, "metadata", ())


@pytest.mark.parametrize("name", [*COMMANDS, *estimators()])
def test_every_count_of_a_job_has_its_bound_in_its_type(name) -> None:
    kind = estimator_job(name) if name in estimators() else job_class(name)
    assert list(counts_without_bound(kind, name)) == []


def test_a_count_without_bound_is_found() -> None:
    class Loose(BaseModel):
        seeds: tuple[int, ...] = ()
        workers: int | None = None

    assert list(counts_without_bound(Loose, "loose")) == ["loose.seeds", "loose.workers"]


@pytest.mark.parametrize("count", ["0", "-1"])
@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("ingest", ["--source", "images", "--input", "x", "--output", "y"]),
        ("simulate", ["--count", "1", "--output", "y"]),
        ("refine", ["--input", "x", "--refiner", "r", "--output", "y"]),
        ("verify", ["--input", "x"]),
    ],
)
def test_no_workers_at_all_are_refused(capsys, name, needed, count) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(job_class(name), [*needed, "--workers", count])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "workers" in shown and "Input should be greater than 0" in shown


GAZES = np.random.default_rng(0).normal(0, 0.15, (500, 2))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"gaze_rad": GAZES * 57.3}, "finite radians within ±π"),
        ({"gaze_rad": np.r_[GAZES, [[np.nan, 0]]]}, "finite radians"),
        ({"gaze_rad": GAZES[:1] + 1.5}, "no render looks where"),
        ({"gaze_rad": np.array([object()])}, "Object arrays cannot be loaded"),
        ({"gaze_rad": np.c_[GAZES, GAZES[:, :1]]}, r"\(500, 3\), expected \(n, 2\)"),
    ],
    ids=["degrees", "NaN", "elsewhere", "pickled", "3 columns"],
)
def test_a_target_of_gazes_that_cannot_be_used_is_named(
    six_inputs: Path, tmp_path: Path, content, reason
) -> None:
    path = tmp_path / "target.npz"
    np.savez(path, allow_pickle=True, **content)
    given = EyeIngestOptions(target_gaze=path)
    with pytest.raises(ValueError, match=rf"--target-gaze .*npz cannot be used: .*{reason}"):
        eye_source_options("unityeyes", given, location=str(six_inputs), recorded=None)


PLACES = {
    *("input", "output", "synthetic", "real", "refiner", "parent", "kept", "source_input"),
    *("children", "witnesses", "label_network", "contact_sheet", "export", "places"),
}
"""names of options that are places, in whichever job they occur"""


@pytest.mark.parametrize("name", [*COMMANDS, *estimators()])
def test_every_place_of_a_job_is_marked_as_one(name) -> None:
    kind = estimator_job(name) if name in estimators() else job_class(name)
    named = PLACES & kind.model_fields.keys() - ({"refiner"} if name == "train" else set())
    given: dict[str, Any] = dict.fromkeys(named, "x")
    several = (("children", ("x",)), ("witnesses", {"gaze": "x"}), ("places", ("x",)))
    for field, value in several:
        given |= {field: value} if field in given else {}
    job = kind.model_construct(**given)
    assert {field for field, _ in places_in(job)} == given.keys()


@pytest.fixture
def in_a_package_of_ray(tmp_path, monkeypatch) -> Path:
    """The folder in which a submitted job runs."""
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("option", ["--input", "--output"])
def test_a_relative_place_is_refused_in_the_copy_that_ray_removes(
    in_a_package_of_ray, capsys, option
) -> None:
    given = {"--source": "images", "--input": "/data/in", "--output": "s3://bucket/out"}
    arguments = [part for pair in (given | {option: "SYNTH"}).items() for part in pair]
    with pytest.raises(SystemExit) as caught:
        run_command(job_class("ingest"), lambda job: pytest.fail("it began"), arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert f"{option}: SYNTH is relative to {in_a_package_of_ray}" in message
    assert "give an absolute path" in message


def test_nothing_opens_a_store_there(in_a_package_of_ray, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="removes later"):
        open_store("SYNTH")
    open_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert open_store("SYNTH").location == str(tmp_path / "SYNTH")
