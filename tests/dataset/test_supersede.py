"""A release of inputs that were rewritten: each is in it once, whoever reads it and how."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.dataset.tar import sha256
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.release.publish import publish
from factory.release.state import broken_releases
from factory.upkeep.garbage import stray_objects
from support import fakes, planted, releases

REPORT_ID = "20261121-000000-aaaa"


def release_files(dataset: Dataset) -> dict[str, bytes]:
    return fakes.files_below(Path(dataset.location), "releases")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Dataset, Dataset]:
    """Inputs 1..6 in shards of 2, of which 2 and 5 were rewritten, and 2 once more; and the same
    refined. Read only."""
    folder = tmp_path_factory.mktemp("rewritten")
    for number in range(1, 7):
        fakes.write_pair(folder / "in", str(number), seed=number)
    options = UnityEyesOptions()
    for changes in ({}, {2: 50, 5: 51}, {2: 52}):
        for number, seed in changes.items():
            fakes.write_pair(folder / "in", str(number), seed=seed)
        parent = fakes.ingest_here(folder / "in", folder / "p", options, shard_size=2)
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    refined = fakes.refine_here(parent, refiner, folder / "refined")
    assert refined.index(3)["source_id"].to_pylist() == ["2", "5"]
    assert refined.index(4)["supersedes"].to_pylist() == ["000003-000000"]
    return parent, refined


@pytest.fixture
def rewritten(made, tmp_path) -> Dataset:
    """A copy of the refined one, which a test may release."""
    return planted.copied(made[1], tmp_path / "refined")


def samples_in(paths: list[str]) -> dict[str, dict]:
    """Every json member of some tars by key, as a plain reader finds it."""
    records: dict[str, dict] = {}
    for path in paths:
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    assert name not in records
                    records[name.removesuffix(".json")] = json.loads(tar.extractfile(name).read())
    return records


@pytest.mark.slow
def test_a_release_holds_a_rewritten_input_once_by_its_newest_sample(rewritten) -> None:
    manifest = releases.release(rewritten)
    records = samples_in(releases.urls_of(rewritten))
    assert Counter(record["source"]["id"] for record in records.values()) == Counter("123456")
    assert {"000004-000000", "000003-000001"} < set(records)
    assert manifest.num_samples == 6 and manifest.splits == {"train": 6}
    assert [(shard.shard, shard.num_samples, shard.rewritten_from is not None)
            for shard in manifest.shards] == [
        (0, 1, True), (1, 2, False), (2, 1, True), (3, 1, True), (4, 1, False),
    ]  # fmt: skip


def test_the_index_of_a_release_tells_where_its_own_tars_hold_each_sample(rewritten) -> None:
    manifest = releases.release(rewritten)
    folder = Path(rewritten.location) / "releases" / "r1"
    rows = pq.read_table(folder / "index" / "000000.parquet").to_pylist()
    urls = {shard.shard: folder / shard.url for shard in manifest.shards}
    records = samples_in(releases.urls_of(rewritten))
    assert {row["key"] for row in rows} == set(records)
    for row in rows:
        raw = urls[row["shard"]].read_bytes()
        png = raw[row["png_offset"] : row["png_offset"] + row["png_length"]]
        label = raw[row["json_offset"] : row["json_offset"] + row["json_length"]]
        assert sha256(png) == row["png_sha256"]
        assert json.loads(label) == records[row["key"]]
    for shard in manifest.shards:
        raw = urls[shard.shard].read_bytes()
        assert (sha256(raw), len(raw)) == (shard.sha256, shard.size)


def test_what_a_report_does_not_name_supersedes_nothing_in_its_release(rewritten) -> None:
    report = releases.report_on(rewritten)
    manifest = releases.release(rewritten, shards=report.shards[:3])
    assert manifest.num_samples == 6 and not any(s.rewritten_from for s in manifest.shards)
    without_middle = (*report.shards[:3], report.shards[4])
    manifest = releases.release(rewritten, "r2", shards=without_middle, id="20261122-000000-bbbb")
    records = samples_in(releases.urls_of(rewritten, "r2"))
    assert sorted(record["source"]["id"] for record in records.values()) == list("123456")
    assert "000004-000000" in records and "000000-000001" not in records


def test_publishing_rewritten_shards_again_changes_nothing(rewritten) -> None:
    first = releases.release(rewritten)
    before = release_files(rewritten)
    assert "releases/r1/shards/000000.tar" in before
    assert publish(rewritten, "r1", REPORT_ID) == first
    assert release_files(rewritten) == before


def test_loads_hold_a_rewritten_input_once(made) -> None:
    for dataset in made:
        rows = load_index(dataset, ["key", "png_sha256"])
        assert rows["key"].to_pylist() == [
            "000000-000000", "000001-000000", "000001-000001", "000002-000001", "000003-000001",
            "000004-000000",
        ]  # fmt: skip
        assert rows.column_names == ["key", "png_sha256"]
        expected = [dataset.image(key) for key in rows["key"].to_pylist()]
        assert np.array_equal(load_images(dataset), np.stack(expected))
        assert load_index(dataset, ["key"], [0, 3])["key"].to_pylist() == [
            "000000-000000", "000003-000000", "000003-000001",
        ]  # fmt: skip
        assert len(load_images(dataset, [0, 1, 2])) == 6


def test_a_release_with_tars_of_its_own_is_known_broken_when_they_are(rewritten) -> None:
    releases.release(rewritten)
    assert broken_releases(rewritten) == []
    assert list(stray_objects(rewritten)) == []
    path = Path(rewritten.location) / "releases" / "r1" / "shards" / "000000.tar"
    raw = path.read_bytes()
    path.write_bytes(raw[:-512])
    (state,) = broken_releases(rewritten)
    assert state.broken == (f"shard 0 has {len(raw) - 512} bytes, released {len(raw)}",)
    path.unlink()
    (state,) = broken_releases(rewritten)
    assert state.broken == ("shard 0 has lost its tar",)
