"""A comparison of content as a user runs it, on drawn eyes whose lids are open as was chosen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.domains.base import MissingHookError
from factory.domains.eye.quantities import lid_opening
from factory.domains.eye.renderer.renderer import render_scenes, write_renders
from factory.domains.eye.renderer.scene import sample_scenes
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import GazeFilter
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.hand.domain import HandDomain
from factory.evaluation import degradation
from factory.evaluation.content import run
from factory.evaluation.content.config import ContentConfig
from factory.evaluation.content.run import compare_content
from schemas.content import ContentReport
from support import fakes
from support.job_runs import run_job


class Eyes(NamedTuple):
    renders: Path
    """folder of renders with lids of all openings"""
    synthetic: Dataset
    camera: Dataset
    """eyes in the look of a camera, half open; their labels are the truth that a real set lacks"""


def drawn(folder: Path, num: int, look: Any, openness: tuple[float, float]) -> Path:
    scenes = sample_scenes(range(num), 7, "render")
    shares = np.random.default_rng(num).uniform(*openness, num)
    write_renders(
        folder, render_scenes(replace(scenes, openness=shares), look, height=100, width=134)
    )
    return folder


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> Eyes:
    root = tmp_path_factory.mktemp("content")
    renders = drawn(root / "renders", 120, "render", (0.4, 1.05))
    half_open = drawn(root / "half-open", 60, "camera", (0.4, 0.6))
    sets = (
        fakes.ingest_here(folder, root / f"{folder.name}-set", UnityEyesOptions(), shard_size=500)
        for folder in (renders, half_open)
    )
    return Eyes(renders, *sets)


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Fits that take less time, and are good enough for eyes of one renderer."""
    monkeypatch.setattr(degradation, "_FITTED_ON", 30)
    monkeypatch.setattr(degradation, "_EVALUATIONS", 30)


@pytest.mark.slow
def test_the_printed_option_keeps_the_renders_that_are_open_as_the_cameras_eyes_are(
    eyes, tmp_path
) -> None:
    given = ("--synthetic", eyes.synthetic.location, "--real", eyes.camera.location)
    printed = run_job("content", *given, "--output", tmp_path / "out", on_ray=False)
    raw = (tmp_path / "out" / "content.json").read_bytes()
    report = ContentReport.from_json(raw, where="content.json")
    assert report.to_json() == raw
    assert (report.num_renders, report.num_real, report.equalised) == (120, 60, False)
    opening = report.labels[0]
    assert opening.name == "opening" and opening.correlation is not None
    assert opening.correlation > 0.8 and opening.recommended is not None
    low, high = opening.recommended
    truth = lid_opening(load_index(eyes.camera))
    assert low <= np.quantile(truth, 0.05) and np.quantile(truth, 0.95) <= high
    assert high < np.quantile(lid_opening(load_index(eyes.synthetic)), 0.95)
    assert f"with --keep-opening {low:g} {high:g}, which keeps" in printed
    options = UnityEyesOptions(keep=GazeFilter(opening=opening.recommended))
    kept = fakes.ingest_here(eyes.renders, tmp_path / "kept", options, shard_size=500)
    assert kept.facts(0).num_samples == round((opening.share_kept or 0) * 120)
    assert b"<svg" in (tmp_path / "out" / "figures" / "content.svg").read_bytes()
    (log,) = (tmp_path / "out" / "runs").glob("*/log.txt")
    assert "opening (eye widths)" in log.read_text()


@pytest.mark.slow
def test_the_same_command_writes_the_same_files_of_no_more_images_than_were_asked_for(
    eyes, tmp_path
) -> None:
    outputs = [tmp_path / "first", tmp_path / "again"]
    for output in outputs:
        compare(eyes.synthetic.location, eyes.camera.location, output, max_images=50)
    for name in ("content.json", "figures/content.svg"):
        first, again = ((output / name).read_bytes() for output in outputs)
        assert first == again
    report = json.loads((outputs[0] / "content.json").read_text())
    assert (report["num_renders"], report["num_real"]) == (50, 50)


def test_the_opening_is_that_of_the_sources_filter(synthetic, renders, tmp_path) -> None:
    """To the sample: a filter at the median of the labels keeps half of the renders."""
    openings = lid_opening(load_index(synthetic))
    middle = float(np.median(openings))  # of an even number: between two of them
    options = UnityEyesOptions(keep=GazeFilter(opening=(0.0, middle)))
    kept = fakes.ingest_here(renders, tmp_path / "kept", options, shard_size=500)
    assert kept.facts(0).num_samples == 12
    assert lid_opening(load_index(kept)).max() < middle


def with_image(**changed: int) -> Callable[[Path], None]:
    """Changes what the card of a dataset says of its images."""

    def change(dataset: Path) -> None:
        card = json.loads((dataset / "dataset.json").read_text())
        card["image"] |= changed
        (dataset / "dataset.json").write_text(json.dumps(card))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_image(channels=3), "grey images of 8 bits; .* has 3 channels and 8 bits"),
        (with_image(bits=16), "grey images of 8 bits; .* has 1 channels and 16 bits"),
        (with_image(height=36), r"one size: .* has \(35, 55\) px .* \(36, 55\)"),
    ],
)
def test_images_of_another_layout_are_refused(
    synthetic, single_reals, tmp_path, change, reason
) -> None:
    copytree(single_reals.location, tmp_path / "real")
    change(tmp_path / "real")
    with pytest.raises(ValueError, match=reason):
        compare(synthetic.location, tmp_path / "real", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def compare(synthetic: object, real: object, output: Path, **other: Any) -> ContentReport:
    return compare_content(
        ContentConfig(synthetic=str(synthetic), real=str(real), output=str(output), **other)
    )


def test_sets_that_cannot_be_compared_are_refused(
    synthetic, single_reals, renders, tmp_path, monkeypatch
) -> None:
    empty = fakes.plan_here(renders, tmp_path / "empty", PicturesOptions())
    for one, other, reason in (
        (synthetic, empty, "empty holds no images yet"),
        (empty, single_reals, "empty has no labels"),
        (synthetic, single_reals, "has 24 images to compare, at least 50 needed"),
    ):
        with pytest.raises(ValueError, match=reason):
            compare(one.location, other.location, tmp_path / "out")
    with pytest.raises(ValueError, match="has no split test, only train"):
        compare(synthetic.location, single_reals.location, tmp_path / "out", split="test")
    monkeypatch.setattr(run, "domain_of", lambda dataset: HandDomain())
    with pytest.raises(MissingHookError, match="the domain hand brings no content"):
        compare(synthetic.location, single_reals.location, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_equalised_images_are_not_compared_with_others(eyes, tmp_path, monkeypatch) -> None:
    options = UnityEyesOptions(crop=EyeCrop(equalise=True))
    equalised = fakes.ingest_here(eyes.renders, tmp_path / "equalised", options, shard_size=500)
    with pytest.raises(ValueError, match="of the renders are equalised, those of the real images"):
        compare(equalised.location, eyes.camera.location, tmp_path / "out")
    with pytest.raises(ValueError, match="of the real images are equalised, those of the renders"):
        compare(eyes.synthetic.location, equalised.location, tmp_path / "out")

    class FittedError(Exception):
        pass

    def fit(*images: Any, equalise: bool, seed: int) -> degradation.Degradation:
        raise FittedError(equalise)

    monkeypatch.setattr(run, "fit", fit)
    for one, expected in ((equalised, "True"), (eyes.synthetic, "False")):
        with pytest.raises(FittedError, match=expected):
            compare(one.location, one.location, tmp_path / "out")
