"""A step of one millimetre goes through the whole chain: source, shards, training's file, the
engine, a release, and an outside reader."""

import io

import numpy as np
import pytest
import webdataset
from PIL import Image

from factory.dataset.loading import load_images, load_index
from factory.domains.hand.sources.nyu import NyuOptions
from schemas.refiner import RefinerConfig
from support import fakes, hands, releases
from support.trainers import small_config, train_here

FIRST_MM = 700


@pytest.mark.slow
def test_a_step_of_one_millimetre_arrives_as_one(tmp_path) -> None:
    uvd = hands.joints_uvd(near_mm=FIRST_MM, step_mm=1)  # 36 discs, each 1 mm behind the last
    folder = tmp_path / "frames"
    hands.write_joints(folder, np.broadcast_to(uvd, (3, 1, 36, 3)))
    for camera in (1, 2, 3):
        picture = hands.packed(hands.depth_picture(uvd))
        (folder / f"synthdepth_{camera}_0000001.png").write_bytes(picture)
    synthetic = fakes.ingest_here(folder, tmp_path / "synthetic", NyuOptions())
    config = small_config(
        refiner=RefinerConfig(maps=16, blocks=2, padding="reflect"),
        refiner_init="exact_identity",
        full_scale=301.0,
        window_px=64,
        refiner_lr=1e-12,
        steps=2,
        strip_every=2,
        empty_below=12.0,
    )
    images = load_images(synthetic, synthetic.committed())
    train_here(config, (images, images), tmp_path / "run", domain="hand")
    refined = fakes.refine_here(synthetic, tmp_path / "run", tmp_path / "refined")
    releases.release(refined)

    urls = releases.urls_of(refined)
    index = load_index(synthetic)
    for record, label in zip(
        webdataset.WebDataset(urls, shardshuffle=False), index.to_pylist(), strict=True
    ):
        image = np.asarray(Image.open(io.BytesIO(record["png"])))
        columns, rows = np.rint(np.array(label["joints_uvd"])[:, :2]).astype(int).T
        seen_mm = image[rows, columns].astype(int) - 1 + label["z_near_mm"]
        assert seen_mm.tolist() == list(range(FIRST_MM, FIRST_MM + 36))
        assert np.array_equal(image == 0, images[index["key"].to_pylist().index(label["key"])] == 0)
