"""A released dataset, read with the tools that people use and nothing of ours."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from factory.dataset.dataset import Dataset
from support import fakes, reading, releases


@pytest.fixture(scope="module")
def released(synthetic, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("released")
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    dataset = fakes.refine_here(synthetic, refiner, folder / "refined")
    releases.release(dataset)
    return dataset


@pytest.fixture(scope="module")
def plain(released) -> reading.Plain:
    """Every sample by key, read with tarfile, json and PIL."""
    return reading.plain(released)


def check_same(samples: reading.Plain, plain: reading.Plain) -> None:
    assert samples.keys() == plain.keys() and len(plain) == 24
    for key, (record, image) in samples.items():
        assert record == plain[key][0], key
        assert image.dtype == np.uint8 and np.array_equal(image, plain[key][1]), key


def test_a_plain_tar_reader_finds_every_sample_of_the_index(released, plain) -> None:
    keys = [k for shard in released.committed() for k in released.index(shard)["key"].to_pylist()]
    assert list(plain) == keys
    assert all(record["key"] == key for key, (record, _) in plain.items())
    assert {image.shape for _, image in plain.values()} == {(35, 55)}


def test_webdataset_streams_it_from_the_manifest(released, plain) -> None:
    import webdataset

    urls = releases.urls_of(released)
    stream = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple(
        "__key__", "json", "png"
    )  # fmt: skip
    samples = {key: (record, np.asarray(image.convert("L"))) for key, record, image in stream}
    check_same(samples, plain)


@pytest.mark.slow
def test_hugging_face_datasets_streams_it(released, plain, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = {"train": releases.urls_of(released)}
    stream = datasets.load_dataset(
        "webdataset", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path)
    )
    samples = {row["__key__"]: (row["json"], np.asarray(row["png"])) for row in stream}
    assert samples.keys() == plain.keys()
    for key, (record, image) in samples.items():
        assert np.array_equal(image, plain[key][1])
        for name in ("key", "split", "iris_px", "pupil_px", "gaze", "made", "refined", "source"):
            assert record[name] == plain[key][0][name], name


@pytest.mark.ray
def test_ray_data_reads_it(shared_ray, released, plain) -> None:
    import ray.data

    def decode_safely(sample: dict) -> dict:
        """Nothing is unpickled, whatever its name. Inside the test, so that workers get it."""
        image = np.asarray(Image.open(io.BytesIO(sample["png"])))
        return {"key": sample["__key__"], "json": sample["json"].decode(), "image": image}

    rows = ray.data.read_webdataset(releases.urls_of(released), decoder=decode_safely).take_all()
    samples = {row["key"]: (json.loads(row["json"]), row["image"]) for row in rows}
    check_same(samples, plain)


def test_members_need_no_unpickling(released) -> None:
    for path in releases.urls_of(released):
        with tarfile.open(path) as tar:
            assert {name.split(".", 1)[1] for name in tar.getnames()} == {"png", "json"}
