"""A release read sample by sample and epoch by epoch, from folders."""

import itertools
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.hand.sources.nyu import NyuOptions
from factory.reading.order import Mix
from factory.reading.release import Release
from factory.release.pins import expire
from factory.release.publish import publish
from schemas.base import FormatError
from support import fakes, hands, releases
from support.filtered import FAILED, REPORT_ID, kept_here
from support.reading import check_same, keys, place_of, plain


@pytest.fixture(scope="module")
def release(released) -> Release:
    return Release(place_of(released))


def test_it_is_a_sequence_of_what_an_outside_reader_finds(released, release) -> None:
    expected = plain(released)
    assert len(release) == len(expected) == 24
    check_same([release[i] for i in range(24)], expected)
    check_same(list(release), expected)
    check_same(release[5:9], dict(list(expected.items())[5:9]))
    assert release[-1].key == list(expected)[-1]
    assert keys(release.take([7, 3, 7])) == [list(expected)[i] for i in (7, 3, 7)]
    for outside in (24, -25):
        with pytest.raises(IndexError, match=r"no sample -?\d+: 24 are read"):
            release[outside]


def test_one_sample_is_one_read_of_its_bytes(released, monkeypatch) -> None:
    release = Release(place_of(released))
    asked = []
    read = type(release.tars).read

    def noting(tars, shard, offset, length):
        asked.append((shard, length))
        return read(tars, shard, offset, length)

    monkeypatch.setattr(type(release.tars), "read", noting)
    row = released.index(1).to_pylist()[2]
    assert release[7].key == row["key"]
    assert asked == [(1, row["json_offset"] + row["json_length"] - row["png_offset"])]


def test_labels_are_what_the_image_shows(release) -> None:
    sample = release[0]
    assert set(sample.labels) < set(sample.record)
    assert {"gaze", "pupil_px", "iris_px"} <= set(sample.labels)
    assert not {"key", "split", "source", "schema", "made", "extra"} & set(sample.labels)


def test_an_epoch_has_every_sample_once_in_an_order_of_its_seed(released, release) -> None:
    expected = plain(released)
    first = list(release.epoch())
    check_same(sorted(first, key=lambda sample: sample.key), expected)
    assert keys(first) == keys(release.epoch()) != list(expected)
    for other in (release.epoch(1), release.epoch(seed=1)):
        read = keys(other)
        assert read != keys(first) and sorted(read) == list(expected)
    assert keys(release.epoch(shuffle=False)) == list(expected)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (1, 3), (5, 1), (5, 2), (30, 1), (2, 13)])
