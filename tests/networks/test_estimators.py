"""Estimators on disk: what is read back is the network that was saved, and a usable one."""

import pytest
import torch

from factory.domains.eye.networks.gaze import load_gaze
from factory.domains.eye.networks.landmarks import LandmarkNetwork, load_landmarks
from factory.domains.hand.networks.joints import load_joints
from schemas.base import FormatError
from schemas.eye.estimators import LandmarkConfig
from support.networks import save_landmarks, saved_gaze, saved_joints

CONFIG = LandmarkConfig(maps=4)
KINDS = {
    "landmarks": (load_landmarks, lambda to: save_landmarks(to, LandmarkNetwork(CONFIG)), "maps"),
    "gaze": (load_gaze, saved_gaze, "hidden"),
    "joints": (load_joints, saved_joints, "maps"),
}


def test_a_network_comes_back(tmp_path) -> None:
    network = LandmarkNetwork(CONFIG, seed=3)
    save_landmarks(tmp_path, network)
    read, described = load_landmarks(tmp_path)
    assert described.architecture == CONFIG and not read.training
    assert all(
        torch.equal(value, network.state_dict()[name]) for name, value in read.state_dict().items()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_damaged_or_for_other_images_is_told(tmp_path, kind) -> None:
    load, save, width = KINDS[kind]
    missing = rf"no \w+ network; .* jobs/estimator\.py {kind}"
    with pytest.raises(FileNotFoundError, match=missing):
        load(tmp_path)
    save(tmp_path)
    _, described = load(tmp_path)
    described.require(described.image)
    height = described.image.height
    with pytest.raises(ValueError, match=rf"the \w+ network is for .*height={height}.*height=36"):
        described.require(described.image.model_copy(update={"height": 36}))
    weights, description = (tmp_path / f"{kind}.{end}" for end in ("safetensors", "json"))
    text = description.read_text()
    other = getattr(described.architecture, width) + 1
    changed = text.replace(f'"{width}": {other - 1}', f'"{width}": {other}')
    assert changed != text
    description.write_text(changed)
    with pytest.raises(FormatError, match="not the architecture that its description names"):
        load(tmp_path)
    description.write_text(text)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(FormatError, match="copy both again"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load(tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad) -> None:
    network = LandmarkNetwork(CONFIG)
    with torch.no_grad():
        network.layers[2].bias[1] = bad
    save_landmarks(tmp_path, network)
    with pytest.raises(FormatError, match=r"landmarks\.safetensors: layers\.2\.bias holds values"):
        load_landmarks(tmp_path)
