"""Points and boxes in COCO's frame."""

import json

import numpy as np
import pytest

from factory.export.coco import CocoFiles
from factory.export.shards import WrittenSample, WrittenShard
from schemas.dataset import ImageSpec
from schemas.labels import KeypointLayout, Outline

LAYOUT = KeypointLayout("thing", ("a", "b", "c", "d"), ((0, 1),), lambda record: record["outline"])
IMAGE = ImageSpec(height=10, width=20)


def written(key: str, outline: Outline | None) -> WrittenSample:
    return WrittenSample(key, b"picture", {"outline": outline}, 0, 512, 1536, 2, 2560)


def test_a_point_is_seen_in_the_picture_unless_it_is_hidden_or_not_known(tmp_path) -> None:
    points = np.array([[0.0, 9.0], [19.6, 3.0], [5.0, 5.0], [np.nan, np.nan]])
    hidden = np.array([False, False, True, False])
    with CocoFiles(tmp_path, LAYOUT, IMAGE, "things") as files:
        files.begin(WrittenShard(0, "train-000000.tar", "train"))
        files.add(written("000000-000000", Outline(points, hidden, (0.0, 1.0, 4.0, 9.0))))
        files.add(written("000000-000001", None))
        files.add(written("000000-000002", Outline(points, hidden, None)))
        files.end()
    content = json.loads((tmp_path / "coco" / "train.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    first, last = content["annotations"]
    assert (first["image_id"], last["image_id"]) == (1, 3)
    assert first["keypoints"] == [0.0, 9.0, 2, 19.6, 3.0, 1, 5.0, 5.0, 1, 0.0, 0.0, 0]
    assert first["num_keypoints"] == 3
    # The corner of a picture is at 0 in a box, and at -0.5 in a label.
    assert first["bbox"] == [0.5, 1.5, 4.0, 8.0] and first["area"] == 32.0
    assert last["bbox"] == pytest.approx([0.5, 3.5, 19.6, 6.0])
    assert content["categories"][0]["skeleton"] == [[1, 2]]
    assert sorted(path.name for path in (tmp_path / "coco").iterdir()) == ["train.json"]
