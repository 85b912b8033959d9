"""Points and boxes of an export in the format of COCO, one file for each split.

Points are the labels as they are: their pixel centres are at integers, as in COCO's keypoints. In
the boxes of COCO the corner of a picture is at 0, so they lie half a pixel further. `v` is 0 for a
point that is not known, 1 for one outside the picture or hidden as far as labels tell, else 2.
"""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from factory.export.shards import WrittenSample, WrittenShard
from schemas.dataset import ImageSpec
from schemas.labels import KeypointLayout, Outline

FOLDER = "coco"
CATEGORY = 1
HALF_PX = 0.5


class CocoFiles(AbstractContextManager["CocoFiles"]):
    """Writes `coco/<split>.json` while samples are written, as a `Sink`. Nothing is in memory."""

    def __init__(self, folder: Path, layout: KeypointLayout, image: ImageSpec, description: str):
        """
        Args:
            folder: the export.
            layout: the points of its kind of sample.
            image: layout of all images.
            description: of the data set, for the files.
        """
        self._folder, self._layout, self._image = folder / FOLDER, layout, image
        self._description = description
        self._folder.mkdir()
        self._files: dict[str, _SplitFile] = {}
        self._shard: WrittenShard | None = None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for file in self._files.values():
            file.close(is_whole=kind is None)

    def begin(self, shard: WrittenShard) -> None:
        self._shard = shard
        if shard.split not in self._files:
            head = {
                "info": {"description": self._description},
                "licenses": [],
                "categories": [self._category()],
            }
            self._files[shard.split] = _SplitFile(self._folder / f"{shard.split}.json", head)

    def add(self, sample: WrittenSample) -> None:
        assert self._shard is not None
        image = {
            "file_name": f"{sample.key}.png",
            "width": self._image.width,
            "height": self._image.height,
            "tar": self._shard.tar,
            "offset": sample.png_offset,
            "length": len(sample.png),
        }
        outline = self._layout.outline(sample.record)
        annotation = None if outline is None else self._annotation(outline)
        self._files[self._shard.split].add(image, annotation)

    def end(self) -> None:
        """Nothing is left to do for a tar."""

    def _category(self) -> dict[str, Any]:
        return {
            "id": CATEGORY,
            "name": self._layout.category,
            "supercategory": self._layout.category,
            "keypoints": list(self._layout.names),
            "skeleton": [[a + 1, b + 1] for a, b in self._layout.skeleton],
        }

    def _annotation(self, outline: Outline) -> dict[str, Any]:
        xy = outline.points_xy
        is_known = np.asarray(np.isfinite(xy).all(axis=1))
        farthest = np.array([self._image.width, self._image.height]) - HALF_PX
        is_in = ((xy >= -HALF_PX) & (xy < farthest)).all(axis=1)
        v = np.where(is_in & ~outline.hidden, 2, 1) * is_known
        keypoints: list[float] = []
        for (x, y), seen in zip(np.nan_to_num(xy).tolist(), v.tolist(), strict=True):
            keypoints += (x, y, seen)
        box = outline.box_xyxy
        if box is None:
            (left, top), (right, bottom) = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
            box = (float(left), float(top), float(right), float(bottom))
        left, top, right, bottom = box
        return {
            "category_id": CATEGORY,
            "bbox": [left + HALF_PX, top + HALF_PX, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "num_keypoints": int(is_known.sum()),
            "keypoints": keypoints,
        }


class _SplitFile:
    """One JSON file, whose annotations wait in a file beside it until all images are written."""

    def __init__(self, path: Path, head: dict[str, Any]):
        self._path = path
        self._waiting = path.with_suffix(".annotations")
        self._images: BinaryIO = path.open("xb")
        self._annotations: BinaryIO = self._waiting.open("x+b")
        self._num_images = self._num_annotations = 0
        self._images.write(orjson.dumps(head)[:-1] + b',"images":[')

    def add(self, image: dict[str, Any], annotation: dict[str, Any] | None) -> None:
        self._images.write(b",\n" if self._num_images else b"\n")
        self._num_images += 1
        self._images.write(orjson.dumps({"id": self._num_images, **image}))
        if annotation is not None:
            self._annotations.write(b",\n" if self._num_annotations else b"\n")
            self._num_annotations += 1
            numbers = {"id": self._num_annotations, "image_id": self._num_images}
            self._annotations.write(orjson.dumps(numbers | annotation))

    def close(self, *, is_whole: bool) -> None:
        with self._images, self._annotations:
            if is_whole:
                self._images.write(b'\n],"annotations":[')
                self._annotations.seek(0)
                shutil.copyfileobj(self._annotations, self._images)
                self._images.write(b"\n]}\n")
                self._images.flush()
                os.fsync(self._images.fileno())
        self._waiting.unlink()
