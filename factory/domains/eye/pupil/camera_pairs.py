"""The same built-in eyes in two looks: what a change of look alone does to a measurement."""

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
    """N eyes, drawn once plainly and once as a camera would show them."""

    render_NHW: NDArray[np.uint8]  # noqa: N815
    camera_NHW: NDArray[np.uint8]  # noqa: N815
    center_N2: NDArray[np.float64]  # noqa: N815
    """(x, y) of the iris centre in both, px"""
    labels: pa.Table
    """of both, as columns of an index"""


def camera_pairs(crop: EyeCrop, count: int, seed: int) -> CameraPairs:
    """Draw pairs and cut them like the images of a dataset.

    Args:
        crop: of the dataset whose measurements the pairs calibrate.
        count: pairs drawn; one whose crop leaves the picture is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for look, renders in zip(
            ("render", "camera"), render_pair(range(count), seed), strict=True
        ):
            write_renders(Path(folder, look), renders)
            sources.append(UnityEyesSource(Path(folder, look), UnityEyesOptions(crop=crop)))
        pairs: list[tuple[Loaded, Loaded]] = []
        for facts in sources[0].listing():
            try:
                pairs.append((sources[0].load(facts.id), sources[1].load(facts.id)))
            except BadRender:  # a crop that leaves the picture: no part of any measurement
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
