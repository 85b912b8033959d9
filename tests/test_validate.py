"""Validation: the three datasets, empty shards, and what it refuses before any work."""

import fakes
import numpy as np
import planted
import pytest

from factory.dataset import Dataset
from factory.labels.pupil import PupilFinder
from factory.sources.unityeyes import UnityEyesOptions
from factory.validate import (
    NotComparableError,
    ShardValidator,
    Trio,
    check_enough,
    mean_abs_change,
    open_trio,
    samples_name,
)


def test_the_change_of_an_image_is_its_mean_on_minus_one_to_one():
    before = np.zeros((2, 35, 55), np.uint8)
    after = before.copy()
    after[1] = 255
    assert mean_abs_change(before, after).tolist() == [0, 2]
    assert mean_abs_change(before[:0], after[:0]).shape == (0,)


def test_a_shard_without_samples_is_measured_as_one(synthetic, renders, tmp_path):
    options = UnityEyesOptions.model_validate({"keep": {"gaze_yaw_deg": (80, 90)}})
    empty = fakes.ingest_here(renders, tmp_path / "empty", options, shard_size=24)
    assert empty.facts(0).num_samples == 0
    outcome = ShardValidator(Trio(empty, empty, empty), "id", PupilFinder())(0)
    assert outcome.num_samples == 0
    assert empty.store.size(samples_name("id", 0)) is not None


def test_a_shard_is_measured_again_where_a_worker_died_after_it_had_measured_it(
    synthetic, tmp_path
):
    dataset = Dataset.open(planted.copied(synthetic, tmp_path / "eyes").location)
    validator = ShardValidator(Trio(dataset, dataset, dataset), "id", PupilFinder())
    assert validator(0).num_samples == validator(0).num_samples == 5


def test_only_a_refined_dataset_is_validated(synthetic):
    with pytest.raises(NotComparableError, match="not a refined one"):
        open_trio(synthetic.location, synthetic.location)


def test_too_few_images_are_said_before_the_work(synthetic):
    trio = Trio(synthetic, synthetic, synthetic)
    with pytest.raises(ValueError, match="24 images to validate with, at least 40"):
        check_enough(trio, synthetic.committed(), None)


def test_one_image_is_read_by_its_key(synthetic):
    for shard in (0, 3):
        keys = synthetic.index(shard)["key"].to_pylist()
        for place, image in enumerate(synthetic.images(shard)):
            assert np.array_equal(Dataset.open(synthetic.location).image(keys[place]), image)
    with pytest.raises(KeyError, match="000000-009999"):
        synthetic.image("000000-009999")
