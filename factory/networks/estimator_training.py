"""The training loop of every network that reads labels off images."""

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

Network = TypeVar("Network", bound=nn.Module)
OnUpdate = Callable[[float], None]
"""is called after each update with its loss"""
Stop = Callable[[Network, int], bool]
"""is called after each update with the network and the number of updates made so far; training ends
where it is true"""


class Updates(Protocol):
    """The training options that every kind of estimator has."""

    @property
    def steps(self) -> int:
        """number of updates"""

    @property
    def batch_size(self) -> int:
        """images in each update"""

    @property
    def seed(self) -> int:
        """seed of all random draws"""


def train_network(
    network: Network,
    training: Updates,
    num_images: int,
    loss_of: Callable[[NDArray[np.int64], np.random.Generator], Tensor],
    schedule: LRScheduler,
    on_update: OnUpdate | None = None,
    stop: Stop[Network] | None = None,
) -> Network:
    """Train a network on batches that are drawn with replacement.

    The random generator of an update depends on the seed and on the number of the update alone, so
    training is the same on the same machine for the same arguments.

    Args:
        num_images: how many images there are to draw from.
        loss_of: the loss of a batch, a scalar, from the rows of its images, (batch_size,), and the
            generator of the update, for augmentation.
        schedule: changes the learning rate after each update; its optimiser makes the updates.

    Returns:
        The same network, in evaluation mode.

    Raises:
        RuntimeError: a loss is not finite. No weight has been changed by it.
    """
    optimiser = schedule.optimizer
    for step in range(training.steps):
        rng = np.random.default_rng([training.seed, step])
        rows = rng.integers(num_images, size=training.batch_size)
        loss = loss_of(rows, rng)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuntimeError(
                f"the loss of update {step + 1} is {value}; training stopped before the update, "
                "lower --lr"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_update is not None:
            on_update(value)
        if stop is not None and stop(network, step + 1):
            break
    return network.eval()
