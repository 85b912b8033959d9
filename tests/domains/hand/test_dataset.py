"""Hands through the whole factory: ingested, described, shown, refined, released and read."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.registry import domain_named, make_source
from factory.images.contact_sheet import contact_sheet
from factory.images.png import decode_png
from factory.ingestion.shards import ShardIngester
from factory.networks.refiner import Refiner
from factory.upkeep.contact_sheet import pick_tiles
from factory.upkeep.describe import describe
from factory.upkeep.description_text import text_of
from factory.upkeep.verify import ShardVerifier
from schemas.dataset import ImageSpec
from schemas.hand.sample import EVALUATED_JOINTS
from schemas.refiner import RefinerConfig
from support import fakes, hands, releases
from support.hand_pairs import save_hand_refiner

OPTIONS = NyuOptions()


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Two frames of three cameras, as renders and as camera frames. Read only."""
    folder = tmp_path_factory.mktemp("frames")
    hands.write_frames(folder, prefixes={"synthdepth": 0, "depth": 760})
    return folder


@pytest.fixture(scope="module")
def synthetic(frames, tmp_path_factory) -> Dataset:
    """The renders: shards 0 and 1 of 4 and 2 samples. Read only."""
    return fakes.ingest_here(frames, tmp_path_factory.mktemp("out") / "s", OPTIONS, shard_size=4)


@pytest.fixture(scope="module")
def refined(synthetic, tmp_path_factory) -> Dataset:
    """Those through a small refiner that visibly changes them. Read only."""
    folder = tmp_path_factory.mktemp("refined")
    refiner = Refiner(RefinerConfig(maps=4, blocks=1), seed=1)
    refiner.initialise_as_identity(slope=0.9)
    save_hand_refiner(folder / "refiner", refiner)
    return fakes.refine_here(synthetic, folder / "refiner", folder / "refined")


def whole(dataset: Dataset, parent: Dataset | None = None) -> bool:
    """Whether a check of every byte finds nothing."""
    verify = ShardVerifier(dataset, parent)
    return not [problem for shard in dataset.committed() for problem in verify(shard).problems]


# --- ingested -------------------------------------------------------------------------------------


def test_renders_become_labelled_16_bit_samples(synthetic) -> None:
    card = synthetic.card
    assert (card.domain, card.kind, card.labelled) == ("hand", "synthetic", True)
    assert card.image == ImageSpec(height=224, width=224, bits=16)
    images = load_images(synthetic)
    assert images.shape == (6, 224, 224) and images.dtype == np.uint16
    assert whole(synthetic)
    row, record = synthetic.index(0).to_pylist()[0], orjson.loads(next(synthetic.samples(0)).json)
    assert record["identity"] == row["identity"] == "frame-0000001"
    assert row["camera"] == {n: np.float32(v) for n, v in record["camera"].items()}
    for name in ("z_near_mm", "cube_mm", "joints_uvd", "joints_xyz_mm", "joints14_uvd"):
        assert np.array_equal(np.float32(row[name]), np.float32(record[name])), name
    for number in record["camera"].values():
        assert number == float(str(np.float32(number))), "the shortest form that round-trips"
    uvd = np.array(record["joints_uvd"])
    columns, rows, depth = np.round(uvd).astype(int).T
    assert np.array_equal(images[0][rows, columns], depth)
    assert record["joints14_uvd"] == [record["joints_uvd"][joint] for joint in EVALUATED_JOINTS]


@pytest.mark.slow
def test_camera_frames_say_where_their_cube_is_without_joints(frames, tmp_path) -> None:
    dataset = fakes.ingest_here(frames, tmp_path / "real", NyuOptions(kind="real"))
    assert dataset.card.kind == "real" and not dataset.card.labelled
    assert whole(dataset)
    record = orjson.loads(next(dataset.samples(0)).json)
    assert set(record) == {
        "schema", "key", "source", "identity", "split", "z_near_mm", "cube_mm", "camera",
        "crop_affine", "extra", "made",
    }  # fmt: skip
    names = load_index(dataset).column_names
    assert {"z_near_mm", "cube_mm", "camera"} < set(names) and "joints_uvd" not in names


def test_the_options_decide_the_card(frames, tmp_path) -> None:
    options = NyuOptions(kind="real", labelled=True, size_px=64, cube_mm=250, cameras=(2,))
    dataset = fakes.ingest_here(frames, tmp_path / "real", options)
    assert dataset.card.labelled and dataset.card.image == ImageSpec(height=64, width=64, bits=16)
    assert load_images(dataset).shape == (2, 64, 64) and whole(dataset)
    assert set(load_index(dataset)["cube_mm"].to_pylist()) == {250}


