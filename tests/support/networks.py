"""Untrained networks, saved as training saves them."""

import torch

from factory.dataset.dataset import Dataset
from factory.domains.eye.networks.landmarks import LandmarkNetwork
from factory.domains.hand.networks.joints import JointNetwork
from factory.networks.estimators import UNSAVED, save_estimator
from factory.networks.refiner import Refiner
from schemas.dataset import ImageSpec
from schemas.eye.estimators import LandmarkDescription
from schemas.hand.estimators import JointConfig, JointDescription, JointErrors
from schemas.refiner import RefinerConfig
from schemas.report import Spread


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
    network = LandmarkNetwork(seed=seed)
    save_estimator(
        folder,
        network,
        LandmarkDescription(
            domain="eye",
            image=dataset.card.image,
            architecture=network.config,
            sha256="0" * 64,
            error_px={},
            train={},
        ),
    )
    return str(folder)


def saved_joints(folder) -> str:
    """A joint network for crops of hands."""
    network = JointNetwork(JointConfig(maps=2), seed=1)
    spread = Spread(num=1, mean=1, sd=0, median=1, p95=1)
    errors = JointErrors(
        px=spread, within_5_px=0.5, mean_answer_px=spread, mean_answer_within_5_px=0.1, by_joint=()
    )
    described = JointDescription(
        domain="hand",
        image=ImageSpec(height=224, width=224, bits=16),
        sha256=UNSAVED,
        train={},
        architecture=network.config,
        held_out=errors,
    )
    save_estimator(folder, network, described)
    return str(folder)
