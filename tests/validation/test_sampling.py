"""Validation: the three datasets, empty shards, and what it refuses before any work."""

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.validation.pairs import NotComparableError, open_trio
from factory.validation.protocols import Trio
from factory.validation.sampling import check_enough


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
