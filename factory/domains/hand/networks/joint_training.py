"""Training of a joint network on labelled renders of hands, and how good it is on others."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from factory.domains.hand.networks.depth_augmentation import augmented
from factory.domains.hand.networks.joints import (
    JointConfig,
    JointError,
    JointErrors,
    JointNetwork,
    as_depth,
)
from factory.measures.statistics import spread
from schemas.base import Float, Model
from schemas.hand.sample import EVALUATED_JOINTS

NEAR_PX = 5.0
"""the paper's d (Shrivastava et al. 2017, table 4)"""


class JointTraining(Model):
    """How a joint network is trained."""

    steps: int = Field(default=1_500, ge=1)
    """updates"""
    batch_size: int = Field(default=32, ge=2)
    """hands in each"""
    lr: Float = Field(default=4e-3, gt=0)
    """of Adam at the start; it falls to 0 as a half cosine"""
    seed: int = Field(default=0, ge=0)
    maps: int = Field(default=16, ge=1)
    """feature maps of the finest layer"""
    reduce: int = Field(default=4, ge=1)
    """pixels in a row, and in a column, of a cell of the finest layer"""


class Posed(NamedTuple):
    """Hands and their joints."""

    images: NDArray[np.uint16]
    """(N, H, W) depth as stored"""
    joints_px: NDArray[np.float32]
    """(N, 14, 2), NaN for those outside the picture, see `factory.domains.hand.networks.joints.joints_px_of`"""
    cube_mm: int
    """side of the cube of all of them"""


def train_joints(
    training: JointTraining,
    posed: Posed,
    on_step: Callable[[float], None] | None = None,
) -> JointNetwork:
    """Train a network; the same on the same machine for the same arguments.

    Args:
        on_step: called after each update with its loss, about the mean distance along an axis, px.

    Raises:
        RuntimeError: a loss is not finite.
    """
    config = JointConfig(maps=training.maps, reduce=training.reduce, cube_mm=posed.cube_mm)
    network = JointNetwork(config, seed=training.seed)
    optimiser = torch.optim.Adam(network.parameters(), training.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    for step in range(training.steps):
        rng = np.random.default_rng([training.seed, step])
        rows = rng.integers(len(posed.images), size=training.batch_size)
        images, joints_px = augmented(posed.images[rows], posed.joints_px[rows], posed.cube_mm, rng)
        truth = torch.from_numpy(joints_px)
        known = truth.isfinite()
        loss = functional.smooth_l1_loss(network(as_depth(images))[known], truth[known])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"the loss of update {step + 1} is {value}; lower --lr")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step(value)
    return network.eval()


def joint_errors(
    found_px: NDArray[np.floating],
    truth_px: NDArray[np.floating],
    mean_answer_px: NDArray[np.floating],
) -> JointErrors:
    """How far found joints are from the true ones; NaN among these does not count.

    Args:
        found_px, truth_px: (N, 14, 2).
        mean_answer_px: (14, 2), see `mean_joints_px`.

    Raises:
        ValueError: a joint is in no picture.
    """
    distance = np.linalg.norm(found_px - truth_px, axis=-1)
    mean_distance = np.linalg.norm(mean_answer_px - truth_px, axis=-1)
    return JointErrors(
        px=spread(distance),
        within_5_px=_share_near(distance),
        mean_answer_px=spread(mean_distance),
        mean_answer_within_5_px=_share_near(mean_distance),
        by_joint=tuple(
            JointError(
                joint=joint,
                px=spread(distance[:, place]),
                within_5_px=_share_near(distance[:, place]),
            )
            for place, joint in enumerate(EVALUATED_JOINTS)
        ),
    )


def mean_joints_px(joints_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """(14, 2) mean places of (N, 14, 2), of which NaN does not count."""
    return np.asarray(np.nanmean(joints_px, axis=0, dtype=np.float64))


def _share_near(distance_px: NDArray[np.floating]) -> float:
    known = distance_px[np.isfinite(distance_px)]
    return float((known <= NEAR_PX).mean())