@pytest.mark.slow
def test_the_views_of_a_frame_share_a_split(tmp_path) -> None:
    hands.write_frames(tmp_path / "in", 12)
    options, splits = NyuOptions(size_px=32), {"train": 0.5, "test": 0.5}
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "out", options, splits=splits)
    rows = load_index(dataset, ["identity", "split"]).to_pylist()
    assert len(rows) == 36 and {row["split"] for row in rows} == {"train", "test"}
    assert len({tuple(row.values()) for row in rows}) == 12


@pytest.mark.slow
def test_a_rewritten_joint_file_is_looked_at_and_only_changed_rows_become_new_samples(
    tmp_path,
) -> None:
    folder = tmp_path / "in"
    uvd = hands.write_frames(folder)
    dataset = fakes.ingest_here(folder, tmp_path / "out", OPTIONS)
    assert dataset.planned() == [0, 1]

    hands.write_joints(folder, np.concatenate([uvd, uvd], axis=1))  # more frames, same rows
    again = fakes.ingest_here(folder, tmp_path / "out", OPTIONS)
    assert again.planned() == [0, 1], "unchanged rows are no new samples"

    uvd[1, 0, 5] += (1, 1, 3)
    hands.write_joints(folder, uvd)
    again = fakes.ingest_here(folder, tmp_path / "out", OPTIONS)
    assert again.planned() == [0, 1, 2]
    (row,) = again.index(2).to_pylist()
    assert row["source_id"] == "synthdepth_2_0000001" and row["supersedes"] is not None
    assert len(load_index(again)) == 6 and whole(again)


@pytest.mark.slow
def test_a_rewritten_render_makes_a_new_sample_of_the_camera_frame_that_it_masks(tmp_path) -> None:
    folder, options = tmp_path / "in", NyuOptions(kind="real")
    uvd = hands.write_frames(folder, prefixes={"synthdepth": 0, "depth": 760})
    fakes.ingest_here(folder, tmp_path / "out", options)
    path = folder / "synthdepth_3_0000002.png"
    path.write_bytes(hands.packed(hands.depth_picture(uvd[2, 1], dot_px=4)))
    os.utime(path, ns=(2 << 60, 2 << 60))
    dataset = fakes.ingest_here(folder, tmp_path / "out", options)
    (row,) = dataset.index(2).to_pylist()
    assert row["source_id"] == "depth_3_0000002" and row["supersedes"] is not None


@pytest.mark.slow
def test_frames_whose_joints_come_later_become_samples_then(tmp_path) -> None:
    folder = tmp_path / "in"
    hands.write_frames(folder)
    joints = (folder / hands.JOINT_DATA).read_bytes()
    (folder / hands.JOINT_DATA).unlink()
    dataset = fakes.ingest_here(folder, tmp_path / "out", OPTIONS)
    assert len(load_index(dataset)) == 0
    (folder / hands.JOINT_DATA).write_bytes(joints)
    dataset = fakes.ingest_here(folder, tmp_path / "out", OPTIONS)
    rows = load_index(dataset, ["source_id", "supersedes"])
    assert len(rows) == 6 and rows["supersedes"].null_count == 6


