"""Datasets of hands and a report on them, which several files look at. Read only."""

from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.domains.hand.sources.nyu import NyuOptions
from schemas.hand.report import HandReport
from support import fakes, hands
from support.hand_pairs import refined_by
from support.hand_reports import NUM_FRAMES, sensed, validated
from support.networks import saved_joints


@pytest.fixture(scope="session")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    hands.write_frames(folder, NUM_FRAMES, prefixes={"synthdepth": 0})
    hands.write_frames(folder / "camera", 2 * NUM_FRAMES, prefixes={"depth": 2000})
    return folder


@pytest.fixture(scope="session")
def parent(frames, tmp_path_factory) -> Dataset:
    """24 renders in two shards."""
    folder = tmp_path_factory.mktemp("synthetic")
    return fakes.ingest_here(frames, folder / "d", NyuOptions(), shard_size=12)


@pytest.fixture(scope="session")
def real(frames, tmp_path_factory) -> Dataset:
    """48 camera frames."""
    options = NyuOptions(kind="real", mask="cube")
    return fakes.ingest_here(frames / "camera", tmp_path_factory.mktemp("real") / "d", options)


@pytest.fixture(scope="session")
def sound(parent, real, tmp_path_factory) -> tuple[HandReport, str]:
    """A refiner that gives every hand a sensor's look, with a joint network as witness."""
    folder = tmp_path_factory.mktemp("sound")
    refined = refined_by(parent, sensed, folder)
    return validated(refined, parent, real, {"joints": saved_joints(folder / "net")})


@pytest.fixture
def pairs(tmp_path) -> Path:
    """Two frames of three cameras, each as a render and as a camera frame before a near wall."""
    hands.write_frames(tmp_path, prefixes={"synthdepth": 0, "depth": 760})
    (tmp_path / "rgb_1_0000001.png").write_bytes(b"colours are no business of ours")
    return tmp_path
