"""An export, read by the tools for which it is made: same keys, labels and pixels for each of them.

What a tar holds is found with tarfile, json and Pillow; tests/export/test_export.py compares that
with the release.
"""

import contextlib
import io
import json
import logging
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pytest
from PIL import Image

from support.exports import NUM_EYES, NUM_HANDS, Plain, float32_of, plain_samples

pytestmark = pytest.mark.slow


def check_image(pixels: Any, sample: Plain) -> None:
    pixels = np.asarray(pixels)
    assert pixels.dtype == sample.image.dtype and np.array_equal(pixels, sample.image)


# --- Hugging Face datasets ------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_loads_the_folder_without_arguments(
    export, plain, tmp_path, monkeypatch, streaming, caplog
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.logging.get_logger(), "propagate", True)
    splits = datasets.load_dataset(str(export), streaming=streaming)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert set(splits) == {sample.split for sample in plain.values()}
    seen = set()
    for split, rows in splits.items():
        assert rows.features["png"] == datasets.Image()
        assert rows.features["json"]["identity"] == datasets.Value("string")
        for row in rows:
            sample = plain[row["__key__"]]
            assert sample.split == split
            check_image(row["png"], sample)
            assert float32_of(row["json"]) == float32_of(sample.labels)
            seen.add(row["__key__"])
    assert seen == plain.keys()


def test_the_types_of_labels_are_given_and_not_guessed(eye_export, plain) -> None:
    """The first five eyes have no identity, so a reader that guesses takes it for nothing."""
    import yaml
    from datasets import Features, List, Value

    header = (eye_export / "README.md").read_text().split("---\n")[1]
    features = Features._from_yaml_list(yaml.safe_load(header)["dataset_info"]["features"])
    assert features["json"]["iris_px"] == List(List(Value("float32"), length=2), length=32)
    assert features["json"]["refined"] == {"refiner": Value("string"), "parent": Value("string")}
    assert features["json"]["extra"] == Value("string")


# --- webdataset and the index ---------------------------------------------------------------------


def test_webdataset_streams_each_split(export, plain) -> None:
    import webdataset

    seen = []
    for split in {sample.split for sample in plain.values()}:
        tars = [str(path) for path in sorted(export.glob(f"{split}-*.tar"))]
        for row in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False):
            check_image(Image.open(io.BytesIO(row["png"])), plain[row["__key__"]])
            assert json.loads(row["json"]) == plain[row["__key__"]].labels
            seen.append(row["__key__"])
    assert sorted(seen) == sorted(plain)


def test_wids_lists_the_tars_of_each_split(export, plain) -> None:
    listed = {}
    for path in export.glob("*.wids.json"):
        index = json.loads(path.read_text())
        assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
        for shard in index["shardlist"]:
            assert (export / shard["url"]).stat().st_size == shard["filesize"]
            listed[shard["url"]] = shard["nsamples"]
    assert listed.keys() == {path.name for path in export.glob("*.tar")}
    assert sum(listed.values()) == len(plain)


def test_the_index_has_the_labels_and_the_places_of_the_members(export, plain) -> None:
    rows = pyarrow.dataset.dataset(export / "index").to_table().to_pylist()
    assert [row["key"] for row in rows] == list(plain)
    for row in rows:
        sample = plain[row["key"]]
        with (export / row["tar"]).open("rb") as tar:
            tar.seek(row["png_offset"])
            check_image(Image.open(io.BytesIO(tar.read(row["png_length"]))), sample)
            tar.seek(row["json_offset"])
            assert json.loads(tar.read(row["json_length"])) == sample.labels
        for name in row.keys() & sample.labels.keys() - {"shard"}:
            assert row[name] == float32_of(sample.labels[name]), name


# --- Croissant ------------------------------------------------------------------------------------


def croissant_records(export: Path) -> Iterator[dict[str, Any]]:
    """The records that mlcroissant loads, by the names of their fields, text as str."""
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=export / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    for record in dataset.records("samples"):
        named = {name.removeprefix("samples/"): value for name, value in record.items()}
        yield {n: v.decode() if isinstance(v, bytes) else v for n, v in named.items()}


