"""Fixtures that many test files share."""

from pathlib import Path

import fakes
import pytest
from s3_servers import (  # noqa: F401  (fixtures)
    any_location,
    any_store,
    moto_server,
    moto_store,
    proxy,
    rgw,
    s3_server,
)

from factory.dataset import Dataset
from factory.renderers.eye import EyeRenderer, write_renders
from factory.sources.unityeyes import UnityEyesOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Research data that lies beside the repository and never enters it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the research data in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def renders(tmp_path_factory) -> Path:
    """A folder of 24 renders, `1.jpg` with `1.json` and so on. Read only: copy before changing."""
    folder = tmp_path_factory.mktemp("renders")
    write_renders(folder, EyeRenderer(height=240, width=320, seed=5).render(range(24)))
    return folder


@pytest.fixture(scope="session")
def synthetic(renders, tmp_path_factory) -> Dataset:
    """The renders ingested: shards 0..4 of 5, 5, 5, 5 and 4 samples. Read only."""
    output = tmp_path_factory.mktemp("synthetic") / "eyes"
    return fakes.ingest_here(renders, output, UnityEyesOptions(), shard_size=5)


@pytest.fixture
def refiner(tmp_path) -> Path:
    """A small refiner that visibly changes every image, as a finished training run leaves it."""
    return fakes.save_tiny_refiner(tmp_path / "refiner", seed=1)
