"""Pairs of images that show one eye of the built-in renderer in two looks.

What a measurement reports as drift between the two is its error, as only the look changed.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.domains.eye.renderer.renderer import render_pair, write_renders
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.base import BadRender, Loaded
from schemas.eye.columns import EYE_LABELS

LOOKS = ("render", "camera")


class CameraPairs(NamedTuple):
    """N eyes, each drawn in the look of a render and in that of a camera image."""

    render_NHW: NDArray[np.uint8]  # noqa: N815
    """the crops in the look `render`"""
    camera_NHW: NDArray[np.uint8]  # noqa: N815
    """the crops in the look `camera`"""
    center_N2: NDArray[np.float64]  # noqa: N815
    """position (x, y) of the iris centre in both crops, px"""
    labels: pa.Table
    """the labels of both crops, with the columns that an index has"""


def camera_pairs(crop: EyeCrop, count: int, seed: int) -> CameraPairs:
    """Draw pairs and crop them as the images of a dataset are cropped.

    Args:
        crop: of the dataset whose measurements the pairs calibrate.
        count: number of pairs to draw; a pair whose crop leaves the picture is left out.
        seed: of the renderer.
    """
    in_grey = crop.model_copy(update={"colour": False})
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for look, renders in zip(LOOKS, render_pair(range(count), seed), strict=True):
            write_renders(Path(folder, look), renders)
            sources.append(UnityEyesSource(Path(folder, look), UnityEyesOptions(crop=in_grey)))
        pairs: list[tuple[Loaded, Loaded]] = []
        for facts in sources[0].listing():
            try:
                pairs.append((sources[0].load(facts.id), sources[1].load(facts.id)))
            except BadRender:  # the crop leaves the picture, so the pair cannot be measured
                continue
    return CameraPairs(
        np.stack([render.image for render, _ in pairs]).astype(np.uint8),
        np.stack([camera.image for _, camera in pairs]).astype(np.uint8),
        np.stack([render.labels["iris_px"].mean(axis=0) for render, _ in pairs]),
        pa.Table.from_pylist(
            [_row(f"{k:06d}", render) for k, (render, _) in enumerate(pairs)],
            schema=pa.schema([_KEY, *EYE_LABELS, _IDENTITY]),
        ),
    )


_KEY, _IDENTITY = pa.field("key", pa.string()), pa.field("identity", pa.string())


def _row(key: str, loaded: Loaded) -> dict[str, Any]:
    labels = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in loaded.labels.items()
    }
    return {"key": key, "identity": loaded.identity, **labels}