@pytest.mark.slow
def test_a_run_that_is_resumed_makes_the_same_shards(frames, synthetic, tmp_path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(frames, folder)
    dataset = fakes.plan_here(folder, tmp_path / "out", OPTIONS, shard_size=4)
    ShardIngester(dataset, make_source(folder, OPTIONS))(1)
    shutil.copy(folder / "synthdepth_1_0000001.png", folder / "synthdepth_1_0000003.png")
    resumed = fakes.ingest_here(folder, tmp_path / "out", OPTIONS, shard_size=4)
    assert resumed.committed() == [0, 1, 2]
    expected = fakes.committed_shards(synthetic)
    shards = fakes.committed_shards(resumed)
    assert {name: shards[name] for name in expected} == expected
    (reject,) = resumed.rejects(2).to_pylist()
    assert reject["reason"] == "joint_data.mat: frame 3 is none of its frames 1..2"


@pytest.mark.slow
def test_an_archive_that_did_not_change_is_not_opened_again(frames, tmp_path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "a.tar", "w") as tar:
        for path in sorted(frames.iterdir()):
            tar.add(path, f"test/{path.name}")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert len(load_index(dataset)) == 6 and whole(dataset)
    opened = []
    monkeypatch.setattr(
        "factory.sources.files.open_archive", lambda *archive: opened.append(archive)
    )
    again = fakes.ingest_here(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert again.planned() == dataset.planned() and not opened


# --- described and shown --------------------------------------------------------------------------


def test_a_description_has_the_range_of_every_label(synthetic) -> None:
    described = describe(synthetic)
    spreads = {spread.column: spread for spread in described.labels}
    rows = load_index(synthetic)
    for axis, name in enumerate(("x", "y", "z")):
        values = np.array(rows["joints_xyz_mm"].to_pylist())[..., axis]
        spread = spreads[f"joints_xyz_mm.{name}"]
        assert spread.num == values.size == 6 * 36 and spread.numbers is not None
        assert (spread.numbers.min, spread.numbers.max) == (values.min(), values.max())
    for name in ("fx_px", "fy_px", "cx_px", "cy_px"):
        values = [camera[name] for camera in rows["camera"].to_pylist()]
        numbers = spreads[f"camera.{name}"].numbers
        assert numbers is not None and (numbers.min, numbers.max) == (min(values), max(values))
    assert spreads["z_near_mm"].num == 6
    text = text_of(described)
    assert "224×224 (h×w) grey, 16 bits" in text and "camera.fx_px" in text


@pytest.mark.slow
def test_a_contact_sheet_shows_depth_nearer_as_brighter(synthetic, refined) -> None:
    tiles = pick_tiles(refined, synthetic, 4, seed=0)
    assert all(len(tile.pictures) == 2 and tile.gaze_rad is None for tile in tiles)
    page = decode_png(contact_sheet(tiles, "hands", "depth"))
    above = tiles[0].pictures[0]
    shown = page[58 : 58 + 224, 10 : 10 + 224, 0]
    is_hand = above > 0
    assert (shown[~is_hand] == 0).all() and (shown[is_hand] >= 55).all()
    near, far = above == above[is_hand].min(), above == above.max()
    assert shown[near].min() > shown[far].max()


# --- refined, released and read -------------------------------------------------------------------


def test_refining_keeps_labels_and_16_bits(synthetic, refined) -> None:
    assert whole(refined, synthetic)
    before, after = load_index(synthetic), load_index(refined)
    for name in ("key", "joints_uvd", "joints14_xyz_mm", "camera", "z_near_mm", "cube_mm"):
        assert before[name].equals(after[name]), name
    images = load_images(refined)
    assert images.dtype == np.uint16 and images.shape == (6, 224, 224) and images.max() <= 301
    assert not np.array_equal(images, load_images(synthetic))


@pytest.fixture(scope="module")
def released(refined) -> Dataset:
    releases.release(refined)
    return refined


def read_plainly(dataset: Dataset) -> dict[str, tuple[dict, np.ndarray]]:
    """Every sample by key, with tarfile, json and PIL."""
    samples = {}
    for path in releases.urls_of(dataset):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name in files:
            key, _, field = name.partition(".")
            if field == "json":
                image = np.asarray(Image.open(io.BytesIO(files[f"{key}.png"])))
                samples[key] = json.loads(files[name]), image
    return samples


def check_same(dataset: Dataset, samples: dict[str, tuple[dict, np.ndarray]]) -> None:
    images = load_images(dataset)
    assert list(samples) == load_index(dataset)["key"].to_pylist()
    for image, (record, read) in zip(images, samples.values(), strict=True):
        assert read.dtype.kind in "ui" and read.dtype.itemsize >= 2 and np.array_equal(read, image)
        assert np.array(record["joints_uvd"]).shape == (36, 3)
        assert record["camera"]["fx_px"] > 0 and record["refined"]


def test_a_plain_reader_gets_every_millimetre(released) -> None:
    check_same(released, read_plainly(released))


def test_webdataset_reads_16_bits_with_a_decoder_that_keeps_them(released) -> None:
    import webdataset

    decoder = webdataset.handle_extension("png", lambda raw: Image.open(io.BytesIO(raw)))
    stream = webdataset.WebDataset(releases.urls_of(released), shardshuffle=False).decode(decoder)
    samples = {row["__key__"]: (row["json"], np.asarray(row["png"])) for row in stream}
    check_same(released, samples)


@pytest.mark.slow
def test_hugging_face_datasets_reads_16_bits(released, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = {"train": releases.urls_of(released)}
    stream = datasets.load_dataset(
        "webdataset", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path)
    )
    check_same(released, {row["__key__"]: (row["json"], np.asarray(row["png"])) for row in stream})


def test_the_index_of_a_release_holds_the_labels(released) -> None:
    import pyarrow.parquet as pq

    path = Path(released.location) / "releases" / "r1" / "index" / "000000.parquet"
    table = pq.read_table(path, columns=["key", "joints_xyz_mm", "camera"])
    assert len(table) == 6 and pa.types.is_struct(table.schema.field("camera").type)


# --- the jobs -------------------------------------------------------------------------------------


def test_hands_have_shards_of_their_own_size() -> None:
    assert (
        domain_named("hand").sample_kind.shard_size == 1024
        and domain_named("eye").sample_kind.shard_size == 16384
    )
