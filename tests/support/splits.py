"""Datasets with splits, so that refiners can be scored on samples that they were not trained on."""

import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from support import fakes

SPLITS = {"train": 0.5, "test": 0.5}


@pytest.fixture(scope="session")
def split_pair(tmp_path_factory) -> tuple[Dataset, Dataset]:
    """160 renders of several people, and as many stand-ins for camera images. Read only."""
    folder = tmp_path_factory.mktemp("split")
    for name, seed in (("renders", 5), ("camera", 6)):
        drawn = EyeRenderer(height=240, width=320, seed=seed).render(range(160))
        write_renders(folder / name, drawn)
    for path in (folder / "camera").glob("*.json"):
        path.unlink()
    synthetic = fakes.ingest_here(
        folder / "renders", folder / "s", UnityEyesOptions(), shard_size=80, splits=SPLITS
    )
    real = fakes.ingest_here(
        folder / "camera", folder / "r", PicturesOptions(), shard_size=80, splits=SPLITS
    )
    return synthetic, real
