"""Exports of small releases, and what a plain reader finds in them."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.hand.sources.nyu import NyuOptions
from factory.export.run import export_release
from support import fakes, hands, releases

NUM_EYES, NUM_HANDS = 12, 6


class Plain(NamedTuple):
    """One sample as tarfile, json and Pillow read it."""

    split: str
    labels: dict[str, Any]
    image: np.ndarray


def released_eyes(folder: Path) -> Dataset:
    """12 refined eyes in shards of four and two splits, released as r1. The first ones have no
    identity."""
    inputs = folder / "renders"
    inputs.mkdir(parents=True)
    write_renders(inputs, EyeRenderer(height=120, width=160, seed=5).render(range(NUM_EYES)))
    for number in range(1, 6):
        path = inputs / f"{number}.json"
        label = json.loads(path.read_text())
        label["eye_region_details"].pop("primary_skin_texture", None)
        path.write_text(json.dumps(label))
    splits = {"train": 0.6, "test": 0.4}
    parent = fakes.ingest_here(
        inputs, folder / "synthetic", UnityEyesOptions(), shard_size=4, splits=splits
    )
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    refined = fakes.refine_here(parent, refiner, folder / "refined")
    releases.release(refined)
    return refined


def released_hands(folder: Path) -> Dataset:
    """6 synthetic hands of 16 bits in two shards, released as r1."""
    hands.write_frames(folder / "frames")
    options = NyuOptions(size_px=48)
    dataset = fakes.ingest_here(folder / "frames", folder / "hands", options, shard_size=4)
    releases.release(dataset)
    return dataset


def exported(dataset: Dataset, folder: Path) -> Path:
    """The folder, which is an export of the release r1 now."""
    export_release(dataset, "r1", folder)
    return folder


def plain_samples(tars: Iterator[Path] | list[Path]) -> dict[str, Plain]:
    """Every sample of some tars by key."""
    samples = {}
    for path in tars:
        with tarfile.open(path) as tar:
            raw = {m.name: tar.extractfile(m).read() for m in tar}
        for name in raw:
            key, _, suffix = name.partition(".")
            if suffix == "json":
                image = np.asarray(Image.open(io.BytesIO(raw[f"{key}.png"])))
                samples[key] = Plain(path.name.split("-")[0], json.loads(raw[name]), image)
    return samples


def float32_of(value: Any) -> Any:
    """Plain values, in which each number is rounded as the columns of an index are."""
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, dict):
        return {name: float32_of(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [float32_of(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
