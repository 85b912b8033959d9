"""Releases to read, and what an outside reader finds in them."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.dataset.dataset import Dataset
from factory.reading.sample import Sample
from support import planted, releases

Plain = dict[str, tuple[dict, np.ndarray]]
"""key to record and image"""


@pytest.fixture(scope="session")
def released(synthetic, tmp_path_factory) -> Dataset:
    """24 eyes in shards of 5, 5, 5, 5 and 4, released as r1. Read only."""
    dataset = planted.copied(synthetic, tmp_path_factory.mktemp("released") / "eyes")
    releases.release(dataset)
    return dataset


@pytest.fixture
def spoilt(released, tmp_path) -> Dataset:
    """A copy of it, which a test may damage."""
    return planted.copied(released, tmp_path / "eyes")


def place_of(dataset: Dataset, name: str = "r1") -> str:
    """Where a release of a dataset is."""
    return f"{dataset.location}/releases/{name}"


def plain(dataset: Dataset, name: str = "r1") -> Plain:
    """Every sample of a release, read with tarfile, json and PIL."""
    samples: Plain = {}
    for path in releases.urls_of(dataset, name):
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar}
        for member, raw in files.items():
            key, _, field = member.partition(".")
            if field == "json":
                image = np.asarray(Image.open(io.BytesIO(files[f"{key}.png"])))
                samples[key] = (json.loads(raw), image)
    return samples


def keys(samples: Iterable[Sample]) -> list[str]:
    return [sample.key for sample in samples]


def check_same(samples: list[Sample], expected: Plain) -> None:
    """Every sample is what an outside reader finds, in the same order."""
    assert keys(samples) == list(expected)
    for sample in samples:
        record, image = expected[sample.key]
        assert sample.record == record
        assert sample.image.dtype == image.dtype and np.array_equal(sample.image, image)


def damage(dataset: Dataset, shard: int, position: int = 600, name: str = "r1") -> Path:
    """Flip a bit in the tar of a released shard."""
    path = Path(releases.urls_of(dataset, name)[shard])
    path.write_bytes(planted.flipped(path.read_bytes(), position))
    return path
