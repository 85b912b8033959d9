"""The classifier two-sample test: can a small network tell two sets of images apart?

Lopez-Paz and Oquab 2017 (arXiv:1610.06545). A network is trained on a part of both sets and asked
about the rest. On images it has never seen it is right half of the time if the sets have one
distribution, and more often the more they differ. That says how real refined images look without
anyone looking, and a number near 50 % is only as strong as the network: the same test of
synthetic against real shows its power, and of two halves of the real set its floor. It is
cross-validated: the sets are cut into folds, and each fold is judged by a network trained on the
others, so that every image is held out once for every seed.

Axes in names: N images, H height, W width.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from factory.images.png import Pixels
from schemas.base import Model
from schemas.report import Realism, TwoSample

log = logging.getLogger(__name__)

Images = Pixels
Some = TypeVar("Some", bound=NDArray[Any])
Split = tuple[NDArray[np.intp], NDArray[np.intp]]
"""positions of the images to hold out and to train on"""
Z95 = 1.959964
"""two-sided 95 % quantile of the normal distribution"""
MIN_IMAGES = 20
"""of either set; with fewer no interval would mean anything"""


class TwoSampleTest(Model):
    """A classifier two-sample test and its budget.

    Both sets count alike, however many images each has. Each seed draws its own folds, and with
    them weights, batches and shifts; the folds depend on nothing but the seed and the sizes of the
    sets, so the images of one scene before and after refining fall into the same.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1)
    """one division into folds each"""
    num_folds: Annotated[int, Field(ge=2)] = 2
    """parts of either set, each judged by a network trained on the others"""
    num_images: Annotated[int, Field(ge=MIN_IMAGES)] = 3000
    """most images of either set"""
    num_steps: Annotated[int, Field(gt=0)] = 250
    """optimiser steps of each network"""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """images a step, half of them from either set"""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """at its peak; it rises and falls once"""
    max_shift_px: Annotated[int, Field(ge=0)] = 2
    """training images are shifted at random, both sets alike"""

    def __call__(
        self, real_NHW: Images, other_NHW: Images, full_scale: int | None = None
    ) -> TwoSample:
        """How well a network tells held-out images of the two sets apart.

        Args:
            real_NHW, other_NHW: uint8, or uint16, of one size, at least 20 of each.
            full_scale: of 16-bit images, the value that becomes 1 (0 becomes -1); 255 of others.

        Returns:
            The accuracy, 0.5 for equal distributions, with a 95 % interval (see `interval`);
            `num_train` and `num_test` count the images of both sets that one network was
            trained on and asked about.
            The same on every run and with any number of threads.

        Raises:
            ValueError: too few images, or not two sets of images of one size, or no full scale of
                16-bit images.
        """
        check_images("real", real_NHW, real_NHW, full_scale)
        check_images("other", other_NHW, real_NHW, full_scale)
        scale = 255 if full_scale is None else full_scale
        accuracies = []
        for seed in self.seeds:
            with one_thread(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                accuracies += self._run(real_NHW, other_NHW, seed, scale)
            of_seed = accuracies[-self.num_folds :]
            log.info("two-sample test, seed %d: %.1f %%", seed, 100 * np.mean(of_seed))
        num_test, num_train = self.sizes(len(real_NHW), len(other_NHW))
        low, high = interval(accuracies, 2 * num_test)
        return TwoSample(
            accuracy=float(np.mean(accuracies)),
            low=low,
            high=high,
            num_train=2 * num_train,
            num_test=2 * num_test,
            seeds=self.seeds,
        )

    def sizes(self, num_real: int, num_other: int) -> tuple[int, int]:
        """(held out, trained on) images of either set, for one network."""
        num = min(num_real, num_other, self.num_images)
        num_test = num // self.num_folds
        return num_test, (self.num_folds - 1) * num_test

    def folds(self, num_real: int, num_other: int, seed: int) -> Iterator[tuple[Split, Split]]:
        """((test, train) of the real set, (test, train) of the other): positions, for each fold.

        But for a remainder, each image of the smaller set is held out once, and as many of the
        larger.
        """
        num_test, num_train = self.sizes(num_real, num_other)
        orders = [
            np.random.default_rng((seed, which)).permutation(num)[: num_test + num_train]
            for which, num in enumerate((num_real, num_other))
        ]
        for first in range(0, num_test * self.num_folds, num_test):
            real, other = (
                (order[first : first + num_test], np.delete(order, slice(first, first + num_test)))
                for order in orders
            )
            yield real, other

    def _run(self, real_NHW: Images, other_NHW: Images, seed: int, full_scale: int) -> list[float]:
        """One network for each fold: the shares of held-out images it put in the right set."""
        accuracies = []
        for fold, (real, other) in enumerate(self.folds(len(real_NHW), len(other_NHW), seed)):
            (real_test, real_train), (other_test, other_train) = real, other
            network = _Classifier()
            rng = np.random.default_rng((seed, 2, fold))
            self._fit(network, real_NHW[real_train], other_NHW[other_train], rng, full_scale)
            says_real = _logits(network, real_NHW[real_test], full_scale) > 0
            says_other = _logits(network, other_NHW[other_test], full_scale) <= 0
            accuracies.append(float(np.concatenate([says_real, says_other]).mean()))
        return accuracies

    def _fit(
        self,
        network: nn.Module,
        real_NHW: Images,
        other_NHW: Images,
        rng: np.random.Generator,
        full_scale: int,
    ) -> None:
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.num_steps
        )
        half = min(self.batch_size // 2, len(real_NHW))
        target = torch.cat([torch.ones(half), torch.zeros(half)])
        batches = zip(
            batches_of(real_NHW, half, rng), batches_of(other_NHW, half, rng), strict=False
        )
        network.train()
        for _ in range(self.num_steps):
            batch = cast("Images", np.concatenate(next(batches)))
            images = shifted(batch, self.max_shift_px, rng)
            logits = network(network_planes(images, full_scale))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        network.eval()


def comparisons(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    test: TwoSampleTest,
    full_scale: int | None = None,
) -> tuple[Callable[[], TwoSample], Callable[[], TwoSample], Callable[[], TwoSample]]:
    """The three tests of `Realism`, in its order, as calls that can be made side by side.

    Args:
        synthetic_NHW, refined_NHW: uint8, or uint16, image k of both being one scene; hence one
            scene is held out of both comparisons or of neither, and the two numbers differ by
            the refiner alone.
        real_NHW: of the same type; at least 40, as the floor compares its two halves.
        full_scale: of 16-bit images.

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
        partial(test, real_NHW, synthetic_NHW, full_scale),
        partial(test, real_NHW, refined_NHW, full_scale),
        partial(test, real_NHW[order[:half]], real_NHW[order[half:]], full_scale),
    )


def realism_of(results: Sequence[TwoSample]) -> Realism:
    """The results of `comparisons`, by name."""
    synthetic, refined, floor = results
    return Realism(synthetic_vs_real=synthetic, refined_vs_real=refined, real_vs_real=floor)


def interval(accuracies: Sequence[float], num_test: int) -> tuple[float, float]:
    """95 % interval of the mean accuracy of several networks, over images and networks.

    The variance has two parts: that of `num_test` held-out images, those of one network, taken
    once as if all networks had been asked about the same ones; and that of the networks, as far as
    their accuracies scatter more than the images explain. From it follows the number of independent
    answers that the mean is worth, and a Wilson interval of that many.

    Cross-validation asks about more images than those of one network, but its answers are not
    independent: near 50 %, what one fold happens to have more of helps the network that is trained
    on it as much as the one that is asked about it. There is no unbiased estimate of that (Bengio
    and Grandvalet 2004). In simulations of three to six linear classifiers an interval that counted
    every image held the truth in 87 to 97 % of the cases near chance, this one in 98 % or more at
    any accuracy: it errs on the wide side, by up to the square root of the number of folds.
    """
    mean = float(np.mean(accuracies))
    of_images = mean * (1 - mean) / num_test
    of_networks = 0.0
    if len(accuracies) > 1:
        scatter = float(np.var(accuracies, ddof=1))
        of_networks = max(0.0, scatter - of_images) / len(accuracies)
    worth = num_test * of_images / (of_images + of_networks) if of_images > 0 else num_test
    return wilson(mean, worth)


def wilson(share: float, num: float) -> tuple[float, float]:
    """95 % interval of a share seen in `num` independent answers; it stays inside [0, 1]."""
    shrink = 1 / (1 + Z95**2 / num)
    middle = shrink * (share + Z95**2 / (2 * num))
    half = shrink * Z95 * float(np.sqrt(share * (1 - share) / num + (Z95 / (2 * num)) ** 2))
    return max(0.0, middle - half), min(1.0, middle + half)


class _Classifier(nn.Sequential):
    """(n, 2, H, W) of `network_planes` to the logit of "real".

    Channels last, which saves a third of a step's time on a CPU.
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


def stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution that halves the size."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def batches_of(images_NHW: Some, size: int, rng: np.random.Generator) -> Iterator[Some]:
    """Endless batches, every image once before any comes again (but for a remainder)."""
    while True:
        order = rng.permutation(len(images_NHW))
        for start in range(0, len(order) - size + 1, size):
            yield cast("Some", images_NHW[order[start : start + size]])


def shifted(images_NHW: Images, most_px: int, rng: np.random.Generator) -> Images:
    """Each image moved by whole pixels in x and y; the edge pixel is repeated."""
    num, height, width = images_NHW.shape
    dy, dx = rng.integers(-most_px, most_px + 1, (2, num))
    rows = np.clip(np.arange(height) - dy[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - dx[:, None], 0, width - 1)
    which = np.arange(num)[:, None, None]
    moved: Images = images_NHW[which, rows[:, :, None], columns[:, None, :]]
    return moved


def network_planes(images_NHW: Images, full_scale: int = 255) -> Tensor:
    """(n, 2, H, W): values in [-1, 1], and what their 3x3 surroundings leave unexplained.

    The second plane puts grain and blur, a few grey levels in size, within reach of a short
    training: added noise of 3 levels is found at once with it, and by one network in three without.
    """
    values = torch.from_numpy(images_NHW.astype(np.float32))
    grey = values.div_(full_scale / 2).sub_(1).unsqueeze(1)
    around = nn.functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
    planes = torch.cat([grey, 4 * (grey - around)], dim=1)
    return planes.contiguous(memory_format=torch.channels_last)


def _logits(network: nn.Module, images_NHW: Images, full_scale: int) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            network(network_planes(images_NHW[start : start + 256], full_scale)).numpy()
            for start in range(0, len(images_NHW), 256)
        ]
    return np.concatenate(parts)


@contextmanager
def one_thread() -> Iterator[None]:
    """A verdict must not depend on how many cores summed it up."""
    num = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num)


def check_images(
    name: str, images_NHW: Images, like_NHW: Images, full_scale: int | None = None
) -> None:
    """Raises `ValueError` for what is not at least 20 grey images of the size of others, of 8 bits,
    or of 16 where their full scale is known."""
    dtype = np.dtype(np.uint8 if full_scale is None else np.uint16)
    if images_NHW.ndim != 3 or images_NHW.dtype != dtype:
        raise ValueError(
            f"{name} images must be (n, h, w) {dtype}, are {images_NHW.shape} {images_NHW.dtype}"
        )
    if images_NHW.shape[1:] != like_NHW.shape[1:]:
        raise ValueError(f"{name} images are {images_NHW.shape[1:]}, real {like_NHW.shape[1:]}")
    if len(images_NHW) < MIN_IMAGES:
        raise ValueError(f"{len(images_NHW)} {name} images, a test needs {MIN_IMAGES}")
