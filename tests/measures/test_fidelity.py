"""FID and KID: torch-fidelity's own, 0 where sets are equal, and refused without the weights.

A small network stands in for Inception, whose weights have to be downloaded; the real one is only
tried with weights of chance.
"""

import hashlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from factory.measures.looks.fidelity import inception_distance, measure_fidelity
from factory.measures.looks.inception import (
    SHA256_START,
    WEIGHTS_NAME,
    WEIGHTS_URL,
    Inception,
    features_of,
    import_torchvision,
)
from factory.validation.gate import measures, value_of
from factory.validation.protocols import Trio
from factory.validation.run import Validation
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.eye.report import EyeReport
from schemas.options import OptionError
from schemas.realism import Fidelity
from support import fakes
from support.inception import NAME, SmallNetwork
from support.report_example import example_fidelity, example_report

NUM = 120


def pictures(num: int, seed: int, brighter: float = 0) -> np.ndarray:
    """(num, 12, 16) uint8: smooth pictures, each with a look of its own."""
    rng = np.random.default_rng(seed)
    fields = rng.normal(120, 20, (num, 3, 4)) + brighter
    return fields.repeat(4, axis=1).repeat(4, axis=2).clip(0, 255).astype(np.uint8)


def measured(synthetic: np.ndarray, refined: np.ndarray, real: np.ndarray) -> Fidelity:
    network = SmallNetwork()
    return measure_fidelity(synthetic, refined, real, network, network.sha256, 3, fakes.call_here)


def test_a_set_that_is_shifted_is_farther_than_one_that_is_not() -> None:
    fidelity = measured(pictures(NUM, 0, 60), pictures(NUM, 1, 20), pictures(2 * NUM, 2))
    assert fidelity.num_images == NUM and fidelity.kid_subset_size == NUM // 2
    assert (fidelity.height, fidelity.width, fidelity.channels) == (12, 16, 1)
    assert fidelity.library == "torch-fidelity 0.4.0" and fidelity.weights == SmallNetwork.sha256
    # A shift of all pixels by d is one of all 8 features by d / 255.
    assert fidelity.synthetic.fid == pytest.approx(8 * (60 / 255) ** 2, rel=0.2)
    assert fidelity.refined.fid == pytest.approx(8 * (20 / 255) ** 2, rel=0.5)
    assert 0 < fidelity.floor.fid < fidelity.refined.fid / 2
    assert fidelity.synthetic.kid > fidelity.refined.kid > 3 * abs(fidelity.floor.kid)
    assert min(fidelity.synthetic.kid_sd, fidelity.refined.kid_sd, fidelity.floor.kid_sd) > 0


def test_equal_sets_have_no_distance() -> None:
    features_ND = SmallNetwork()(pictures(NUM, 0))
    same = inception_distance(features_ND, features_ND.copy(), NUM)
    assert same.fid == pytest.approx(0, abs=1e-4)
    assert same.kid <= 0, "unbiased: a set is nearer to itself than chance would have it"
    assert abs(same.kid) < 1e-3


def test_the_figures_are_those_of_torch_fidelity() -> None:
    from torch_fidelity import calculate_metrics

    class Stored(TensorDataset):
        def __getitem__(self, row: int) -> torch.Tensor:
            return super().__getitem__(row)[0]

    sets = pictures(NUM, 0, 15), pictures(NUM, 1)
    stored = [Stored(torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)) for images in sets]
    expected = calculate_metrics(
        input1=stored[0],
        input2=stored[1],
        feature_extractor=NAME,
        fid=True,
        kid=True,
        kid_subset_size=50,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    distance = inception_distance(*map(SmallNetwork(), sets), 50)
    assert distance.fid == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert distance.kid == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-6)
    assert distance.kid_sd == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-6)


