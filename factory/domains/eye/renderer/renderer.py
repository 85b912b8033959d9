"""The built-in eye renderer: renders like those of UnityEyes, without any download.

It has two styles. `render` writes labelled pictures in the UnityEyes folder format (`N.jpg` and
`N.json`), with the true pupil centre in a further field. `camera` writes unlabelled grey eye crops
of other people in other light. These are **stand-ins** for camera images, drawn pictures in the
place of real ones; a text file beside them and the comment of each JPEG say so.

Picture k depends on (seed, k, style, size) only, not on batches or the number of workers.

    sample_scenes -> lids_of, landmarks_of -> shade (one of two looks) -> develop or photograph

The projection is orthographic. Only the upper lid casts a shadow, on the eyeball, and the nose
never hides the eye. `benchmarks/bench_render.py` measures the speed.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from factory.domains.base import Style
from factory.domains.eye.renderer.camera import (
    CROP_HEIGHT,
    CROP_WIDTH,
    OVERSAMPLE,
    STAND_IN,
    develop,
    encode_jpeg,
    photograph,
)
from factory.domains.eye.renderer.label import Label, labels_of
from factory.domains.eye.renderer.look import Look
from factory.domains.eye.renderer.scene import (
    Landmarks,
    Scenes,
    View,
    crop_view,
    landmarks_of,
    lids_of,
    picture_view,
    sample_scenes,
)
from factory.domains.eye.renderer.shade import shade
from factory.sources.renderer import STAND_IN_FILE
from factory.store.open import open_store
from schemas.base import Model

QUALITY = 95
"""of the JPEG files, 0 to 100"""
_PIXELS_AT_ONCE = 320000
"""pictures are shaded in batches of about this many pixels, which fit into the processor's cache"""


@dataclass(frozen=True)
class EyeRender:
    """One picture with its label."""

    index: int
    """its number, counted from 0"""
    image: npt.NDArray[np.uint8]
    """(height, width, 3) RGB; in the style `camera` a (36, 60) grey eye crop"""
    label: Label
    """the content of a UnityEyes JSON file, and `pupil_2d`; see `label.labels_of`"""