@pytest.fixture
def empty_croissant_cache(tmp_path, monkeypatch) -> None:
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "extract"))


def test_mlcroissant_loads_images_and_labels(export, plain, empty_croissant_cache) -> None:
    seen = []
    for record in croissant_records(export):
        sample = plain[record["key"]]
        check_image(record["image"], sample)
        seen.append(record["key"])
        assert record["split"] == sample.split and (export / record["tar"]).is_file()
        for name in record.keys() & sample.labels.keys():
            label = record[name]
            if isinstance(label, dict):
                label = {part.rpartition("/")[2]: value for part, value in label.items()}
            assert float32_of(label) == float32_of(sample.labels[name]), name
    assert sorted(seen) == sorted(plain)


def test_mlcroissant_does_not_mix_two_exports_up(
    eye_export, hand_export, empty_croissant_cache
) -> None:
    """It unpacks tars into one cache by their URLs, and both have a train-000000.tar of the same
    keys."""
    for folder in (eye_export, hand_export):
        plain = plain_samples(sorted(folder.glob("*.tar")))
        for record in croissant_records(folder):
            check_image(record["image"], plain[record["key"]])


# --- Megatron-Energon -----------------------------------------------------------------------------


def run_energon(command: str, *arguments: str) -> str:
    """What a command of energon prints, after it ended well."""
    from click.testing import CliRunner
    from megatron.energon.cli.main import main

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(main, [command, *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_energon_describes_and_lints_it(export, plain) -> None:
    output = run_energon("info", str(export))
    assert f"({len(plain)} samples" in output and "CaptioningSample" in output
    assert "failed" not in run_energon("lint", "--parallel", "0", str(export))


@pytest.fixture
def energon_rows(export) -> Iterator[Any]:
    """Gives the samples of a split as Energon loads them for one epoch."""
    from megatron.energon import WorkerConfig, get_loader, get_val_dataset

    def load(split: str) -> Iterator[Any]:
        dataset = get_val_dataset(
            export,
            split_part=split,
            batch_size=1,
            worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        )
        yield from get_loader(dataset)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield load


def test_energon_gives_every_sample_once(export, plain, energon_rows) -> None:
    seen = []
    for split in {sample.split for sample in plain.values()}:
        for batch in energon_rows(split):
            (key,) = batch.__key__
            sample = plain[key.rpartition("/")[2]]
            assert sample.split == split and json.loads(batch.caption[0]) == sample.labels
            pixels = batch.image[0, 0].numpy()
            assert pixels.dtype == (np.uint8 if sample.image.dtype == np.uint8 else np.int32)
            assert np.array_equal(pixels, sample.image)
            seen.append(key.rpartition("/")[2])
    assert sorted(seen) == sorted(plain)


def test_a_cooker_of_its_user_gets_the_bytes_of_both_members(eye_export) -> None:
    from megatron.energon import (
        Cooker,
        DefaultTaskEncoder,
        ImageSample,
        WorkerConfig,
        basic_sample_keys,
        get_loader,
        get_val_dataset,
        stateless,
    )

    @stateless
    def cook(sample: dict[str, Any]) -> ImageSample:
        assert json.loads(sample["json"])["key"] == sample["__key__"].rpartition("/")[2]
        return ImageSample(**basic_sample_keys(sample), image=sample["png"])

    class Encoder(DefaultTaskEncoder):
        cookers = (Cooker(cook),)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = get_val_dataset(
            eye_export,
            split_part="train",
            batch_size=1,
            dataset_config="crude.yaml",
            task_encoder=Encoder(),
            worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        )
        rows = list(get_loader(dataset))
    plain = plain_samples(sorted(eye_export.glob("train-*.tar")))
    assert len(rows) == len(plain)
    for row in rows:
        sample = plain[row.__key__[0].rpartition("/")[2]]
        check_image(Image.open(io.BytesIO(row.image[0])), sample)


def test_its_files_are_those_that_energon_prepares(export, tmp_path) -> None:
    import yaml

    prepared = tmp_path / "prepared"
    prepared.mkdir()
    for path in export.glob("*.tar"):
        shutil.copy(path, prepared)
    splits = [f"--split-parts={name}:{name}-.*" for name in ("train", "val", "test")]
    run_energon("prepare", "--non-interactive", "--num-workers=1", *splits, str(prepared))
    for path in prepared.glob("*.idx"):
        assert path.read_bytes() == (export / path.name).read_bytes()
    ours, theirs = export / ".nv-meta", prepared / ".nv-meta"
    info = json.loads((theirs / ".info.json").read_text())
    assert json.loads((ours / ".info.json").read_text()) == info
    split = yaml.safe_load((theirs / "split.yaml").read_text())
    assert yaml.safe_load((ours / "split.yaml").read_text()) == split
    assert tables_of(ours) == tables_of(theirs)


def tables_of(meta: Path) -> dict[str, Any]:
    """All rows of its index, the tables without the spaces in their definitions, and their
    indexes."""
    with contextlib.closing(sqlite3.connect(meta / "index.sqlite")) as database:
        names = database.execute("SELECT name, sql FROM sqlite_master").fetchall()
        tables = {name: "".join((sql or "").split()) for name, sql in names}
        rows = {
            name: sorted(database.execute(f"SELECT * FROM {name}"))
            for name in ("samples", "sample_parts")
        }
    return {**tables, **rows}


# --- COCO -----------------------------------------------------------------------------------------


def coco_of(export: Path, split: str) -> Any:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(export / "coco" / f"{split}.json"))


def test_pycocotools_loads_points_boxes_and_images(export, plain) -> None:
    seen = []
    for split in {sample.split for sample in plain.values()}:
        coco = coco_of(export, split)
        (category,) = coco.loadCats(coco.getCatIds())
        for image in coco.loadImgs(coco.getImgIds()):
            key = image["file_name"].removesuffix(".png")
            sample = plain[key]
            seen.append(key)
            assert (image["height"], image["width"]) == sample.image.shape
            with (export / image["tar"]).open("rb") as tar:
                tar.seek(image["offset"])
                check_image(Image.open(io.BytesIO(tar.read(image["length"]))), sample)
            (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            points = np.reshape(annotation["keypoints"], (-1, 3))
            assert len(points) == len(category["keypoints"]) == annotation["num_keypoints"]
            check_points(points, annotation["bbox"], sample.labels)
    assert sorted(seen) == sorted(plain)


def check_points(points: np.ndarray, bbox: list[float], labels: dict[str, Any]) -> None:
    """That points are the labels, and that the box is around those of the object."""
    if "joints_uvd" in labels:
        object_xy = np.array(labels["joints_uvd"])[:, :2]
        expected = object_xy
    else:
        object_xy = np.array(labels["iris_px"])
        parts = ("iris_px", "lid_px", "caruncle_px")
        expected = np.concatenate([[labels["pupil_px"]], *(labels[name] for name in parts)])
    assert np.array_equal(points[:, :2], expected)
    left, top, width, height = bbox
    corners = np.array([[left, top], [left + width, top + height]]) - 0.5
    assert np.allclose(corners, [object_xy.min(axis=0), object_xy.max(axis=0)])


def test_pycocotools_scores_its_own_points_as_perfect(hand_export) -> None:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_of(hand_export, "train")
        answers = [
            {key: annotation[key] for key in ("image_id", "category_id", "keypoints")}
            | {"score": 1.0}
            for annotation in truth.loadAnns(truth.getAnnIds())
        ]
        scored = COCOeval(truth, truth.loadRes(answers), "keypoints")
        scored.params.kpt_oks_sigmas = np.full(36, 0.05)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_there_are_as_many_samples_as_were_released(eye_export, hand_export) -> None:
    """So that no test above is about an empty folder."""
    for folder, count in ((eye_export, NUM_EYES), (hand_export, NUM_HANDS)):
        manifest = json.loads((folder / "export.json").read_text())
        assert manifest["num_samples"] == count
