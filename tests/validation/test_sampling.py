"""The three datasets of a validation, and what is refused before any work."""

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.measures import EyeWitnesses
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.validation.pairs import NotComparableError, open_trio, parent_images
from factory.validation.protocols import Trio
from factory.validation.sampling import check_enough, sample_images, sample_pairs
from factory.validation.shard_measures import ShardMeasurer
from support import fakes


def test_only_a_refined_dataset_is_validated(synthetic):
    with pytest.raises(NotComparableError, match="not a refined one"):
        open_trio(synthetic.location, synthetic.location)


def test_too_few_images_are_said_before_the_work(synthetic):
    trio = Trio(synthetic, synthetic, synthetic)
    with pytest.raises(ValueError, match="24 images to validate with, at least 40"):
        check_enough(trio, synthetic.committed(), None)


def test_images_of_another_split_are_no_substitute_for_those_of_the_asked_one(synthetic):
    trio = Trio(synthetic, synthetic, synthetic)
    with pytest.raises(ValueError, match="has no split test, only train"):
        check_enough(trio, synthetic.committed(), "test")
    with pytest.raises(ValueError, match="has no split test, only train"):
        sample_images(synthetic, "test", 5, 0)
    assert len(sample_images(synthetic, None, 100, 0)) == 24
    assert len(sample_images(synthetic, "train", 100, 0)) == 24


@pytest.fixture(scope="module")
def parents(tmp_path_factory) -> tuple[Dataset, Dataset]:
    """Two datasets of six inputs, the first without the sample of the second input."""
    folder = tmp_path_factory.mktemp("parents")
    for number in range(1, 7):
        fakes.write_pair(folder / "all", str(number), seed=number)
        image = b"no picture" if number == 2 else None
        fakes.write_pair(folder / "some", str(number), image=image, seed=number)
    some, every = (
        fakes.ingest_here(folder / name, folder / f"{name}-eyes", UnityEyesOptions(), shard_size=3)
        for name in ("some", "all")
    )
    assert [len(some.index(0)), len(every.index(0))] == [2, 3]
    return some, every


@pytest.mark.slow
def test_pairs_are_of_one_key_whatever_else_the_parent_holds(parents):
    some, every = parents
    for seed in range(5):
        pairs = sample_pairs(Trio(some, every, every), [0, 1], 5, seed)
        keys = pairs.index["key"].to_pylist()
        assert len(keys) == 5
        assert np.array_equal(pairs.refined, [some.image(key) for key in keys])
        assert np.array_equal(pairs.synthetic, [every.image(key) for key in keys])


def test_a_refined_image_without_a_parent_is_refused(parents):
    some, every = parents
    with pytest.raises(NotComparableError, match="has no image 000000-000001"):
        sample_pairs(Trio(every, some, every), [0, 1], 6, 0)
    measurer = EyeWitnesses(finder=PupilFinder()).measurer()
    with pytest.raises(NotComparableError, match="has no image 000000-000001"):
        ShardMeasurer(every, some, measurer)(0)


def test_parent_images_come_in_the_order_of_the_keys(synthetic):
    keys = ["000003-000001", "000000-000004", "000003-000000"]
    expected = [synthetic.image(key) for key in keys]
    assert np.array_equal(parent_images(synthetic, keys), expected)
    assert parent_images(synthetic, []).shape == (0, 35, 55)


def test_one_image_is_read_by_its_key(synthetic):
    for shard in (0, 3):
        keys = synthetic.index(shard)["key"].to_pylist()
        for row, image in enumerate(synthetic.images(shard)):
            assert np.array_equal(Dataset.open(synthetic.location).image(keys[row]), image)
    with pytest.raises(KeyError, match="000000-009999"):
        synthetic.image("000000-009999")
