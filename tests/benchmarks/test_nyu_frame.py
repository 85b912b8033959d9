"""The picture of what networks find on one frame of a depth camera."""

import runpy

import numpy as np
import pytest

from factory.domains.hand.networks.joints import found_joints_px, load_joints
from factory.images.png import decode_png
from support import hands
from support.networks import saved_joints
from support.places import ROOT

script = runpy.run_path(str(ROOT / "benchmarks" / "evidence" / "nyu_frame.py"))


def test_a_frame_is_cropped_around_its_joints_and_drawn_for_each_network(tmp_path) -> None:
    uvd = hands.joints_uvd()
    frame = hands.packed(hands.depth_picture(uvd, background_mm=2000))
    image, truth_px = script["cropped"](frame, uvd)
    assert image.shape == (224, 224) and truth_px.shape == (14, 2)
    columns, rows = np.rint(truth_px).astype(int).T
    assert (image[rows, columns] > 0).all(), "a disc lies at every joint"
    assert (image == 0).mean() > 0.5, "the wall lies behind the cube"
    network = saved_joints(tmp_path)
    picture, errors_px = script["drawn"](frame, uvd, {"renders": network, "refined": network})
    found_px = found_joints_px(load_joints(network)[0], image[None])[0]
    assert list(errors_px) == ["renders", "refined"]
    assert errors_px["refined"] == pytest.approx(np.hypot(*(found_px - truth_px).T))
    assert decode_png(picture).shape[2] == 3
