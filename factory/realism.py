"""The classifier two-sample test: can a small network tell two sets of images apart?

Lopez-Paz and Oquab 2017 (arXiv:1610.06545). A network is trained on a part of both sets and asked
about the rest. On images it has never seen it is right half of the time if the sets have one
distribution, and more often the more they differ. That says how real refined images look without
anyone looking, and a number near 50 % is only as strong as the network: the same test of
synthetic against real shows its power, and of two halves of the real set its floor.

Axes in names: N images, H height, W width.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from schemas.base import Model
from schemas.report import Realism, TwoSample

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Z95 = 1.959964
"""two-sided 95 % quantile of the normal distribution"""
MIN_IMAGES = 20
"""of either set; with fewer no interval would mean anything"""


class TwoSampleTest(Model):
    """A classifier two-sample test and its budget.

    Both sets count alike, however many images each has. Each seed draws its own split, weights,
    batches and shifts; which images are held out depends on nothing but the seed and the sizes of
    the sets, so the images of one scene before and after refining fall on the same side.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """one network each"""
    num_train: Annotated[int, Field(ge=MIN_IMAGES // 2)] = 2000
    """most images of either set to train on"""
    num_test: Annotated[int, Field(ge=MIN_IMAGES // 2)] = 1000
    """most images of either set to hold out"""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """held out of the smaller set, where that is below `num_test`"""
    num_steps: Annotated[int, Field(gt=0)] = 250
    """optimiser steps of each network"""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """images a step, half of them from either set"""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """at its peak; it rises and falls once"""
    max_shift_px: Annotated[int, Field(ge=0)] = 2
    """training images are shifted at random, both sets alike"""

    def __call__(self, real_NHW: Images, other_NHW: Images) -> TwoSample:
        """How well a network tells held-out images of the two sets apart.

        Args:
            real_NHW, other_NHW: uint8, of one size, at least 20 of each.

        Returns:
            The accuracy, 0.5 for equal distributions, with a 95 % interval (see `interval`);
            `num_train` and `num_test` count the images of both sets that one network saw.
            The same on every run and with any number of threads.

        Raises:
            ValueError: too few images, or not two sets of images of one size.
        """
        _check("real", real_NHW, real_NHW)
        _check("other", other_NHW, real_NHW)
        correct = []
        for seed in self.seeds:
            with _one_thread(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                correct.append(self._run(real_NHW, other_NHW, seed))
            log.info("two-sample test, seed %d: %.1f %%", seed, 100 * correct[-1].mean())
        low, high = interval([float(answers.mean()) for answers in correct], len(correct[0]))
        num_test, num_train = self.sizes(len(real_NHW), len(other_NHW))
        return TwoSample(
            accuracy=float(np.mean(correct)),
            low=low,
            high=high,
            num_train=2 * num_train,
            num_test=2 * num_test,
            seeds=self.seeds,
        )

    def sizes(self, num_real: int, num_other: int) -> tuple[int, int]:
        """(held out, trained on) images of either set."""
        num = min(num_real, num_other)
        num_test = min(self.num_test, round(num * self.test_share))
        return num_test, min(self.num_train, num - num_test)

    def split(
        self, num_real: int, num_other: int, seed: int
    ) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]:
        """((test, train) of the real set, (test, train) of the other): disjoint positions."""
        num_test, num_train = self.sizes(num_real, num_other)
        parts = []
        for which, num in enumerate((num_real, num_other)):
            order = np.random.default_rng((seed, which)).permutation(num)
            parts.append((order[:num_test], order[num_test : num_test + num_train]))
        return tuple(parts)

    def _run(self, real_NHW: Images, other_NHW: Images, seed: int) -> NDArray[np.bool_]:
        """One network: which of the held-out images it put in the right set."""
        (real_test, real_train), (other_test, other_train) = self.split(
            len(real_NHW), len(other_NHW), seed
        )
        network = _Classifier()
        self._fit(network, real_NHW[real_train], other_NHW[other_train], seed)
        says_real = _logits(network, real_NHW[real_test]) > 0
        says_other = _logits(network, other_NHW[other_test]) <= 0
        return np.concatenate([says_real, says_other])

    def _fit(self, network: nn.Module, real_NHW: Images, other_NHW: Images, seed: int) -> None:
        rng = np.random.default_rng((seed, 2))
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.num_steps
        )
        half = min(self.batch_size // 2, len(real_NHW))
        target = torch.cat([torch.ones(half), torch.zeros(half)])
        batches = zip(_batches(real_NHW, half, rng), _batches(other_NHW, half, rng), strict=False)
        network.train()
        for _ in range(self.num_steps):
            images = np.concatenate(next(batches))
            logits = network(_to_network(_shifted(images, self.max_shift_px, rng)))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        network.eval()


def comparisons(
    synthetic_NHW: Images, refined_NHW: Images, real_NHW: Images, test: TwoSampleTest
) -> tuple[Callable[[], TwoSample], Callable[[], TwoSample], Callable[[], TwoSample]]:
    """The three tests of `Realism`, in its order, as calls that can be made side by side.

    Args:
        synthetic_NHW, refined_NHW: uint8, image k of both being one scene; hence one scene is
            held out of both comparisons or of neither, and the two numbers differ by the
            refiner alone.
        real_NHW: uint8; at least 40, as the floor compares its two halves.

    Raises:
        ValueError: the first two are not pairs.
    """
    if synthetic_NHW.shape != refined_NHW.shape:
        raise ValueError(
            f"synthetic and refined images must be pairs, got {synthetic_NHW.shape} "
            f"and {refined_NHW.shape}"
        )
    order = np.random.default_rng(min(test.seeds)).permutation(len(real_NHW))
    half = len(order) // 2
    return (
        partial(test, real_NHW, synthetic_NHW),
        partial(test, real_NHW, refined_NHW),
        partial(test, real_NHW[order[:half]], real_NHW[order[half:]]),
    )


def measure_realism(
    synthetic_NHW: Images, refined_NHW: Images, real_NHW: Images, test: TwoSampleTest
) -> Realism:
    """`comparisons`, one after the other. Raises `ValueError` as they do."""
    return realism_of([call() for call in comparisons(synthetic_NHW, refined_NHW, real_NHW, test)])


def realism_of(results: Sequence[TwoSample]) -> Realism:
    """The results of `comparisons`, by name."""
    synthetic, refined, floor = results
    return Realism(synthetic_vs_real=synthetic, refined_vs_real=refined, real_vs_real=floor)


def interval(accuracies: list[float], num_test: int) -> tuple[float, float]:
    """95 % interval of the mean accuracy of several networks, over images and seeds.

    The variance has two parts: that of `num_test` held-out images, taken once as if all networks
    had been asked about the same ones, and that of the networks, as far as their accuracies
    scatter more than the images explain. From it follows the number of independent answers that
    the mean is worth, and a Wilson interval of that many, which stays inside [0, 1].
    """
    mean = float(np.mean(accuracies))
    of_images = mean * (1 - mean) / num_test
    of_seeds = 0.0
    if len(accuracies) > 1:
        of_seeds = max(0.0, float(np.var(accuracies, ddof=1)) - of_images) / len(accuracies)
    worth = num_test * of_images / (of_images + of_seeds) if of_images > 0 else num_test
    shrink = 1 / (1 + Z95**2 / worth)
    middle = shrink * (mean + Z95**2 / (2 * worth))
    half = shrink * Z95 * float(np.sqrt(mean * (1 - mean) / worth + (Z95 / (2 * worth)) ** 2))
    return max(0.0, middle - half), min(1.0, middle + half)


class _Classifier(nn.Sequential):
    """(n, 2, H, W) of `_to_network` to the logit of "real".

    Channels last, which saves a third of a step's time on a CPU.
    """

    def __init__(self) -> None:
        super().__init__(
            *_stage(2, 16),
            *_stage(16, 32),
            *_stage(32, 48),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(48, 1),
            nn.Flatten(0),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution that halves the size."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def _batches(images_NHW: Images, size: int, rng: np.random.Generator) -> Iterator[Images]:
    """Endless batches, every image once before any comes again (but for a remainder)."""
    while True:
        order = rng.permutation(len(images_NHW))
        for start in range(0, len(order) - size + 1, size):
            yield images_NHW[order[start : start + size]]


def _shifted(images_NHW: Images, most_px: int, rng: np.random.Generator) -> Images:
    """Each image moved by whole pixels in x and y; the edge pixel is repeated."""
    num, height, width = images_NHW.shape
    dy, dx = rng.integers(-most_px, most_px + 1, (2, num))
    rows = np.clip(np.arange(height) - dy[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - dx[:, None], 0, width - 1)
    which = np.arange(num)[:, None, None]
    moved: Images = images_NHW[which, rows[:, :, None], columns[:, None, :]]
    return moved


def _to_network(images_NHW: Images) -> Tensor:
    """(n, 2, H, W): grey values in [-1, 1], and what their 3x3 surroundings leave unexplained.

    The second plane puts grain and blur, a few grey levels in size, within reach of a short
    training: added noise of 3 levels is found at once with it, and by one network in three without.
    """
    grey = torch.from_numpy(images_NHW).float().div_(127.5).sub_(1).unsqueeze(1)
    around = nn.functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
    planes = torch.cat([grey, 4 * (grey - around)], dim=1)
    return planes.contiguous(memory_format=torch.channels_last)


def _logits(network: nn.Module, images_NHW: Images) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            network(_to_network(images_NHW[start : start + 256])).numpy()
            for start in range(0, len(images_NHW), 256)
        ]
    return np.concatenate(parts)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A verdict must not depend on how many cores summed it up."""
    num = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num)


def _check(name: str, images_NHW: Images, like_NHW: Images) -> None:
    if images_NHW.ndim != 3 or images_NHW.dtype != np.uint8:
        raise ValueError(
            f"{name} images must be (n, h, w) uint8, are {images_NHW.shape} {images_NHW.dtype}"
        )
    if images_NHW.shape[1:] != like_NHW.shape[1:]:
        raise ValueError(f"{name} images are {images_NHW.shape[1:]}, real {like_NHW.shape[1:]}")
    if len(images_NHW) < MIN_IMAGES:
        raise ValueError(f"{len(images_NHW)} {name} images, a test needs {MIN_IMAGES}")
