"""The pictures of the README show what a demo made: renders, the same refined, and stand-ins."""

import runpy

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from support.places import ROOT

script = runpy.run_path(str(ROOT / "benchmarks" / "demo_pictures.py"))
GAP_PX, LABEL_PX = script["GAP_PX"], script["LABEL_PX"]


def test_every_image_has_its_place_and_each_of_its_pixels_is_a_square() -> None:
    rng = np.random.default_rng(0)
    rows = [("a", rng.integers(0, 256, (4, 35, 55), np.uint8)) for _ in range(3)]
    page = np.asarray(script["drawn"](rows))
    scale = script["PICTURE_PX"] // (4 * (55 + GAP_PX))
    assert scale == 5 and page.shape == (
        3 * (35 * scale + GAP_PX) + GAP_PX,
        LABEL_PX + 4 * (55 * scale + GAP_PX),
        3,
    )
    for row, (_, images) in enumerate(rows):
        for column, image in enumerate(images):
            top = GAP_PX + row * (35 * scale + GAP_PX)
            left = LABEL_PX + column * (55 * scale + GAP_PX)
            shown = page[top : top + 35 * scale, left : left + 55 * scale]
            assert np.array_equal(shown[::scale, ::scale, 1], image)
            assert np.array_equal(shown[scale - 1 :: scale, scale - 1 :: scale, 2], image)
    assert (page[:, :LABEL_PX] < 128).any(), "the words"


@pytest.mark.slow
def test_refined_images_stand_below_their_renders(dataset, child, single_reals, tmp_path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    for name, made in (("synthetic", dataset), ("refined", child), ("real", single_reals)):
        (folder / name).symlink_to(made.location)
    rows = dict(script["rows_of"](folder, 4))
    assert list(rows) == list(script["ROWS"]) and {len(images) for images in rows.values()} == {4}
    renders, refined = images_of(dataset), images_of(child)
    for before, after in zip(rows["render"], rows["refined"], strict=True):
        (key,) = [key for key, image in renders.items() if np.array_equal(image, before)]
        assert np.array_equal(refined[key], after)


def images_of(made: Dataset) -> dict[str, np.ndarray]:
    """Every image of a dataset by its key."""
    return {
        key: image
        for shard in made.committed()
        for key, image in zip(
            made.index(shard, ["key"])["key"].to_pylist(), made.images(shard), strict=True
        )
    }
