"""The built-in eye renderer: UnityEyes-like renders with nothing downloaded.

Two styles. `render` writes labelled pictures in the UnityEyes folder format (`N.jpg` and
`N.json`), with the true pupil centre in a field of its own. `camera` writes unlabelled grey
eye crops of other people in other light: a **stand-in** for camera images, which says so in a
text file beside them and in the comment of each JPEG.

Picture k depends on (seed, k, style, size) only, whatever the batch or the worker count.

    sample_scenes -> lids_of, landmarks_of -> shade (one of two looks) -> develop or photograph

The projection is orthographic, nothing casts a shadow but the upper lid on the eyeball, and the
nose never hides the eye. `benchmarks/bench_render.py` says how fast it is.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

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
    Population,
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

__all__ = [
    "STAND_IN", "STAND_IN_FILE", "EyeRender", "EyeRenderer", "render_pair", "render_scenes",
    "sample_scenes", "write_renders",
]  # fmt: skip

Style = Literal["render", "camera"]
_PIXELS_AT_ONCE = 320000
"""pictures are shaded in batches of about so many pixels, which fit the cache"""


@dataclass(frozen=True)
class EyeRender:
    """One picture."""

    index: int
    image: npt.NDArray[np.uint8]
    """(height, width, 3) RGB; of style `camera` a (36, 60) grey eye crop"""
    label: Label
    """what a UnityEyes JSON file holds, plus `pupil_2d`; see `eye_label`"""


class EyeRenderer(BaseModel):
    """Config and owner of the renderer.

    Style `render`: gaze within 35 (yaw) and 25 (pitch) degrees of the face, head yaw within 20
    and pitch within 12, at most 48 off the camera in all. Style `camera`: gaze yaw within 20,
    pitch -20 to +5; always a crop of 36x60, whatever the size asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(default=240, ge=36, le=2400)
    """picture height, pixels; 3:4 of the width frames the face as UnityEyes does"""
    width: int = Field(default=320, ge=48, le=3200)
    """picture width, pixels; the eye is about a fifth of it wide"""
    style: Style = "render"
    """`render`: labelled pictures; `camera`: unlabelled stand-ins for camera images"""
    seed: int = Field(default=0, ge=0)

    def render(self, indices: Sequence[int]) -> list[EyeRender]:
        """Draw the pictures of the given numbers, in their order."""
        size = (CROP_HEIGHT, CROP_WIDTH) if self.style == "camera" else (self.height, self.width)
        found: list[EyeRender] = []
        for batch in _batches(indices, size):
            scenes = sample_scenes(batch, self.seed, self.style)
            if self.style == "camera":
                found += _crops(scenes)
            else:
                found += render_scenes(scenes, "render", self.height, self.width)
        return found

    def last_file(self, index: int) -> str:
        """The file of picture `index` (from 0) that is written last: with it, the rest is there."""
        return f"{index + 1}.json" if self.style == "render" else f"{index + 1}.jpg"

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw pictures into a folder or object store; how many were drawn."""
        return write_renders(location, self.render(indices), self.style)

    def prepare(self, location: str | Path, count: int) -> None:
        """Every picture of an eye has its label beside it: nothing else is written."""


def render_scenes(scenes: Scenes, look: Look, height: int, width: int) -> list[EyeRender]:
    """Full pictures of given scenes in either look, with the labels of their geometry."""
    lids = lids_of(scenes)
    landmarks = landmarks_of(lids)
    view = picture_view(scenes, height, width)
    linear = shade(lids, landmarks, view, look)
    images = develop(linear) if look == "render" else photograph(linear, scenes, view)
    labels = labels_of(scenes, landmarks, view)
    return [
        EyeRender(int(index), image, label)
        for index, image, label in zip(scenes.index, images, labels, strict=True)
    ]


def render_pair(
    indices: Sequence[int],
    seed: int,
    height: int = 240,
    width: int = 320,
    population: Population = "render",
) -> tuple[list[EyeRender], list[EyeRender]]:
    """The same scenes in both looks: full RGB pictures with identical labels.

    For measuring what a pupil estimator makes of a change of look in which nothing moved.

    Returns:
        the pictures in the `render` look, and in the `camera` look.
    """
    plain: list[EyeRender] = []
    photos: list[EyeRender] = []
    for batch in _batches(indices, (height, width)):
        scenes = sample_scenes(batch, seed, population)
        plain += render_scenes(scenes, "render", height, width)
        photos += render_scenes(scenes, "camera", height, width)
    return plain, photos


def write_renders(
    location: str | Path,
    renders: Iterable[EyeRender],
    style: Style = "render",
    quality: int = 95,
) -> int:
    """Write pictures as `N.jpg` (and `N.json`), where N is the index counted from 1.

    Each file is whole or not there, the label is written last, so `last_file` tells what is left to
    do of a location that was cut short. Style `camera` writes no labels: `STAND-IN.txt` and the
    comment of each JPEG say what the pictures are.

    Args:
        location: a folder, or s3://bucket/prefix.

    Returns:
        how many pictures were written.
    """
    store = open_store(location)
    comment = STAND_IN if style == "camera" else None
    if comment is not None:
        store.put(STAND_IN_FILE, (comment + "\n").encode(), durable=False)
    count = 0
    for render in renders:
        name = render.index + 1
        store.put(f"{name}.jpg", encode_jpeg(render.image, quality, comment), durable=False)
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
    """Grey crops as a camera would give them: drawn larger, reduced, then photographed."""
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
    labels = labels_of(scenes, landmarks, view)
    return [
        EyeRender(int(index), image, label)
        for index, image, label in zip(scenes.index, images, labels, strict=True)
    ]
