"""Filling a folder with renders: resumable, and the same however it is cut into batches."""

from pathlib import Path

import pytest

import factory.ingestion.simulate as simulate_module
from factory.dataset.dataset import CardMismatchError
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.eye.renderer.renderer import EyeRenderer
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.ingestion.simulate import (
    BatchRenderer,
    enter_location,
    missing_batches,
    simulate_task,
)
from schemas.base import FormatError
from support import fakes

RENDERER = EyeRenderer(height=96, width=128, seed=3)
CAMERA = EyeRenderer(style="camera", seed=3)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch) -> None:
    monkeypatch.setattr(simulate_module, "BATCH", 3)


def simulate(
    folder: str | Path, count: int, renderer: EyeRenderer = RENDERER, backwards=False
) -> int:
    location = str(folder)
    enter_location(location, renderer)
    batches, num_missing = missing_batches(location, renderer, count)
    order = batches[::-1] if backwards else batches
    outcomes = collect(run_here(simulate_task(renderer, location, count), order))
    assert sum(outcome.num_samples for outcome in outcomes) == num_missing
    return num_missing


def pictures(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("[0-9]*")}


def test_the_folder_holds_pairs_from_1_on_and_nothing_unfinished(tmp_path) -> None:
    assert simulate(tmp_path, 7) == 7
    names = {f"{n}.{suffix}" for n in range(1, 8) for suffix in ("jpg", "json")}
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {*names, ".simulate.json"}


def test_a_larger_count_adds_the_missing_ones_whatever_the_order(tmp_path) -> None:
    simulate(tmp_path / "whole", 8)
    simulate(tmp_path / "parts", 4)
    first = pictures(tmp_path / "parts")
    assert simulate(tmp_path / "parts", 8, backwards=True) == 4
    assert first.items() < pictures(tmp_path / "parts").items()
    assert pictures(tmp_path / "parts") == pictures(tmp_path / "whole")


def test_a_rerun_renders_nothing(tmp_path) -> None:
    simulate(tmp_path, 4)
    assert simulate(tmp_path, 4) == 0


def test_a_picture_without_its_label_is_made_again(tmp_path) -> None:
    simulate(tmp_path, 4)
    before = pictures(tmp_path)
    (tmp_path / "2.json").unlink()
    assert missing_batches(str(tmp_path), RENDERER, 4) == ([0], 1)
    assert simulate(tmp_path, 4) == 1
    assert pictures(tmp_path) == before


def test_another_renderer_is_refused_with_the_difference(tmp_path) -> None:
    simulate(tmp_path, 1)
    with pytest.raises(CardMismatchError, match="seed: 3 -> 4"):
        simulate(tmp_path, 1, RENDERER.model_copy(update={"seed": 4}))


def test_a_record_that_is_no_record_is_named(tmp_path) -> None:
    (tmp_path / ".simulate.json").write_text("{")
    with pytest.raises(FormatError, match=r"\.simulate\.json"):
        enter_location(str(tmp_path), RENDERER)


def test_pictures_of_somebody_else_are_never_taken_for_ours(tmp_path) -> None:
    fakes.write_pair(tmp_path, "1")
    with pytest.raises(CardMismatchError, match=r"files that were not made here \(1.jpg, 1.json\)"):
        simulate(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"1.jpg", "1.json"}


def test_renders_are_ingested_as_unityeyes(tmp_path) -> None:
    simulate(tmp_path, 3, EyeRenderer(height=120, width=160, seed=3))
    source = UnityEyesSource(tmp_path, UnityEyesOptions())
    assert [facts.id for facts in source.listing()] == ["1", "2", "3"]
    assert source.load("2").labels["pupil_from"] == "source"


def test_camera_pictures_say_that_they_are_a_stand_in(tmp_path) -> None:
    simulate(tmp_path, 2, CAMERA)
    assert set(pictures(tmp_path)) == {"1.jpg", "2.jpg"}
    assert "stand-in" in (tmp_path / "STAND-IN.txt").read_text().lower()


def test_the_last_batch_is_short(tmp_path) -> None:
    task = BatchRenderer(RENDERER, str(tmp_path), 4)
    assert (task(1).num_samples, set(pictures(tmp_path))) == (1, {"4.jpg", "4.json"})


def test_an_object_store_is_filled_as_a_folder_is(any_location) -> None:
    assert simulate(any_location, 4) == 4
    assert simulate(any_location, 5) == 1
    source = UnityEyesSource(any_location, UnityEyesOptions())
    assert [facts.id for facts in source.listing()] == ["1", "2", "3", "4", "5"]