class EyeRenderer(Model):
    """The renderer and its configuration.

    In the style `render`, the gaze is within 35 degrees (yaw) and 25 degrees (pitch) of the face,
    head yaw within 20 and head pitch within 12 degrees, and the gaze at most 48 degrees off the
    camera. In the style `camera`, gaze yaw is within 20 degrees and gaze pitch from -20 to +5
    degrees, and pictures are always crops of 36 x 60, whatever `height` and `width` say.
    """

    height: int = Field(default=240, ge=36, le=2400)
    """height of a picture in pixels; with 3/4 of the width the face is framed as in UnityEyes"""
    width: int = Field(default=320, ge=48, le=3200)
    """width of a picture in pixels; the eye is about a fifth of it wide"""
    style: Style = "render"
    """`render` draws labelled pictures, `camera` unlabelled stand-ins for camera images"""
    seed: int = Field(default=0, ge=0)
    """of all random choices"""

    def render(self, indices: Sequence[int]) -> list[EyeRender]:
        """Draw the pictures with the given numbers, in that order."""
        size = (CROP_HEIGHT, CROP_WIDTH) if self.style == "camera" else (self.height, self.width)
        renders: list[EyeRender] = []
        for batch in _batches(indices, size):
            scenes = sample_scenes(batch, self.seed, self.style)
            if self.style == "camera":
                renders += _crops(scenes)
            else:
                renders += render_scenes(scenes, "render", self.height, self.width)
        return renders

    def last_file(self, index: int) -> str:
        """The name of the file of picture `index` (from 0) that is written last.

        Where this file exists, the others of the picture do too.
        """
        return f"{index + 1}.json" if self.style == "render" else f"{index + 1}.jpg"

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw pictures and write them into a folder or an object store.

        Returns:
            The number of pictures.
        """
        return write_renders(location, self.render(indices), self.style)

    def prepare(self, location: str | Path, count: int) -> None:
        """Do nothing: each picture has its label beside it, so no common file has to be written."""


def render_scenes(scenes: Scenes, look: Look, height: int, width: int) -> list[EyeRender]:
    """Full pictures of given scenes in one of the two looks, with their labels."""
    lids = lids_of(scenes)
    landmarks = landmarks_of(lids)
    view = picture_view(scenes, height, width)
    linear = shade(lids, landmarks, view, look)
    images = develop(linear) if look == "render" else photograph(linear, scenes, view)
    return _labelled(images, scenes, landmarks, view)


def render_pair(
    indices: Sequence[int], seed: int, height: int = 240, width: int = 320
) -> tuple[list[EyeRender], list[EyeRender]]:
    """Draw the same scenes in both looks, as full RGB pictures with identical labels.

    With such pairs one can measure how an estimator of positions reacts to a change of look alone.

    Returns:
        The pictures in the look `render`, and those in the look `camera`.
    """
    plain: list[EyeRender] = []
    photos: list[EyeRender] = []
    for batch in _batches(indices, (height, width)):
        scenes = sample_scenes(batch, seed, "render")
        plain += render_scenes(scenes, "render", height, width)
        photos += render_scenes(scenes, "camera", height, width)
    return plain, photos


def write_renders(
    location: str | Path,
    renders: Iterable[EyeRender],
    style: Style = "render",
) -> int:
    """Write pictures as `N.jpg` (and `N.json`), where N is the index counted from 1.

    Files appear complete or not at all, and the label is written last. So after an interruption
    `EyeRenderer.last_file` shows which pictures are still to be drawn. The style `camera` writes no
    labels; `STAND-IN.txt` and the comment of each JPEG say that the pictures are stand-ins.

    Args:
        location: a folder, or s3://bucket/prefix.

    Returns:
        The number of pictures that were written.
    """
    store = open_store(location)
    comment = STAND_IN if style == "camera" else None
    if comment is not None:
        store.put(STAND_IN_FILE, (comment + "\n").encode(), durable=False)
    count = 0
    for render in renders:
        name = render.index + 1
        store.put(f"{name}.jpg", encode_jpeg(render.image, QUALITY, comment), durable=False)
        if style == "render":
            label = json.dumps(render.label, indent=2).encode()
            store.put(f"{name}.json", label, durable=False)
        count += 1
    return count


def _batches(indices: Sequence[int], size: tuple[int, int]) -> Iterator[Sequence[int]]:
    step = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    for start in range(0, len(indices), step):
        yield indices[start : start + step]


def _crops(scenes: Scenes) -> list[EyeRender]:
    """Grey crops in the look `camera`: drawn larger, reduced, then changed as a camera does."""
    lids = lids_of(scenes)
    landmarks = landmarks_of(lids)
    view = crop_view(scenes, landmarks, CROP_HEIGHT, CROP_WIDTH)
    fine = View(
        CROP_HEIGHT * OVERSAMPLE,
        CROP_WIDTH * OVERSAMPLE,
        view.px_per_mm * OVERSAMPLE,
        (view.centre_px + 0.5) * OVERSAMPLE - 0.5,
        view.largest_px_per_mm * OVERSAMPLE,
    )
    linear = shade(lids, landmarks, fine, "camera")
    grey = 0.299 * linear[:, 0] + 0.587 * linear[:, 1] + 0.114 * linear[:, 2]
    shape = (len(scenes), CROP_HEIGHT, OVERSAMPLE, CROP_WIDTH, OVERSAMPLE)
    images = photograph(grey.reshape(shape).mean((2, 4)), scenes, view)
    return _labelled(images, scenes, landmarks, view)


def _labelled(
    images: npt.NDArray[np.uint8], scenes: Scenes, landmarks: Landmarks, view: View
) -> list[EyeRender]:
    rows = zip(scenes.index, images, labels_of(scenes, landmarks, view), strict=True)
    return [EyeRender(int(index), image, label) for index, image, label in rows]
