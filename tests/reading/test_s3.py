"""Releases in an object store."""

import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.tar import DamagedShardError
from factory.reading.blend import Blend
from factory.reading.order import Mix
from factory.reading.release import Release
from factory.reading.streaming import pipeline
from factory.store.open import open_store
from factory.store.s3 import S3Store
from support.planted import flipped
from support.reading import check_same, keys, place_of, plain

pytestmark = pytest.mark.s3


@pytest.fixture
def release_url(released, moto_store) -> str:
    """The release of eyes, copied into a bucket."""
    for entry in released.store.walk():
        moto_store.put(entry.name, released.store.read(entry.name))
    return place_of(Dataset(moto_store, released.card))


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int]]:
    """(name, bytes) of the ranges that are read of tars."""
    ranges: list[tuple[str, int]] = []
    read = S3Store.read_range

    def noting(self, name, offset, length):
        if name.endswith(".tar"):
            ranges.append((name, length))
        return read(self, name, offset, length)

    monkeypatch.setattr(S3Store, "read_range", noting)
    return ranges


def test_an_epoch_fetches_each_tar_once(released, release_url, asked, tmp_path) -> None:
    expected = plain(released)
    release = Release(release_url, cache=tmp_path)
    check_same(list(release), expected)
    assert sorted(keys(release.epoch())) == list(expected)
    names = [name for name, _ in asked]
    assert len(names) == len(set(names)) == 5
    again = Release(release_url, cache=tmp_path)
    check_same([again[3]], {list(expected)[3]: expected[list(expected)[3]]})
    assert len(asked) == 5, "the cache is used by single reads too"


def test_one_sample_is_one_ranged_read(released, release_url, asked, tmp_path) -> None:
    release = Release(release_url, cache=tmp_path)
    row = released.index(1).to_pylist()[2]
    assert release[7].key == row["key"]
    assert [length for _, length in asked] == [
        row["json_offset"] + row["json_length"] - row["png_offset"]
    ]
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_too_small_stays_within_its_bound(released, release_url, tmp_path) -> None:
    largest = max(shard.size for shard in Release(release_url, cache=tmp_path).manifest.shards)
    for most in (largest * 2, largest - 1, 0):
        release = Release(release_url, cache=tmp_path / str(most), cache_bytes=most)
        assert sorted(keys(release.epoch())) == list(plain(released))
        assert sum(p.stat().st_size for p in (tmp_path / str(most)).glob("*")) <= most


def test_the_next_window_is_fetched_meanwhile(release_url, asked, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("factory.reading.source.PLACED_AT_ONCE", 2)
    release = Release(release_url, cache=tmp_path, mix=Mix(num_samples=5))
    first = next(release.epoch())
    assert release.tars._ahead is not None
    release.tars._ahead.join(30)
    fetched = {name for name, _ in asked}
    assert any(f"shards/{first.key[:6]}-" in name for name in fetched) and len(fetched) == 2


def test_next_windows_of_a_blend_are_fetched_meanwhile_where_the_cache_has_room(
    release_url, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("factory.reading.source.PLACED_AT_ONCE", 2)
    sizes = [shard.size for shard in Release(release_url, cache=tmp_path).manifest.shards]
    for num_bytes, is_fetched in ((5 * max(sizes), True), (2 * min(sizes) - 2, False)):
        cache = tmp_path / str(num_bytes)
        parts = [
            Release(
                release_url, cache=cache, cache_bytes=num_bytes, mix=Mix(num_samples=5), where=where
            )
            for where in (None, "gaze_yaw_rad < 9")
        ]
        next(Blend(parts, [1, 1]).epoch())
        assert [part.tars._ahead is not None for part in parts] == [is_fetched] * 2
        for part in parts if is_fetched else ():
            part.tars._ahead.join(30)
        assert len(list(cache.glob("*.tar"))) >= 1 + is_fetched


def test_a_damaged_tar_is_named_or_skipped(release_url, tmp_path) -> None:
    location, _, _ = release_url.rpartition("/releases/")
    store = open_store(location)
    name = next(entry.name for entry in store.entries("shards"))
    store.put(name, flipped(store.read(name), 700))
    with pytest.raises(DamagedShardError, match=f"shard 0 of the release {release_url}.*sha256"):
        list(Release(release_url, cache=tmp_path).epoch())
    skipping = Release(release_url, cache=tmp_path, damaged="skip")
    assert len(keys(skipping.epoch())) == 19
    assert [(skipped.shard, skipped.num_samples) for skipped in skipping.skipped] == [(0, 5)]
    store.delete(name)
    with pytest.raises(DamagedShardError, match="is missing"):
        list(Release(release_url, cache=tmp_path).epoch())
    with pytest.raises(DamagedShardError, match="is missing"):
        Release(release_url, cache=tmp_path)[0]


def test_where_and_pipelines_read_it_too(released, release_url, tmp_path) -> None:
    local = Release(place_of(released), where="gaze_yaw_rad > 0")
    assert keys(Release(release_url, where="gaze_yaw_rad > 0", cache=tmp_path)) == keys(local)
    read = [sample["__key__"] for sample in pipeline(Release(release_url, cache=tmp_path))]
    assert sorted(read) == list(plain(released))
