"""Estimators on disk: what is read back is the network that was saved, and a usable one."""

import pytest
import torch

from factory.domains.eye.networks.landmarks import LandmarkNetwork, load_landmarks
from factory.networks.estimators import UNSAVED, save_estimator
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.eye.estimators import LandmarkConfig, LandmarkDescription

CONFIG = LandmarkConfig(maps=4)


def save(folder, network: LandmarkNetwork) -> None:
    described = LandmarkDescription(
        domain="eye",
        image=ImageSpec(height=35, width=55),
        architecture=CONFIG,
        sha256=UNSAVED,
        error_px={},
        train={},
    )
    save_estimator(folder, network, described)


def test_a_network_comes_back(tmp_path) -> None:
    network = LandmarkNetwork(CONFIG, seed=3)
    save(tmp_path, network)
    read, described = load_landmarks(tmp_path)
    assert described.architecture == CONFIG and not read.training
    assert all(
        torch.equal(value, network.state_dict()[name]) for name, value in read.state_dict().items()
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad) -> None:
    network = LandmarkNetwork(CONFIG)
    with torch.no_grad():
        network.layers[2].bias[1] = bad
    save(tmp_path, network)
    with pytest.raises(FormatError, match=r"landmarks\.safetensors: layers\.2\.bias holds values"):
        load_landmarks(tmp_path)
