"""Training of the paper's stacked hourglass on labelled hands."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.domains.hand.networks.depth_augmentation import turned_and_cropped
from factory.domains.hand.networks.hourglass import StackedHourglass, target_heat
from factory.domains.hand.networks.joint_training import Posed
from factory.domains.hand.networks.joints import as_depth
from factory.networks.estimator_training import OnUpdate, Stop, train_network
from schemas.hand.estimators import HourglassTraining


def train_hourglass(
    training: HourglassTraining,
    posed: Posed,
    on_update: OnUpdate | None = None,
    stop: Stop[StackedHourglass] | None = None,
    *,
    device: str = "cpu",
) -> StackedHourglass:
    """Train a network with `train_network`.

    The loss is the mean squared difference from the target heatmaps, summed over stacks; joints
    outside the picture do not count. Pictures are turned by up to 20 degrees and cropped, as in
    Shrivastava et al. 2017, section 3.2. RMSprop runs at a constant rate; Newell et al. lower it
    once, when the validation error no longer falls.

    Args:
        device: that the network is trained on, and stays on.

    Raises:
        RuntimeError: a loss is not finite.
        ValueError: pictures are not square.
    """
    network = StackedHourglass(training.network, seed=training.seed).to(device)
    optimiser = torch.optim.RMSprop(network.parameters(), training.lr, alpha=0.99, eps=1e-8)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)

    def loss_of(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        images, joints_px = turned_and_cropped(posed.images[rows], posed.joints_px[rows], rng)
        truth = torch.from_numpy(joints_px).to(device)
        known = truth.isfinite().all(dim=-1)
        heat = network(as_depth(images).to(device))
        wanted = target_heat(truth.nan_to_num(), heat.shape[-1], images.shape[-1])
        error = (heat - wanted[:, None]).square().mean(dim=(3, 4)).sum(dim=1)  # (N, k)
        return torch.as_tensor(error[known].mean())

    return train_network(network, training, len(posed.images), loss_of, schedule, on_update, stop)
