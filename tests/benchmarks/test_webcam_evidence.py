"""The pictures and the table that are made of a file of webcam frames."""

import runpy

import numpy as np

from factory.domains.eye.sources.screen_targets import ScreenTargetsOptions
from factory.domains.eye.test_sets import ScreenTargets
from support import fakes
from support.looking_eyes import picture
from support.places import ROOT

write_frames = runpy.run_path(str(ROOT / "benchmarks" / "evidence" / "webcam.py"))["write_frames"]


def test_frames_become_a_test_set_of_both_eyes_alike(tmp_path) -> None:
    num_frames = 112
    left = picture()[3:67, 7:103]
    right = np.roll(left[:, ::-1], 1, axis=1)  # its corners are at the same places, 24 and 72
    frames = {
        "eyes": np.stack([np.stack([right, left])] * num_frames),
        "target_px": np.random.default_rng(0).integers(0, 1000, (num_frames, 2)),
        "frame": np.arange(2, num_frames + 2),
        "landmark_check_residual": np.where(np.arange(num_frames) < 80, 0.9, 0.1),
    }
    np.savez(tmp_path / "frames.npz", **frames)
    assert write_frames(tmp_path / "frames.npz", tmp_path / "in", 0.35) == 32
    options = ScreenTargetsOptions()
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "out", options, shard_size=500)
    assert dataset.facts(0).num_samples == 64 and dataset.facts(0).num_rejected == 0
    test = ScreenTargets(dataset=str(tmp_path / "out")).load()
    estimates = np.tile([0.0, 0, -1], (len(test.images), 1))
    errors = test.score(estimates)
    assert errors.groups_M.tolist() == ["one/block-001"] * 12, "of the frames 100 to 111"
    assert np.array_equal(test.images[::2], test.images[1::2]), "right eyes are mirrored"