def test_the_distance_is_that_of_two_normal_distributions() -> None:
    """Against the formula, of sets whose deviations differ by a factor."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (2, 20_000, 3)).astype(np.float32)
    distance = inception_distance(2 * one + 1, other, 10)
    assert distance.fid == pytest.approx(3 * 1**2 + 3 * (2 - 1) ** 2, rel=0.05)


def test_colours_are_shown_as_they_are() -> None:
    grey_NHW = pictures(4, 0)
    coloured = grey_NHW[..., None].repeat(3, axis=3)
    network = SmallNetwork()
    assert np.array_equal(network(grey_NHW), network(coloured))
    coloured[..., 0] = 0
    assert np.allclose(network(coloured), network(grey_NHW) * 2 / 3)


def test_too_few_images_and_deep_ones_are_refused() -> None:
    few = pictures(3, 0)
    with pytest.raises(ValueError, match="FID and KID need 4 images of each set and 8 real ones"):
        measured(few, few, pictures(8, 1))
    deep = pictures(8, 0).astype(np.uint16)
    with pytest.raises(ValueError, match="images must be uint8"):
        measured(deep, deep, pictures(8, 1))


# --- the file of weights --------------------------------------------------------------------------


def prepare(path: Path) -> None:
    nothing = None  # is not looked at
    Validation.prepare(nothing, nothing, {}, nothing, gate=None, against=None, inception=path)


def test_a_file_that_is_not_there_is_named_with_its_address(tmp_path) -> None:
    with pytest.raises(OptionError) as said:
        prepare(tmp_path / WEIGHTS_NAME)
    for part in (str(tmp_path / WEIGHTS_NAME), WEIGHTS_URL, SHA256_START, "does not download"):
        assert part in str(said.value)
    assert SHA256_START in WEIGHTS_NAME and WEIGHTS_URL.endswith(WEIGHTS_NAME)


def test_another_file_is_refused(tmp_path) -> None:
    path = tmp_path / WEIGHTS_NAME
    path.write_bytes(b"something else")
    with pytest.raises(OptionError, match=r"its sha256 is [0-9a-f]{64} and should begin with 6726"):
        prepare(path)


def test_images_of_16_bits_are_refused_before_any_work(monkeypatch) -> None:
    monkeypatch.setattr(Inception, "read", lambda path: SmallNetwork())
    hands = SimpleNamespace(
        card=SimpleNamespace(image=ImageSpec(height=224, width=224, bits=16)), location="hands"
    )
    nothing = None  # is not looked at
    with pytest.raises(ValueError, match="images of 8 bits, and those of hands have 16"):
        Validation.prepare(
            Trio(hands, hands, hands),
            nothing,
            {},
            nothing,
            gate=None,
            against=None,
            inception=Path("weights.pth"),
        )


def stored(path: Path, content: object) -> str:
    """Sha256 of the file that torch.save made."""
    torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Spoiler:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path) -> None:
    path, made = tmp_path / "w.pth", tmp_path / "made"
    digest = stored(path, {"fc.weight": Spoiler(made)})
    with pytest.raises(Exception, match="Weights only load failed"):
        Inception.read(path, digest[:8])
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "it would have been run"


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    path = tmp_path / "w.pth"
    digest = stored(path, torch.nn.Linear(2, 3).state_dict())
    with pytest.raises(FormatError, match="not the weights of this network"):
        Inception.read(path, digest[:8])


@pytest.mark.slow
def test_the_network_is_torch_fidelitys_own_with_the_weights_of_the_file(tmp_path) -> None:
    """Weights of chance: that the file of the papers fits as well was not tried."""
    from torch_fidelity.utils import create_feature_extractor

    layout = chance_weights()
    path = tmp_path / "w.pth"
    inception = Inception.read(path, stored(path, layout)[:8])
    assert inception.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    images = pictures(2, 0)
    features = inception(images)
    theirs = create_feature_extractor(
        "inception-v3-compat",
        ["2048"],
        cuda=False,
        verbose=False,
        feature_extractor_weights_path=str(path),
    )
    assert features.shape == (2, 2048) and features.dtype == np.float32 and features.std() > 0
    assert np.array_equal(features, features_of(theirs, images))
    sent = cloudpickle.loads(cloudpickle.dumps(partial(inception, images)))
    assert np.array_equal(features, sent()), "as a worker has it"


def chance_weights() -> dict[str, torch.Tensor]:
    """A state dict of Inception's layout, seeded."""
    from unittest.mock import patch

    from torch_fidelity import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    kind = FeatureExtractorInceptionV3
    with patch("torch.load"), patch.object(kind, "load_state_dict"):
        network = kind("inception-v3-compat", ["2048"], feature_extractor_weights_path="none")
    return network.state_dict()


def test_torchvision_can_be_imported_whichever_build_it_is() -> None:
    import_torchvision()
    import torchvision

    assert torchvision.__version__
    assert hasattr(torch.ops.torchvision, "nms")


# --- the report -----------------------------------------------------------------------------------


def test_gates_may_limit_it_and_old_reports_have_none() -> None:
    assert {"fidelity.refined.fid", "fidelity.refined.kid"} <= set(measures(EyeReport))
    report = example_report().model_copy(update={"fidelity": example_fidelity()})
    again = EyeReport.from_json(report.to_json(), where="report.json")
    assert again == report and value_of(again, "fidelity.refined.fid") == 41.5
    content = example_report().model_dump(mode="json")
    del content["fidelity"]
    read = EyeReport.model_validate(content)
    assert read.fidelity is None and value_of(read, "fidelity.refined.fid") is None
