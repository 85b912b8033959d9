"""A release as a pipeline of webdataset."""

import numpy as np
import pytest
import webdataset

from factory.dataset.tar import DamagedShardError
from factory.reading.release import Release
from factory.reading.streaming import pipeline
from support.reading import damage, place_of, plain


def key_of(sample) -> str:
    return sample["__key__"]


def test_it_gives_what_an_outside_reader_finds(released) -> None:
    expected = plain(released)
    samples = list(pipeline(Release(place_of(released)), shuffle=False))
    assert [key_of(sample) for sample in samples] == list(expected)
    for sample in samples:
        record, image = expected[key_of(sample)]
        assert sample["json"] == record and np.array_equal(sample["png"], image)
        assert sample["png"].dtype == image.dtype


def test_each_iteration_has_an_order_of_its_own_that_follows_from_the_seed(released) -> None:
    release = Release(place_of(released))
    stream = pipeline(release, seed=2)
    orders = [[key_of(sample) for sample in stream] for _ in range(2)]
    assert orders[0] != orders[1]
    assert [sorted(order) for order in orders] == [list(plain(released))] * 2
    again = pipeline(release, seed=2)
    assert [key_of(sample) for sample in again] == orders[0]


def test_nodes_and_workers_read_shards_of_their_own(released, monkeypatch) -> None:
    read = []
    for name, value in (("WORLD_SIZE", "2"), ("NUM_WORKERS", "2")):
        monkeypatch.setenv(name, value)
    for rank, worker in ((0, 0), (0, 1), (1, 0), (1, 1)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORKER", str(worker))
        read += [key_of(sample) for sample in pipeline(Release(place_of(released)))]
    assert sorted(read) == list(plain(released))


def test_stages_of_webdataset_go_on_from_it(released) -> None:
    stream = pipeline(Release(place_of(released)), shuffle=False).compose(
        webdataset.map(key_of), webdataset.batched(10, collation_fn=list)
    )
    assert [len(batch) for batch in stream] == [10, 10, 4]


def test_a_damaged_shard_is_named_or_skipped(spoilt) -> None:
    damage(spoilt, 2)
    with pytest.raises(DamagedShardError, match="shard 2 of the release"):
        list(pipeline(Release(place_of(spoilt))))
    release = Release(place_of(spoilt), damaged="skip")
    assert len(list(pipeline(release))) == 19
    assert [(skipped.shard, skipped.num_samples) for skipped in release.skipped] == [(2, 5)]


def test_a_selection_is_refused(released) -> None:
    with pytest.raises(ValueError, match="reads whole tars"):
        pipeline(Release(place_of(released), where="shard = 0"))
