"""One export of eyes and one of hands, which all tests read."""

from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from support import exports
from support.exports import Plain


@pytest.fixture(scope="session")
def eyes(tmp_path_factory) -> Dataset:
    """Released eyes. Read only."""
    return exports.released_eyes(tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="session")
def depths(tmp_path_factory) -> Dataset:
    """Released hands. Read only."""
    return exports.released_hands(tmp_path_factory.mktemp("depths"))


@pytest.fixture(scope="session")
def eye_export(eyes, tmp_path_factory) -> Path:
    """Their export. Read only."""
    return exports.exported(eyes, tmp_path_factory.mktemp("eye-export") / "eyes r1")


@pytest.fixture(scope="session")
def hand_export(depths, tmp_path_factory) -> Path:
    """Their export. Read only."""
    return exports.exported(depths, tmp_path_factory.mktemp("hand-export") / "hands")


@pytest.fixture(scope="session", params=["eyes", "hands"])
def export(request, eye_export, hand_export) -> Path:
    """Either of them."""
    return eye_export if request.param == "eyes" else hand_export


@pytest.fixture(scope="session")
def plain(export) -> dict[str, Plain]:
    """Every sample of that export by key, as a plain reader finds it."""
    return exports.plain_samples(sorted(export.glob("*.tar")))