def test_ranks_and_workers_share_an_epoch(release, ranks, workers) -> None:
    def read(ends):
        return [
            keys(release.epoch(rank=rank, num_ranks=ranks, worker=worker, num_workers=workers,
                               batch_size=2, ends=ends))
            for rank in range(ranks) for worker in range(workers)
        ]  # fmt: skip

    once = [key for of in read("uneven") for key in of]
    assert sorted(once) == keys(release)
    padded = [key for of in read("pad") for key in of]
    assert set(padded) == set(once) and len(padded) == -(-24 // ranks) * ranks
    dropped = [key for of in read("drop") for key in of]
    assert len(dropped) == len(set(dropped)) == 24 // ranks * ranks


def test_windows_change_the_order_and_nothing_else(released) -> None:
    narrow = Release(place_of(released), mix=Mix(num_samples=5))
    read = keys(narrow.epoch())
    assert sorted(read) == keys(narrow)
    shards = [key.split("-")[0] for key in read]
    assert sum(a != b for a, b in itertools.pairwise(shards)) == 4


def test_it_can_be_sent_to_another_process(release) -> None:
    release[3]
    queue = multiprocessing.SimpleQueue()
    queue.put(release)
    received = queue.get()
    assert keys(received.epoch()) == keys(release.epoch())


@pytest.mark.slow
def test_a_split_is_read_alone(renders, tmp_path) -> None:
    dataset = fakes.ingest_here(
        renders, tmp_path / "eyes", UnityEyesOptions(), shard_size=3,
        splits={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    manifest = releases.release(dataset)
    assert set(manifest.splits) == {"train", "test"}
    parts = {split: Release(place_of(dataset), split=split) for split in manifest.splits}
    assert {split: len(part) for split, part in parts.items()} == manifest.splits
    for split, part in parts.items():
        assert {sample.record["split"] for sample in part.epoch()} == {split}
        assert keys(part) == keys(part[i] for i in range(len(part)))
    with pytest.raises(ValueError, match="no split val, only test, train"):
        Release(place_of(dataset), split="val")


@pytest.mark.slow
def test_hands_keep_their_16_bits(tmp_path, monkeypatch) -> None:
    deep = hands.joints_uvd(step_mm=8)
    monkeypatch.setattr(hands, "all_joints", lambda num: np.tile(deep, (3, num, 1, 1)))
    hands.write_frames(tmp_path / "in")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "hands", NyuOptions(), shard_size=4)
    releases.release(dataset)
    release = Release(place_of(dataset))
    check_same(list(release), plain(dataset))
    sample = release[0]
    assert sample.image.dtype == np.uint16 and sample.image.shape == (224, 224)
    assert sample.image.max() > 255
    columns, rows, depth = np.round(sample.labels["joints_uvd"]).astype(int).T
    assert np.array_equal(sample.image[rows, columns], depth)


@pytest.fixture
def rewritten(tmp_path) -> Dataset:
    """Four eyes in shards 0 and 1, the first of each superseded by those of shard 2."""
    for stem in "1234":
        fakes.write_pair(tmp_path / "in", stem, seed=int(stem))
    options = UnityEyesOptions()
    fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", options, shard_size=2)
    for stem in "13":
        fakes.write_pair(tmp_path / "in", stem, seed=10 + int(stem))
    return fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", options, shard_size=2)


def test_of_an_input_the_newest_sample_alone_is_read(rewritten) -> None:
    """Its older ones are in tars that the release has written anew for itself."""
    manifest = releases.release(rewritten)
    assert [s.rewritten_from is not None for s in manifest.shards] == [True, True, False]
    release = Release(place_of(rewritten))
    check_same(list(release), plain(rewritten))
    assert sorted(s.record["source"]["id"] for s in release.epoch()) == ["1", "2", "3", "4"]
    check_same([release[i] for i in range(4)], plain(rewritten))


def test_a_filtered_dataset_is_read_as_any_other(refined, tmp_path) -> None:
    kept = kept_here(refined, tmp_path / "kept")
    publish(kept, "r1", REPORT_ID)
    release = Release(place_of(kept))
    check_same(list(release), plain(kept))
    assert len(release) == 24 - len(FAILED) and not set(FAILED) & set(keys(release.epoch()))


def test_an_index_in_several_parts_is_read_as_one(spoilt, monkeypatch) -> None:
    expected = plain(spoilt)
    monkeypatch.setattr("factory.release.content.MAX_PART_BYTES", spoilt.index(0).nbytes * 2.5)
    manifest = releases.release(spoilt, "r2")
    assert len(manifest.index_parts) == 3
    release = Release(place_of(spoilt, "r2"))
    check_same([release[i] for i in range(24)], expected)
    assert sorted(keys(release.epoch())) == list(expected)


def test_a_place_that_is_no_release_is_refused_with_what_there_is(spoilt, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"not the place of a release.*there are r1"):
        Release(spoilt.location)
    with pytest.raises(FileNotFoundError, match="releases/r2 is not a release"):
        Release(place_of(spoilt, "r2"))
    with pytest.raises(ValueError, match="not the place of a release"):
        Release(tmp_path)
    with pytest.raises(ValueError, match="damaged is raise or skip"):
        Release(place_of(spoilt), damaged="ignore")
    expire(spoilt, "r1", "for a test")
    with pytest.raises(FileNotFoundError, match="was dropped: for a test"):
        Release(place_of(spoilt))


@pytest.mark.parametrize("form", [Path, str, "{}/".format, "{}/manifest.json".format])
def test_a_place_has_several_spellings(released, form) -> None:
    assert len(Release(form(place_of(released)))) == 24


def test_a_manifest_leads_to_no_file_outside_of_its_dataset(spoilt) -> None:
    path = Path(place_of(spoilt), "manifest.json")
    text = path.read_text()
    path.write_text(text.replace("../../shards/000000", "../../../shards/000000"))
    with pytest.raises(FormatError, match="no place of a released shard"):
        Release(place_of(spoilt))


def test_nothing_is_written_where_a_release_is_read(released, release) -> None:
    folder = Path(released.location)
    before = sorted(folder.rglob("*"))
    list(Release(place_of(released)).epoch())
    assert sorted(folder.rglob("*")) == before
