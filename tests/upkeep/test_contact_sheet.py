"""A contact sheet shows the pictures that are there, and how they were refined."""

from collections import Counter

import cv2
import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name
from factory.dataset.tar import DamagedShardError
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.images.contact_sheet import TITLE_PX, contact_sheet
from factory.images.png import decode_png
from factory.ingestion.shards import ingested_card
from factory.upkeep.contact_sheet import pick_tiles
from factory.upkeep.describe import describe
from schemas.eye.kind import EYE
from support import fakes, planted

OPTIONS = UnityEyesOptions()


@pytest.fixture
def dataset(synthetic, tmp_path) -> Dataset:
    """A copy that a test may change: 24 samples in shards 0..4."""
    return planted.copied(synthetic, tmp_path / "eyes")


def test_a_choice_is_seeded_and_spread_over_shards(synthetic) -> None:
    tiles = pick_tiles(synthetic, None, 10, seed=3)
    shards = Counter(tile.key.split("-")[0] for tile in tiles)
    assert sorted(shards.values()) == [2, 2, 2, 2, 2]
    keys = [tile.key for tile in tiles]
    assert keys == sorted(set(keys)) == [t.key for t in pick_tiles(synthetic, None, 10, seed=3)]
    assert keys != [tile.key for tile in pick_tiles(synthetic, None, 10, seed=4)]
    assert len(pick_tiles(synthetic, None, 100, seed=0)) == 24, "no more than there are"
    assert len(pick_tiles(synthetic, None, 3, seed=0)) == 3


def test_the_parents_image_stands_above_the_refined_one(child, dataset) -> None:
    for tile in pick_tiles(child, dataset, 5, seed=0):
        above, below = tile.pictures
        assert np.array_equal(above, dataset.image(tile.key))
        assert np.array_equal(below, child.image(tile.key)) and not np.array_equal(above, below)


def test_pictures_are_magnified_by_whole_pixels(synthetic) -> None:
    tiles = pick_tiles(synthetic, None, 4, seed=0)
    page = decode_png(contact_sheet(tiles, "title", "subtitle"))
    first = page[TITLE_PX : TITLE_PX + 105, 10:175]
    assert np.array_equal(first[::3, ::3, 0], tiles[0].pictures[0])
    assert np.array_equal(first[1::3, 2::3, 1], tiles[0].pictures[0])


def test_the_pupil_is_marked_where_the_label_says(synthetic) -> None:
    tiles = pick_tiles(synthetic, None, 4, seed=0)
    plain = decode_png(contact_sheet(tiles, "t", "s")).astype(int)
    marked = decode_png(contact_sheet(tiles, "t", "s", draw_pupil=True)).astype(int)
    changed = np.abs(marked - plain).sum(axis=2)[TITLE_PX : TITLE_PX + 105, 10:175]
    y, x = np.nonzero(changed)
    weights = changed[y, x]
    centre = np.average(x, weights=weights), np.average(y, weights=weights)
    label = (np.array(tiles[0].pupil_xy) + 0.5) * 3 - 0.5
    assert np.abs(label - centre).max() < 1.5


def test_depth_and_colour_are_shown(synthetic) -> None:
    (tile,) = pick_tiles(synthetic, None, 1, seed=0)
    depth = np.zeros((4, 6), np.uint16)
    depth[1, 1], depth[2, 2] = 100, 400
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[1, 1] = (250, 20, 30)
    for picture in (depth, rgb):
        other = type(tile)("k", (picture,), None, None)
        page = decode_png(contact_sheet([other], "t", "s"))
        shown = page[TITLE_PX : TITLE_PX + 4 * 27 : 27, 10 : 10 + 6 * 27 : 27]
        if picture is rgb:
            assert np.array_equal(shown, rgb)
        else:
            assert shown[0, 0, 0] == 0 and shown[1, 1, 0] == 255 and shown[2, 2, 0] == 55


def test_a_damaged_image_is_not_shown(dataset) -> None:
    raw = dataset.store.read(fakes.tar_of(dataset, 0))
    offset = dataset.index(0, ["png_offset"])["png_offset"][0].as_py()
    dataset.store.put(fakes.tar_of(dataset, 0), planted.flipped(raw, offset + 60))
    with pytest.raises(DamagedShardError, match="image of 000000-000000 is damaged"):
        pick_tiles(dataset, None, 24, seed=0)


def test_an_image_whose_parent_is_gone_is_not_shown(child, dataset) -> None:
    dataset.store.delete(index_name(2))
    with pytest.raises(DamagedShardError, match="no longer holds 000002-"):
        pick_tiles(child, dataset, 24, seed=0)
    assert len(pick_tiles(child, None, 24, seed=0)) == 24


def test_nothing_to_show_is_said(tmp_path) -> None:
    card = ingested_card(
        EYE, "empty", make_source("", PicturesOptions()), shard_size=4, splits={"train": 1}
    )
    with pytest.raises(ValueError, match="holds no images yet"):
        pick_tiles(Dataset.enter(tmp_path / "empty", card), None, 5, seed=0)


def test_a_sheet_of_unlabelled_images_is_a_picture(tmp_path) -> None:
    picture = fakes.grey_picture()
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), picture)
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "real", PicturesOptions())
    described = describe(dataset)
    assert [spread.column for spread in described.labels] == ["png_length"]
    (tile,) = pick_tiles(dataset, None, 3, seed=0)
    assert tile.gaze_rad is None and decode_png(contact_sheet([tile], "t", "s")).ndim == 3
