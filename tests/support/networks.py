"""Untrained networks, saved as training saves them."""

import torch

from factory.dataset.dataset import Dataset
from factory.domains.eye.networks.gaze import GazeNetwork
from factory.domains.eye.networks.landmarks import LandmarkNetwork
from factory.domains.hand.networks.joints import JointNetwork
from factory.networks.estimators import UNSAVED, save_estimator
from factory.networks.refiner import Refiner
from schemas.dataset import ImageSpec
from schemas.estimator import EstimatorDescription
from schemas.eye.estimators import (
    GazeConfig,
    GazeDescription,
    GazeErrors,
    LandmarkDescription,
)
from schemas.eye.kind import EYE
from schemas.hand.estimators import JointConfig, JointDescription, JointErrors
from schemas.hand.kind import HAND
from schemas.kinds import SampleKind
from schemas.refiner import RefinerConfig
from schemas.report import Spread

SPREAD = Spread(num=1, mean=1, sd=0, median=1, p95=1)


def trained_alike(config: RefinerConfig, seed: int = 1) -> Refiner:
    """Random weights and biases, none of them zero as they are before training."""
    refiner = Refiner(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in refiner.modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
    return refiner


def saved_landmarks(dataset: Dataset, folder, seed: int = 1) -> str:
    """A landmark network for the images of a dataset."""
    return save_landmarks(folder, LandmarkNetwork(seed=seed), dataset.card.image)


def save_landmarks(folder, network: LandmarkNetwork, image: ImageSpec = EYE.image) -> str:
    return _saved(folder, network, LandmarkDescription, EYE, image=image, error_px={})


def saved_gaze(folder) -> str:
    """A gaze network for crops of eyes."""
    network = GazeNetwork(GazeConfig(maps=(8,) * 5, hidden=16), seed=1)
    errors = GazeErrors(deg=SPREAD, mean_answer_deg=SPREAD, by_yaw=(), by_pitch=())
    return _saved(folder, network, GazeDescription, EYE, held_out=errors)


def saved_joints(folder) -> str:
    """A joint network for crops of hands."""
    network = JointNetwork(JointConfig(maps=2), seed=1)
    errors = JointErrors(
        px=SPREAD, within_5_px=0.5, mean_answer_px=SPREAD, mean_answer_within_5_px=0.1, by_joint=()
    )
    return _saved(folder, network, JointDescription, HAND, held_out=errors)


def _saved(
    folder, network, description: type[EstimatorDescription], kind: SampleKind, **known: object
) -> str:
    facts = {"image": kind.image, "architecture": network.config, "sha256": UNSAVED, "train": {}}
    save_estimator(folder, network, description(domain=kind.name, **facts | known))
    return str(folder)
