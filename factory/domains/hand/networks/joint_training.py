"""Training of a joint network on labelled renders of hands, and how good it is on others."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from factory.domains.hand.networks.depth_augmentation import augmented, turned_and_cropped
from factory.domains.hand.networks.joints import JointNetwork, as_depth
from factory.measures.statistics import spread
from factory.networks.estimator_training import OnUpdate, Stop, train_network
from schemas.hand.estimators import JointConfig, JointError, JointErrors, JointTraining
from schemas.hand.sample import EVALUATED_JOINTS

NEAR_PX = 5.0
"""px within which a joint counts as found, the paper's d (Shrivastava et al. 2017, table 4)"""


class Posed(NamedTuple):
    """Hands and their joints."""

    images: NDArray[np.uint16]
    """(N, H, W) depth as stored"""
    joints_px: NDArray[np.float32]
    """(N, 14, 2), NaN for joints outside the picture, see `joints.joints_px_of`"""
    cube_mm: int
    """side of the cube that all of them are cut by"""


def train_joints(
    training: JointTraining,
    posed: Posed,
    on_update: OnUpdate | None = None,
    stop: Stop[JointNetwork] | None = None,
    *,
    vary_look: bool = True,
) -> JointNetwork:
    """Train a network with `train_network`; a loss is about the mean distance along an axis, px.

    Args:
        vary_look: degrade the depth of training pictures at random, besides turning and cropping
            them.

    Raises:
        RuntimeError: a loss is not finite.
    """
    config = JointConfig(maps=training.maps, reduce=training.reduce, cube_mm=posed.cube_mm)
    network = JointNetwork(config, seed=training.seed)
    optimiser = torch.optim.Adam(network.parameters(), training.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)

    def loss_of(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        images, joints_px = posed.images[rows], posed.joints_px[rows]
        if vary_look:
            images, joints_px = augmented(images, joints_px, posed.cube_mm, rng)
        else:
            images, joints_px = turned_and_cropped(images, joints_px, rng)
        truth = torch.from_numpy(joints_px)
        known = truth.isfinite()
        return functional.smooth_l1_loss(network(as_depth(images))[known], truth[known])

    return train_network(network, training, len(posed.images), loss_of, schedule, on_update, stop)


def joint_errors(
    found_px: NDArray[np.floating],
    truth_px: NDArray[np.floating],
    mean_answer_px: NDArray[np.floating],
) -> JointErrors:
    """How far found joints are from the true ones.

    True joints that are NaN do not count. Joints that were not found, NaN too, have no distance and
    are not near the true ones.

    Args:
        found_px, truth_px: (N, 14, 2).
        mean_answer_px: (14, 2), see `mean_joints_px`.

    Raises:
        ValueError: a joint is in no picture.
    """
    distance = np.linalg.norm(found_px - truth_px, axis=-1)
    mean_distance = np.linalg.norm(mean_answer_px - truth_px, axis=-1)
    is_known = np.isfinite(truth_px).all(axis=-1)
    return JointErrors(
        px=spread(distance),
        within_5_px=_share_near(distance[is_known]),
        mean_answer_px=spread(mean_distance),
        mean_answer_within_5_px=_share_near(mean_distance[is_known]),
        by_joint=tuple(
            JointError(
                joint=joint,
                px=spread(distance[:, column]),
                within_5_px=_share_near(distance[is_known[:, column], column]),
            )
            for column, joint in enumerate(EVALUATED_JOINTS)
        ),
    )


def mean_joints_px(joints_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """(14, 2) mean positions of joints (N, 14, 2); those that are NaN do not count."""
    return np.asarray(np.nanmean(joints_px, axis=0, dtype=np.float64))


def _share_near(distance_px: NDArray[np.floating]) -> float:
    return float((distance_px <= NEAR_PX).mean())
