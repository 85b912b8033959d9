"""The network of the two-sample test, and its training."""

from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from factory.images.png import Pixels
from factory.measures.small_networks import (
    batches_of,
    network_planes,
    require_finite,
    shifted,
    stage,
)
from factory.measures.threads import threads_kept

Positions = NDArray[np.intp]


class Budget(NamedTuple):
    """The training of one network, by the names of `TwoSampleTest`."""

    num_steps: int
    batch_size: int
    learning_rate: float
    max_shift_px: int


def accuracies(
    budget: Budget,
    folds: Iterable[tuple[tuple[Positions, Positions], tuple[Positions, Positions]]],
    real_NHW: Pixels,
    other_NHW: Pixels,
    seed: int,
    full_scale: int,
) -> list[float]:
    """Train one network for each fold; the shares of held-out images classified correctly.

    Args:
        folds: of `TwoSampleTest.folds`.

    Raises:
        ValueError: a network gives values that are not finite.
    """
    with threads_kept(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shares = []
        for fold, ((real_test, real_train), (other_test, other_train)) in enumerate(folds):
            network = _Classifier()
            rng = np.random.default_rng((seed, 2, fold))
            _fit(budget, network, real_NHW[real_train], other_NHW[other_train], rng, full_scale)
            says_real = _logits(network, real_NHW[real_test], full_scale) > 0
            says_other = _logits(network, other_NHW[other_test], full_scale) <= 0
            shares.append(float(np.concatenate([says_real, says_other]).mean()))
    return shares


def _fit(
    budget: Budget,
    network: nn.Module,
    real_NHW: Pixels,
    other_NHW: Pixels,
    rng: np.random.Generator,
    full_scale: int,
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=budget.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=budget.learning_rate, total_steps=budget.num_steps
    )
    half = min(budget.batch_size // 2, len(real_NHW))
    target = torch.cat([torch.ones(half), torch.zeros(half)])
    batches = zip(batches_of(real_NHW, half, rng), batches_of(other_NHW, half, rng), strict=False)
    network.train()
    for _ in range(budget.num_steps):
        batch = cast("Pixels", np.concatenate(next(batches)))
        images = shifted(batch, budget.max_shift_px, rng)
        logits = network(network_planes(images, full_scale))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    network.eval()


class _Classifier(nn.Sequential):
    """A small network: (n, 2, H, W) of `network_planes` to (n,) logits of the class "real".

    Its weights lie channels last in memory, which saves a third of a step's time on a CPU.
    """

    def __init__(self) -> None:
        super().__init__(
            *stage(2, 16),
            *stage(16, 32),
            *stage(32, 48),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(48, 1),
            nn.Flatten(0),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _logits(network: nn.Module, images_NHW: Pixels, full_scale: int) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            network(network_planes(images_NHW[start : start + 256], full_scale)).numpy()
            for start in range(0, len(images_NHW), 256)
        ]
    return require_finite(np.concatenate(parts), "classifier of the two-sample test")
