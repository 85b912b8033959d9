"""A run whose labels do not belong to its pictures fails before it makes anything."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.domain import EYE_DOMAIN
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import GazeFilter
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.ingestion.label_check import LOOKED_AT, MisplacedLabelsError, check_labels
from factory.ingestion.opening import card_of
from factory.ingestion.run import ingest_new_inputs
from factory.sources.base import Loaded
from support import fakes

pytestmark = pytest.mark.slow

NUM = 40
Picture = np.ndarray


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_renders(folder, EyeRenderer(height=240, width=320, seed=3).render(range(NUM)))
    return folder


def changed(good: Path, folder: Path, change: Callable[[Picture], Picture], num: int = NUM) -> Path:
    """The same labels beside changed pictures."""
    folder.mkdir(parents=True)
    for label in sorted(good.glob("*.json"))[:num]:
        shutil.copy(label, folder)
        picture = cv2.imread(str(label.with_suffix(".jpg")), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / f"{label.stem}.jpg"), change(picture))
    return folder


def smaller(picture: Picture) -> Picture:
    return cv2.resize(picture, (0, 0), fx=0.8, fy=0.8)


def ingest(folder: Path, output: Path, options: UnityEyesOptions | None = None, **more) -> Dataset:
    source = UnityEyesSource(folder, options or UnityEyesOptions())
    card = card_of(source, str(output), shard_size=16, splits={"train": 1})
    made = fakes.make_shards_here
    ingest_new_inputs(source, str(output), card, max_reject_share=1, make_shards=made, **more)
    return Dataset.open(output)


@pytest.mark.parametrize(
    "change",
    [smaller, lambda picture: picture[::-1], lambda picture: np.roll(picture, 25, axis=1)],
    ids=["smaller", "upside down", "shifted"],
)
def test_labels_beside_changed_pictures_are_refused(good, tmp_path, change) -> None:
    bad = changed(good, tmp_path / "in", change)
    with pytest.raises(MisplacedLabelsError, match=r"only in \d+ of 40 .* Nothing was made"):
        ingest(bad, tmp_path / "out")
    assert Dataset.open(tmp_path / "out").committed() == []


def test_after_a_repair_the_same_command_makes_everything(good, tmp_path, caplog) -> None:
    bad = changed(good, tmp_path / "in", smaller)
    with pytest.raises(MisplacedLabelsError):
        ingest(bad, tmp_path / "out")
    asked = ingest(bad, tmp_path / "as they are", allow_misplaced_labels=True)
    assert asked.committed() == [0, 1, 2]
    assert "--allow-misplaced-labels asks" in caplog.text
    shutil.rmtree(bad)
    shutil.copytree(good, bad)
    assert ingest(bad, tmp_path / "out").committed() == [0, 1, 2]


def test_labels_that_belong_pass_and_too_few_are_not_judged(good, tmp_path) -> None:
    assert ingest(good, tmp_path / "good").committed() == [0, 1, 2]
    few = changed(good, tmp_path / "in", smaller, num=29)
    assert ingest(few, tmp_path / "few").committed() == [0, 1]


def test_what_a_filter_leaves_out_does_not_count(good, tmp_path) -> None:
    options = UnityEyesOptions(keep=GazeFilter(gaze_yaw_deg=(-90, 0)))
    bad = changed(good, tmp_path / "in", smaller)
    assert ingest(bad, tmp_path / "out", options).committed() == [0, 1, 2]


def test_samples_are_spread_over_shards_and_inputs(good, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(200):
        for suffix in (".jpg", ".json"):
            shutil.copy(good / f"{1 + number % NUM}{suffix}", folder / f"{number}{suffix}")
    dataset = fakes.plan_here(folder, tmp_path / "out", UnityEyesOptions(), shard_size=20)
    seen: list[Loaded] = []

    def judge(samples) -> None:
        seen.extend(samples)

    source = UnityEyesSource(folder, UnityEyesOptions())
    check_labels(dataset, source, range(10), judge, allow=False)
    assert len(seen) == LOOKED_AT
    check_labels(dataset, source, [], judge, allow=False)


@pytest.mark.parametrize(("size", "belong"), [((800, 600), True), ((640, 480), False)])
def test_genuine_renders_pass_and_not_when_they_were_resized(
    shared_data, tmp_path, size, belong
) -> None:
    stems, small = range(1, 61), shared_data / "unityeyes-small"
    for stem in stems:
        picture = cv2.imread(str(small / f"{stem}.jpg"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / f"{stem}.jpg"), cv2.resize(picture, size))
        shutil.copy(small / f"{stem}.json", tmp_path)
    source = UnityEyesSource(tmp_path, UnityEyesOptions())
    samples = [x for x in source.load_batch(list(map(str, stems))) if isinstance(x, Loaded)]
    assert (EYE_DOMAIN.misplaced_labels(samples) is None) == belong


def test_crops_in_colour_are_judged_like_grey_ones(good, tmp_path) -> None:
    in_colour = UnityEyesOptions(crop=EyeCrop(colour=True))
    assert ingest(good, tmp_path / "good", in_colour).committed() == [0, 1, 2]
    with pytest.raises(MisplacedLabelsError):
        ingest(changed(good, tmp_path / "in", smaller), tmp_path / "out", in_colour)
